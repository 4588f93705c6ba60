//! What a filter keeps for each thread: pools, timers, counters.

use std::{
    any::Any,
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Names the state of one filter on every thread. When the key is dropped, so is that state, at each thread's next sweep.
#[derive(Debug, Clone)]
pub struct LocalKey {
    id: u64,
    alive: Arc<()>,
}

impl Default for LocalKey {
    fn default() -> Self {
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), alive: Arc::new(()) }
    }
}

/// State of a filter on one thread.
pub trait Local: 'static {
    /// Called about every second: to close what is idle.
    fn tick(&self, now: Instant);
}

struct Entry {
    alive: Weak<()>,
    any: Rc<dyn Any>,
    local: Rc<dyn Local>,
}

/// The states of one thread. One entry for each key in use there.
#[derive(Default)]
pub struct Locals(RefCell<BTreeMap<u64, Entry>>);

impl Locals {
    /// The state under `key`, made at its first use.
    pub fn get<T: Local>(&self, key: &LocalKey, make: impl FnOnce() -> T) -> Rc<T> {
        if let Some(entry) = self.0.borrow().get(&key.id) {
            return Rc::clone(&entry.any).downcast().expect("a key names states of one type");
        }
        let made = Rc::new(make());
        let entry =
            Entry { alive: Arc::downgrade(&key.alive), any: Rc::<T>::clone(&made), local: Rc::<T>::clone(&made) };
        self.0.borrow_mut().insert(key.id, entry);
        made
    }

    /// Drops the states of filters that are gone, and lets the others close what is idle.
    pub fn sweep(&self, now: Instant) {
        let mut gone = Vec::new();
        self.0.borrow_mut().retain(|_, entry| {
            let alive = entry.alive.strong_count() > 0;
            if !alive {
                gone.push(Rc::clone(&entry.local));
            }
            alive
        });
        // Outside the borrow: dropping may close sockets and run other code.
        drop(gone);
        let locals: Vec<Rc<dyn Local>> = self.0.borrow().values().map(|entry| Rc::clone(&entry.local)).collect();
        for local in locals {
            local.tick(now);
        }
    }

    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tidegate_base::clock;

    use super::*;

    #[derive(Default)]
    struct Count(Cell<u32>);

    impl Local for Count {
        fn tick(&self, _: Instant) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn state_is_made_once_and_goes_with_its_key() {
        let locals = Locals::default();
        let (a, b) = (LocalKey::default(), LocalKey::default());
        locals.get(&a, Count::default).0.set(10);
        locals.get(&b, Count::default);
        locals.sweep(clock::now());
        assert_eq!(locals.get(&a, Count::default).0.get(), 11, "ten, and one tick");
        drop(a);
        locals.sweep(clock::now());
        assert_eq!(locals.len(), 1);
    }
}
