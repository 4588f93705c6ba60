//! The data directory: its lock, its format version, and what it refuses to touch.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

const FORMAT: &str = "tidegate 1\n";

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
}

impl DataDir {
    /// Opens `path`, or makes it (mode 0700) when it is missing or empty.
    ///
    /// # Errors
    /// Refuses the directory of an etcd member, one in use, one of another format, and one that holds other things.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
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
        if fresh {
            let temporary = path.join("FORMAT.tmp");
            let mut file = File::create(&temporary).map_err(fail("create FORMAT"))?;
            file.write_all(FORMAT.as_bytes()).and_then(|()| file.sync_all()).map_err(fail("write FORMAT"))?;
            fs::rename(&temporary, &format_path).map_err(fail("rename FORMAT"))?;
            File::open(path).and_then(|dir| dir.sync_all()).map_err(fail("sync"))?;
        } else {
            let found = fs::read(&format_path).map_err(fail("read FORMAT"))?;
            if found != FORMAT.as_bytes() {
                let found = String::from_utf8_lossy(&found[..found.len().min(80)]).trim_end().to_owned();
                return Err(DataDirError::Format { path: format_path, found, expected: FORMAT.trim_end() });
            }
        }
        let mode = fs::metadata(path).map_err(fail("stat"))?.permissions().mode() & 0o777;
        Ok(Self { path: path.to_owned(), _lock: lock, permissions: (mode & 0o077 != 0).then_some(mode) })
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

    #[test]
    fn an_etcd_directory_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("member/snap")).unwrap();
        let error = DataDir::open(dir.path()).unwrap_err();
        assert!(matches!(error, DataDirError::Etcd(_)), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was added");
    }

    #[test]
    fn a_second_opener_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let first = DataDir::open(&path).unwrap();
        assert!(matches!(DataDir::open(&path).unwrap_err(), DataDirError::Locked(_)));
        drop(first);
        let again = DataDir::open(&path).unwrap();
        assert_eq!(again.permissions, None);
    }

    #[test]
    fn other_formats_and_foreign_directories_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        drop(DataDir::open(&path).unwrap());
        fs::write(path.join("FORMAT"), "tidegate 9\n").unwrap();
        assert!(DataDir::open(&path).unwrap_err().to_string().contains("tidegate 9"));
        let foreign = dir.path().join("home");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("letter.txt"), "dear").unwrap();
        assert!(matches!(DataDir::open(&foreign).unwrap_err(), DataDirError::Foreign(_)));
    }
}
