//! Records that were looked up, until the store tells of a change.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tidegate_base::{Budget, Holder, Lease};
use tidegate_pipeline::Follower;

const ENTRIES_MAX: usize = 128;
/// Most bytes of all entries, and of one.
const BYTES_MAX: u64 = 256 << 10;
const ENTRY_BYTES_MAX: u64 = 16 << 10;
/// What an entry takes beside its texts.
const ENTRY_BYTES: u64 = 256;

/// Headers and their values, as a record has them.
pub(super) type Found = Arc<[(String, String)]>;

/// Shared by the node's threads, and told of changes by the store.
pub(super) struct Cache(Mutex<State>);

struct State {
    entries: BTreeMap<String, Entry>,
    lease: Lease,
    /// Counts uses: the entry with the least was used longest ago.
    uses: u64,
    /// Counts what the store told. What was read before the last of it may be old.
    changes: u64,
    /// Whether the store tells of changes, so that anything may be kept.
    followed: bool,
}

struct Entry {
    found: Found,
    bytes: u64,
    used: u64,
}

impl Cache {
    pub(super) fn new(budget: &Budget) -> Self {
        let lease = budget.empty(Holder::Gateway);
        Self(Mutex::new(State { entries: BTreeMap::new(), lease, uses: 0, changes: 0, followed: false }))
    }

    /// What is known of `key`; else what [`Cache::keep`] needs to know.
    pub(super) fn find(&self, key: &str) -> Result<Found, u64> {
        let mut state = self.lock();
        state.uses += 1;
        let (uses, changes) = (state.uses, state.changes);
        let entry = state.entries.get_mut(key).ok_or(changes)?;
        entry.used = uses;
        Ok(Arc::clone(&entry.found))
    }

    /// Keeps what was read since `find` unless the store told of a change meanwhile.
    pub(super) fn keep(&self, key: &str, found: &Found, changes: u64) {
        let texts: usize = found.iter().map(|(name, value)| name.len() + value.len() + 2 * size_of::<String>()).sum();
        let bytes = (key.len() + texts) as u64 + ENTRY_BYTES;
        let mut state = self.lock();
        if !state.followed || state.changes != changes || bytes > ENTRY_BYTES_MAX {
            return;
        }
        state.remove(key);
        while state.entries.len() >= ENTRIES_MAX || state.lease.bytes() + bytes > BYTES_MAX {
            if !state.remove_oldest() {
                return;
            }
        }
        if state.lease.try_grow(bytes) {
            state.uses += 1;
            let entry = Entry { found: Arc::clone(found), bytes, used: state.uses };
            state.entries.insert(key.to_owned(), entry);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, key: &str) {
        let mut state = self.lock();
        state.changes += 1;
        state.remove(key);
    }
}

impl State {
    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            let left = self.lease.bytes() - entry.bytes;
            self.lease.shrink_to(left);
        }
    }

    fn remove_oldest(&mut self) -> bool {
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
        let found = oldest.is_some();
        oldest.into_iter().for_each(|key| self.remove(&key));
        found
    }
}

impl Follower for Cache {
    fn reset(&self) {
        let mut state = self.lock();
        state.changes += 1;
        state.followed = false;
        state.entries.clear();
        state.lease.shrink_to(0);
    }

    fn put(&self, key: &str, _: Bytes) {
        self.forget(key);
    }

    fn delete(&self, key: &str) {
        self.forget(key);
    }

    fn synced(&self) {
        self.lock().followed = true;
    }
}

#[cfg(test)]
mod tests {
    use tidegate_base::{ByteSize, Limits, Profile};

    use super::*;

    fn found(text: &str) -> Found {
        [("X".to_owned(), text.to_owned())].into()
    }

    #[test]
    fn the_store_decides_what_is_kept() {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        let cache = Cache::new(&budget);
        let read = |key: &str| cache.find(key).map(|found| found[0].1.clone());
        cache.keep("a", &found("1"), 0);
        assert_eq!(read("a"), Err(0), "nobody tells of changes yet");
        cache.reset();
        cache.synced();
        let before = read("a").unwrap_err();
        cache.keep("a", &found("1"), before);
        cache.keep("b", &found("1"), before);
        assert_eq!(read("a"), Ok("1".to_owned()));
        cache.put("a", Bytes::new());
        let now = read("a").unwrap_err();
        cache.keep("a", &found("1"), before);
        assert_eq!(read("a"), Err(now), "it may be from before the change");
        assert_eq!(read("b"), Ok("1".to_owned()));
        cache.delete("b");
        assert!(read("b").is_err());
        cache.keep("c", &found(&"x".repeat(20_000)), now + 1);
        assert!(read("c").is_err() && budget.used(Holder::Gateway) == 0, "too large to be kept");
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        let cache = Cache::new(&budget);
        cache.synced();
        for number in 0..ENTRIES_MAX {
            cache.keep(&number.to_string(), &found("x"), 0);
        }
        assert!(cache.find("0").is_ok());
        cache.keep("more", &found("x"), 0);
        assert!(cache.find("0").is_ok() && cache.find("1").is_err() && cache.find("more").is_ok());
        for number in 0..40 {
            cache.keep(&format!("large {number}"), &found(&"x".repeat(10_000)), 0);
            assert!(budget.used(Holder::Gateway) <= BYTES_MAX);
        }
        assert!(cache.find("large 39").is_ok() && cache.find("large 0").is_err());
        drop(cache);
        assert_eq!(budget.used(Holder::Gateway), 0);
    }
}
