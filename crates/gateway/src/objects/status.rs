//! What the loader tells the rest of the process.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::ObjectStatus;

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

#[derive(Default, Clone)]
struct Told {
    statuses: Arc<Statuses>,
    problem: Option<Arc<str>>,
}

impl Handle {
    /// Status of each object that this node knows.
    pub fn statuses(&self) -> Arc<BTreeMap<String, ObjectStatus>> {
        self.told(|told| Arc::clone(&told.statuses))
    }

    /// Why this node does not follow the store at the moment.
    pub fn problem(&self) -> Option<Arc<str>> {
        self.told(|told| told.problem.clone())
    }

    /// Version of the configuration that this node runs; 0 before the first.
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::Relaxed)
    }

    /// Bytes that the texts of all objects take on this node.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn applied(&self, version: u64, bytes: u64, mut statuses: Statuses) {
        for status in statuses.values_mut() {
            status.shorten();
        }
        self.told(|told| told.statuses = Arc::new(statuses));
        self.0.version.store(version, Ordering::Relaxed);
        self.0.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_problem(&self, problem: Option<String>) {
        self.told(|told| told.problem = problem.map(Arc::from));
    }

    fn told<T>(&self, act: impl FnOnce(&mut Told) -> T) -> T {
        act(&mut self.0.told.lock().expect("no panic under the lock"))
    }
}
