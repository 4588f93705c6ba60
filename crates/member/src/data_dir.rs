//! The data directory: its lock, its format version, and what it refuses to touch.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

const FORMAT: &str = "tidegate 1";
/// The file is three short lines.
const FORMAT_BYTES_MAX: usize = 200;

/// Who the data belongs to. Made with the directory; later flags do not change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub member_id: u64,
    pub cluster_id: u64,
}

impl Identity {
    pub(crate) fn encode(self) -> String {
        format!("{FORMAT}\nmember {:016x}\ncluster {:016x}\n", self.member_id, self.cluster_id)
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let id = |line: Option<&str>, name: &str| {
            let digits = line?.strip_prefix(name)?.strip_prefix(' ')?;
            // The parser takes a sign, too.
            let whole = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            u64::from_str_radix(digits, 16).ok().filter(|_| whole)
        };
        if lines.next() != Some(FORMAT) {
            return None;
        }
        let identity = Self { member_id: id(lines.next(), "member")?, cluster_id: id(lines.next(), "cluster")? };
        lines.next().is_none().then_some(identity)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error(
        "{0}: this is the data directory of an etcd member; it is left alone. Choose another --data-dir; importing etcd \
         data is not implemented yet"
    )]
    Etcd(PathBuf),
    #[error("{0}: another process is using this data directory")]
    Locked(PathBuf),
    #[error("{path}: format {found:?} is not one that this version reads (it reads {expected:?})")]
    Format { path: PathBuf, found: String, expected: &'static str },
    #[error("{0}: not empty, and not a data directory of tidegate")]
    Foreign(PathBuf),
    #[error("{path}: {action}: {error}")]
    Io { path: PathBuf, action: &'static str, error: io::Error },
}

/// A data directory that this process holds alone, until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
    /// Wider permissions than 0700, which the caller may warn about.
    pub permissions: Option<u32>,
    pub identity: Identity,
    fresh: bool,
}

impl DataDir {
    /// Opens `path`, or makes it (mode 0700) for `new` when it is missing or empty.
    ///
    /// # Errors
    /// Refuses the directory of an etcd member, one in use, one of another format, and one that holds other things.
    pub fn open(path: &Path, new: Identity) -> Result<Self, DataDirError> {
        let fail = |action| {
            let path = path.to_owned();
            move |error| DataDirError::Io { path, action, error }
        };
        if path.join("member").is_dir() {
            return Err(DataDirError::Etcd(path.to_owned()));
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail("create"))?;
        let lock_path = path.join("LOCK");
        let fresh = !path.join("FORMAT").exists();
        if fresh {
            let mut entries = fs::read_dir(path).map_err(fail("list"))?;
            let known = |name: &std::ffi::OsStr| name == "LOCK" || name == "lost+found" || name == "FORMAT.tmp";
            if entries.any(|entry| entry.is_ok_and(|entry| !known(&entry.file_name()))) {
                return Err(DataDirError::Foreign(path.to_owned()));
            }
        }
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(fail("open LOCK"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(fail("lock")(error)),
        }
        let format_path = path.join("FORMAT");
        let identity = if fresh {
            let temporary = path.join("FORMAT.tmp");
            let mut file = File::create(&temporary).map_err(fail("create FORMAT"))?;
            let text = new.encode();
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail("write FORMAT"))?;
            fs::rename(&temporary, &format_path).map_err(fail("rename FORMAT"))?;
            File::open(path).and_then(|dir| dir.sync_all()).map_err(fail("sync"))?;
            new
        } else {
            let found = fs::read(&format_path).map_err(fail("read FORMAT"))?;
            let found = String::from_utf8_lossy(&found[..found.len().min(FORMAT_BYTES_MAX)]);
            Identity::decode(&found).ok_or_else(|| DataDirError::Format {
                path: format_path,
                found: found.trim_end().to_owned(),
                expected: FORMAT,
            })?
        };
        let mode = fs::metadata(path).map_err(fail("stat"))?.permissions().mode() & 0o777;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
            permissions: (mode & 0o077 != 0).then_some(mode),
            identity,
            fresh,
        })
    }

    /// Makes the names in a new directory durable, and its own: to be called when log and engine have made theirs. A parent
    /// that cannot be opened or synced is the business of who made it.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn sync(&self) -> Result<(), DataDirError> {
        if !self.fresh {
            return Ok(());
        }
        let sync = |path: &Path| File::open(path).and_then(|dir| dir.sync_all());
        sync(&self.path).map_err(|error| DataDirError::Io { path: self.path.clone(), action: "sync", error })?;
        let parent = self.path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
        if let Some(error) = parent.and_then(|parent| sync(&parent).err()) {
            tracing::warn!(%error, path = %self.path.display(), "the directory around the data directory cannot be synced");
        }
        Ok(())
    }

    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub fn engine(&self) -> PathBuf {
        self.path.join("engine")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Identity = Identity { member_id: 0x1f, cluster_id: u64::MAX };

    #[test]
    fn who_the_data_belongs_to_stays_whatever_is_said_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let made = DataDir::open(&path, NEW).unwrap();
        made.sync().unwrap();
        drop(made);
        let other = Identity { member_id: 7, cluster_id: 8 };
        assert_eq!(DataDir::open(&path, other).unwrap().identity, NEW);
        let text = NEW.encode();
        for cut in 0..text.len() {
            assert_eq!(Identity::decode(&text[..cut]), None);
        }
        assert_eq!(Identity::decode(&format!("{text}\n")), None);
        assert_eq!(Identity::decode(&text.replace("member 0", "member +")), None);
    }

    #[test]
    fn an_etcd_directory_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("member/snap")).unwrap();
        let error = DataDir::open(dir.path(), NEW).unwrap_err();
        assert!(matches!(error, DataDirError::Etcd(_)), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was added");
    }

    #[test]
    fn a_second_opener_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let first = DataDir::open(&path, NEW).unwrap();
        assert!(matches!(DataDir::open(&path, NEW).unwrap_err(), DataDirError::Locked(_)));
        drop(first);
        let again = DataDir::open(&path, NEW).unwrap();
        assert_eq!(again.permissions, None);
    }

    #[test]
    fn other_formats_and_foreign_directories_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        drop(DataDir::open(&path, NEW).unwrap());
        fs::write(path.join("FORMAT"), "tidegate 9\n").unwrap();
        assert!(DataDir::open(&path, NEW).unwrap_err().to_string().contains("tidegate 9"));
        fs::write(path.join("FORMAT"), "tidegate 1\n").unwrap();
        assert!(matches!(DataDir::open(&path, NEW).unwrap_err(), DataDirError::Format { .. }), "nobody's");
        let foreign = dir.path().join("home");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("letter.txt"), "dear").unwrap();
        assert!(matches!(DataDir::open(&foreign, NEW).unwrap_err(), DataDirError::Foreign(_)));
    }
}
