//! Users in a file of `htpasswd`, read again when it changes.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use tidegate_base::{Budget, Holder};

use super::users::{Stored, USERS_BYTES_MAX, Users};

/// Followed by the thread that checks passwords, about every second.
pub(super) struct UserFile {
    path: PathBuf,
    budget: Budget,
    state: Mutex<State>,
}

struct State {
    users: Users,
    seen: Option<Seen>,
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
        let state = Mutex::new(State { users: Users::new(budget), seen: None });
        let file = Self { path, budget: budget.clone(), state };
        file.refresh();
        file
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Stored>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).users.find(name)
    }

    /// Reads the file again if it has changed. One that cannot be read leaves what is known. Blocks.
    pub(super) fn refresh(&self) {
        let before = self.state.lock().unwrap_or_else(PoisonError::into_inner).seen;
        match self.read(before) {
            Ok(None) => {}
            Ok(Some((users, seen))) => {
                *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State { users, seen: Some(seen) };
            }
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "a file of users cannot be read"),
        }
    }

    fn read(&self, before: Option<Seen>) -> io::Result<Option<(Users, Seen)>> {
        let file = File::open(&self.path)?;
        let data = file.metadata()?;
        let seen = Seen::of(&data);
        if Some(seen) == before {
            return Ok(None);
        }
        if !data.is_file() || data.len() > USERS_BYTES_MAX {
            return Err(io::Error::other(format!("is no file of at most {USERS_BYTES_MAX} bytes")));
        }
        let no_room = || io::Error::other("no memory is free for it");
        let lease = self.budget.try_lease(Holder::Gateway, data.len()).ok_or_else(no_room)?;
        let mut text = Vec::with_capacity(usize::try_from(data.len()).unwrap_or_default());
        file.take(data.len()).read_to_end(&mut text)?;
        let mut users = Users::new(&self.budget);
        for line in String::from_utf8_lossy(&text).lines().map(str::trim) {
            let Some((name, password)) = line.split_once(':').filter(|_| !line.starts_with('#')) else { continue };
            if !users.put(name, name, password) {
                return Err(no_room());
            }
        }
        drop(lease);
        Ok(Some((users, seen)))
    }
}
