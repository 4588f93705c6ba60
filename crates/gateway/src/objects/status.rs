//! What the loader tells the rest of the process.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{ObjectStatus, Texts};

pub(super) type Statuses = BTreeMap<String, ObjectStatus>;

/// The state of the objects on this node. Cheap to clone.
#[derive(Clone, Default)]
pub struct Handle(Arc<Shared>);

#[derive(Default)]
struct Shared {
    told: Mutex<Told>,
    version: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Default)]
struct Told {
    statuses: Arc<Statuses>,
    /// The texts that these are about: the bytes are those that the loader pays for.
    texts: Arc<Texts>,
    problem: Option<Arc<str>>,
    /// The store holds more than the node takes.
    full: bool,
    /// Bytes of changes that are on their way to the store or back, with the version they became.
    reserved: BTreeMap<u64, (Option<u64>, u64)>,
    next: u64,
}

/// Bytes of one change, from its check until this node has applied it. Dropped without [`Reservation::written`], they are
/// free again.
pub struct Reservation<'a> {
    handle: &'a Handle,
    number: u64,
    written: bool,
}

impl Reservation<'_> {
    /// The change stands in the store, as this version of the configuration.
    pub fn written(mut self, version: u64) {
        self.written = true;
        self.handle.told(|told| {
            if version <= self.handle.version() {
                told.reserved.remove(&self.number);
            } else if let Some(entry) = told.reserved.get_mut(&self.number) {
                entry.0 = Some(version);
            }
        });
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.written {
            self.handle.told(|told| told.reserved.remove(&self.number));
        }
    }
}

impl Handle {
    /// Status of each object that this node knows.
    pub fn statuses(&self) -> Arc<BTreeMap<String, ObjectStatus>> {
        self.told(|told| Arc::clone(&told.statuses))
    }

    /// Status of each object that this node knows, and the text that it is about.
    pub fn objects(&self) -> (Arc<BTreeMap<String, ObjectStatus>>, Arc<Texts>) {
        self.told(|told| (Arc::clone(&told.statuses), Arc::clone(&told.texts)))
    }

    /// Why this node does not follow the store at the moment.
    pub fn problem(&self) -> Option<Arc<str>> {
        self.told(|told| told.problem.clone())
    }

    /// Version of the configuration that this node runs; 0 before the first.
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::Relaxed)
    }

    /// Bytes that all objects take on this node, texts and what is built of them.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn applied(&self, version: u64, bytes: u64, texts: Texts, mut statuses: Statuses) {
        for status in statuses.values_mut() {
            status.shorten();
        }
        let bytes = bytes + statuses.values().map(|status| status.bytes).sum::<u64>();
        self.told(|told| {
            told.statuses = Arc::new(statuses);
            told.texts = Arc::new(texts);
            told.reserved.retain(|_, (of, _)| of.is_none_or(|of| of > version));
            self.0.version.store(version, Ordering::Relaxed);
            self.0.bytes.store(bytes, Ordering::Relaxed);
        });
    }

    /// Room for a change of so many bytes, where all objects and all changes that are not applied yet may hold `limit`.
    pub fn reserve(&self, bytes: u64, limit: u64) -> Option<Reservation<'_>> {
        self.told(|told| {
            let reserved: u64 = told.reserved.values().map(|(_, bytes)| bytes).sum();
            if told.full || self.bytes().saturating_add(reserved).saturating_add(bytes) > limit {
                return None;
            }
            let number = told.next;
            told.next += 1;
            told.reserved.insert(number, (None, bytes));
            Some(Reservation { handle: self, number, written: false })
        })
    }

    pub(super) fn set_full(&self, full: bool) {
        self.told(|told| told.full = full);
    }

    pub(super) fn set_problem(&self, problem: Option<String>) {
        self.told(|told| told.problem = problem.map(Arc::from));
    }

    fn told<T>(&self, act: impl FnOnce(&mut Told) -> T) -> T {
        act(&mut self.0.told.lock().expect("no panic under the lock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_on_their_way_count_until_they_are_applied() {
        let handle = Handle::default();
        let (a, b) = (handle.reserve(40, 100).unwrap(), handle.reserve(40, 100).unwrap());
        assert!(handle.reserve(40, 100).is_none());
        drop(a);
        let a = handle.reserve(60, 100).unwrap();
        b.written(5);
        handle.applied(4, 0, Texts::new(), Statuses::new());
        assert!(handle.reserve(1, 100).is_none());
        let status = ObjectStatus { bytes: 30, ..ObjectStatus::default() };
        handle.applied(5, 10, Texts::new(), [("b".to_owned(), status)].into());
        assert_eq!(handle.bytes(), 40);
        drop(handle.reserve(0, 100).expect("what is applied is counted once"));
        a.written(5);
        handle.set_full(true);
        assert!(handle.reserve(1, 100).is_none());
        handle.set_full(false);
        assert!(handle.reserve(60, 100).is_some());
    }
}
