//! Users in a file of `htpasswd`, read again when it changes.

use std::{
    fs::{File, Metadata, metadata},
    io::{self, Read},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tidegate_base::{Budget, Holder};

use super::users::{USERS_BYTES_MAX, Users};

/// Followed by the thread that checks passwords, about every second.
pub(super) struct UserFile {
    path: PathBuf,
    budget: Budget,
    state: Mutex<State>,
}

struct State {
    users: Users,
    seen: Option<Seen>,
    /// Why it could not be read the last time.
    error: Option<String>,
}

/// What tells one content of a file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    changed: Option<SystemTime>,
    bytes: u64,
    file: u64,
}

impl Seen {
    fn of(data: &Metadata) -> Self {
        Self { changed: data.modified().ok(), bytes: data.len(), file: std::os::unix::fs::MetadataExt::ino(data) }
    }
}

impl UserFile {
    /// Reads the file, if it is there.
    pub(super) fn open(path: PathBuf, budget: &Budget) -> Self {
        let state = Mutex::new(State { users: Users::new(budget), seen: None, error: None });
        let file = Self { path, budget: budget.clone(), state };
        file.refresh();
        file
    }

    pub(super) fn with_users<T>(&self, find: impl FnOnce(&Users) -> T) -> T {
        find(&self.lock().users)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file again if it has changed. Without a file there are no users; one that cannot be read leaves those that are
    /// known. Blocks while the disk does. Only the thread that checks passwords calls it once the file is open.
    pub(super) fn refresh(&self) {
        let before = self.lock().seen;
        let error = match self.read(before) {
            Ok(None) => None,
            Ok(Some((users, seen))) => {
                let locked = users.locked();
                if locked > 0 {
                    let path = self.path.display();
                    tracing::warn!(%path, locked, "hashes of passwords are of a kind that is not known: they never fit");
                }
                let mut state = self.lock();
                (state.users, state.seen) = (users, Some(seen));
                None
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::NotFound {
                    let mut state = self.lock();
                    (state.users, state.seen) = (Users::new(&self.budget), None);
                }
                Some(error.to_string())
            }
        };
        let mut state = self.lock();
        // Once for each reason, not every second.
        if error.is_some() && state.error != error {
            let error = error.as_deref().unwrap_or_default();
            tracing::warn!(path = %self.path.display(), error, "a file of users cannot be read");
        }
        state.error = error;
    }

    fn read(&self, before: Option<Seen>) -> io::Result<Option<(Users, Seen)>> {
        let no_file = || io::Error::other(format!("is no file of at most {USERS_BYTES_MAX} bytes"));
        // Asked before it is opened: opening a pipe waits for who writes into it.
        if !metadata(&self.path)?.is_file() {
            return Err(no_file());
        }
        let file = File::open(&self.path)?;
        let data = file.metadata()?;
        let seen = Seen::of(&data);
        if Some(seen) == before {
            return Ok(None);
        }
        if !data.is_file() || data.len() > USERS_BYTES_MAX {
            return Err(no_file());
        }
        let no_room = || io::Error::other("no memory is free for it");
        // It may be longer by now than it says: one byte more than that tells.
        let most = data.len() + 1;
        let lease = self.budget.try_lease(Holder::Gateway, 2 * most).ok_or_else(no_room)?;
        let mut text = Vec::with_capacity(usize::try_from(most).unwrap_or_default());
        file.take(most).read_to_end(&mut text)?;
        if text.len() as u64 >= most {
            return Err(io::Error::other("was written to while it was read"));
        }
        let mut users = Users::new(&self.budget);
        for line in text.split(|byte| *byte == b'\n').map(String::from_utf8_lossy) {
            let line = line.trim();
            let Some((name, password)) = line.split_once(':').filter(|_| !line.starts_with('#')) else { continue };
            if !users.put(name, name, password) {
                return Err(no_room());
            }
        }
        drop(lease);
        Ok(Some((users, seen)))
    }
}

#[cfg(test)]
mod tests {
    use tidegate_base::{ByteSize, Limits, Profile};

    use super::*;

    fn has(file: &UserFile, name: &str) -> bool {
        file.with_users(|users| users.find(name).is_some())
    }

    fn error(file: &UserFile) -> Option<String> {
        file.lock().error.clone()
    }

    #[test]
    fn users_go_with_their_file_and_stay_when_it_cannot_be_read() {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        let folder = std::env::temp_dir().join(format!("tidegate-users-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("users");
        std::fs::write(&path, "ann:x\n# bob:x\r\neve:y\r\n").unwrap();
        let file = UserFile::open(path.clone(), &budget);
        assert!(has(&file, "ann") && has(&file, "eve") && !has(&file, "bob") && error(&file).is_none());
        std::fs::write(&path, vec![b'x'; usize::try_from(USERS_BYTES_MAX).unwrap() + 1]).unwrap();
        file.refresh();
        assert!(has(&file, "ann") && error(&file).is_some(), "too large");
        // 40,000 lines of bcrypt: all that is documented fits.
        let hash = format!("$2y$05${}", "C".repeat(53));
        let many: String = (0..40_000).map(|number| format!("user{number}:{hash}\n")).collect();
        assert!(many.len() as u64 > USERS_BYTES_MAX / 2);
        std::fs::write(&path, many).unwrap();
        file.refresh();
        assert!(has(&file, "user39999") && error(&file).is_none(), "{:?}", error(&file));
        std::fs::remove_file(&path).unwrap();
        file.refresh();
        assert!(!has(&file, "user1") && error(&file).is_some());
        std::fs::create_dir(&path).unwrap();
        file.refresh();
        assert!(error(&file).unwrap().contains("is no file"));
        drop(file);
        assert_eq!(budget.used(Holder::Gateway), 0);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
