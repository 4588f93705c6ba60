//! The numbers of one object on all threads.

use std::{
    cell::OnceCell,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, ThreadId},
    time::Instant,
};

use tidegate_base::{Budget, Holder, Lease};

use super::{STAT_BYTES, Snapshot, Stat};

/// What is counted by a thread for itself. Its size bounds what an object costs a thread.
pub trait Counted: Default + Send + Sync + 'static {
    /// With what an allocation and its entry in a list cost.
    const BYTES: u64;
}

impl Counted for Stat {
    const BYTES: u64 = STAT_BYTES;
}

/// One `T` for each thread that had to count something, and what pays for them.
#[derive(Debug)]
pub struct PerThread<T>(Mutex<Vec<Entry<T>>>);

#[derive(Debug)]
struct Entry<T> {
    thread: ThreadId,
    counted: Arc<T>,
    _lease: Lease,
}

impl<T> Default for PerThread<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T: Counted> PerThread<T> {
    /// What the calling thread is to write; none, and nothing counted, where no memory is free for it.
    pub fn enter(&self, budget: &Budget) -> Option<Arc<T>> {
        const { assert!(size_of::<T>() as u64 + 32 <= T::BYTES) };
        let thread = thread::current().id();
        self.all(|all| {
            if let Some(own) = all.iter().find(|entry| entry.thread == thread) {
                return Some(Arc::clone(&own.counted));
            }
            let lease = budget.try_lease(Holder::Gateway, T::BYTES)?;
            let counted = Arc::<T>::default();
            all.push(Entry { thread, counted: Arc::clone(&counted), _lease: lease });
            Some(counted)
        })
    }

    /// As [`PerThread::enter`], once for each `own`, which is one thread's. Until there is memory for it, each call tries again.
    pub fn own<'a>(&self, own: &'a OnceCell<Arc<T>>, budget: &Budget) -> Option<&'a Arc<T>> {
        own.get().or_else(|| self.enter(budget).map(|made| own.get_or_init(|| made)))
    }

    pub fn each(&self, mut look: impl FnMut(&T)) {
        self.all(|all| all.iter().for_each(|entry| look(&entry.counted)));
    }

    pub fn is_empty(&self) -> bool {
        self.all(|all| all.is_empty())
    }

    fn all<R>(&self, work: impl FnOnce(&mut Vec<Entry<T>>) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PerThread<Stat> {
    pub fn sum(&self, now: Instant) -> Snapshot {
        let mut sum = Snapshot::default();
        self.each(|stat| stat.add_to(&mut sum, now));
        sum
    }
}
