//! Users in records of the store.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Deserialize;
use tidegate_base::Budget;
use tidegate_pipeline::Follower;

use super::users::Users;

/// Told of the records by the store.
pub(super) struct Records {
    budget: Budget,
    state: Mutex<State>,
}

struct State {
    users: Users,
    /// Those of a listing that has not come to its end.
    coming: Option<Users>,
}

/// A user, in JSON or YAML.
#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    key: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

impl Records {
    pub(super) fn new(budget: &Budget) -> Self {
        let state = Mutex::new(State { users: Users::new(budget), coming: None });
        Self { budget: budget.clone(), state }
    }

    pub(super) fn with_users<T>(&self, find: impl FnOnce(&Users) -> T) -> T {
        find(&self.lock().users)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn told(&mut self) -> &mut Users {
        self.coming.as_mut().unwrap_or(&mut self.users)
    }
}

impl Follower for Records {
    fn reset(&self) {
        self.lock().coming = Some(Users::new(&self.budget));
    }

    fn put(&self, key: &str, value: Bytes) {
        let record = crate::record::read::<Record>(&value, &self.budget);
        let named =
            record.as_ref().map(|record| if record.username.is_empty() { &record.key } else { &record.username });
        let mut state = self.lock();
        let good = match (&record, named) {
            (Some(record), Some(name)) if !name.is_empty() && !record.password.is_empty() => {
                state.told().put(key, name, &record.password)
            }
            // What a key said before it does not say any more.
            _ => {
                state.told().remove(key);
                false
            }
        };
        drop(state);
        if !good {
            tracing::warn!(key, "a user's record is malformed, or no memory is free for it");
        }
    }

    fn delete(&self, key: &str) {
        self.lock().told().remove(key);
    }

    fn synced(&self) {
        let mut state = self.lock();
        if let Some(coming) = state.coming.take() {
            state.users = coming;
            let locked = state.users.locked();
            if locked > 0 {
                tracing::warn!(locked, "hashes of passwords are of a kind that is not known: they never fit");
            }
        }
    }
}
