//! Payloads of the newest entries, from their arrival until everybody who may want them from memory has had them.
//!
//! ```text
//!            released through ─────┐
//!   … 12  13  14  15  16  17  18   │ 19  20  21  22
//!     └ evictable, oldest first ┘  └ pinned: the disk, the engine or a peer has not got them yet
//! ```
//! What is pinned was admitted with a lease and is bounded by whoever gives leases. What is not pinned is bounded here, and given
//! back at once to whoever asks: it only saves reads from the file.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tidegate_base::{Lease, LogIndex, LogPosition};

use crate::types::Entry;

/// Memory that an entry takes here besides its payload, rounded up.
const OVERHEAD: u64 = 256;

struct Slot {
    entry: Entry,
    lease: Lease,
}

impl Slot {
    fn bytes(&self) -> u64 {
        self.lease.bytes().max(self.entry.payload.len() as u64 + OVERHEAD)
    }
}

#[derive(Default)]
struct Slots {
    by_position: BTreeMap<LogPosition, Slot>,
    released: LogIndex,
    /// Bytes of slots at or below `released`.
    evictable: u64,
    pinned: u64,
}

/// Shared by the threads of a member.
pub struct TailCache {
    slots: Mutex<Slots>,
    evictable_max: u64,
}

/// Bytes of the cache's two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TailUsage {
    pub pinned: u64,
    pub evictable: u64,
}

impl TailCache {
    /// Keeps at most `evictable_max` bytes of entries that are not pinned.
    pub fn new(evictable_max: u64) -> Self {
        Self { slots: Mutex::default(), evictable_max }
    }

    /// Keeps `entry` and the lease that pays for it. Returns false, and drops the lease, when the position is there already. An entry
    /// at or below what was released is evictable from the start.
    pub fn insert(&self, entry: Entry, lease: Lease) -> bool {
        let position = entry.position;
        let slot = Slot { entry, lease };
        let mut slots = self.lock();
        if slots.by_position.contains_key(&position) {
            drop(slots);
            return false;
        }
        *slots.part(position.index) += slot.bytes();
        slots.by_position.insert(position, slot);
        let freed = slots.evict(self.evictable_max);
        drop(slots);
        drop(freed);
        true
    }

    pub fn get(&self, position: LogPosition) -> Option<Entry> {
        self.lock().by_position.get(&position).map(|slot| slot.entry.clone())
    }

    /// Entries from `from` on, one behind the other and of the terms that `is_current` accepts, while their payloads fit in
    /// `bytes_max`; the first one whatever its size. Ends at the first one that is not here.
    pub(crate) fn run(&self, from: LogIndex, bytes_max: usize, is_current: impl Fn(LogPosition) -> bool) -> Vec<Entry> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut next = from;
        let slots = self.lock();
        for (position, slot) in slots.by_position.range(LogPosition { index: from, ..LogPosition::default() }..) {
            if position.index > next {
                break;
            }
            if !is_current(*position) {
                continue;
            }
            bytes += slot.entry.payload.len();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(slot.entry.clone());
            next = next.next();
        }
        entries
    }

    /// Unpins the entries up to `index`: they are durable and applied, and no peer waits for them. The index never goes back.
    pub fn release_through(&self, index: LogIndex) {
        let mut slots = self.lock();
        if index <= slots.released {
            return;
        }
        let range = LogPosition { index: slots.released.next(), ..LogPosition::default() }..LogPosition {
            index: index.next(),
            ..LogPosition::default()
        };
        let bytes: u64 = slots.by_position.range(range).map(|(_, slot)| slot.bytes()).sum();
        slots.pinned -= bytes;
        slots.evictable += bytes;
        slots.released = index;
        let freed = slots.evict(self.evictable_max);
        drop(slots);
        drop(freed);
    }

    /// Forgets the entries at and behind `index`, of every term.
    pub fn drop_from(&self, index: LogIndex) {
        let mut slots = self.lock();
        let freed = slots.by_position.split_off(&LogPosition { index, ..LogPosition::default() });
        for (position, slot) in &freed {
            *slots.part(position.index) -= slot.bytes();
        }
        drop(slots);
        drop(freed);
    }

    /// Forgets one entry, which the consensus core did not take.
    pub fn drop_position(&self, position: LogPosition) {
        let mut slots = self.lock();
        let freed = slots.by_position.remove(&position);
        if let Some(slot) = &freed {
            *slots.part(position.index) -= slot.bytes();
        }
        drop(slots);
        drop(freed);
    }

    /// Gives back at least `bytes` of what is evictable, or all of it; returns how much. For who is refused a lease of the log's.
    pub fn evict(&self, bytes: u64) -> u64 {
        let mut slots = self.lock();
        let before = slots.evictable;
        let freed = slots.evict(before.saturating_sub(bytes));
        let returned = before - slots.evictable;
        drop(slots);
        drop(freed);
        returned
    }

    pub fn usage(&self) -> TailUsage {
        let slots = self.lock();
        TailUsage { pinned: slots.pinned, evictable: slots.evictable }
    }

    /// Leases are dropped only after the lock is: a lease's return may run a hook of somebody who wants to come in here.
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn part(&mut self, index: LogIndex) -> &mut u64 {
        if index <= self.released { &mut self.evictable } else { &mut self.pinned }
    }

    /// Takes out the oldest entries until at most `keep` evictable bytes are left.
    #[must_use]
    fn evict(&mut self, keep: u64) -> Vec<Slot> {
        let mut freed = Vec::new();
        while self.evictable > keep {
            let Some((_, slot)) = self.by_position.pop_first() else { break };
            self.evictable -= slot.bytes();
            freed.push(slot);
        }
        freed
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};

    use super::*;

    fn budget() -> Budget {
        Budget::new(Limits::new(ByteSize::mib(256), Profile::Store).unwrap())
    }

    fn insert(cache: &TailCache, budget: &Budget, index: u64, term: u64) -> bool {
        let entry =
            Entry { position: LogPosition::new(index, term), entry_type: 0, payload: Bytes::from(vec![7; 744]).into() };
        cache.insert(entry, budget.try_lease(Holder::Log, 1000).unwrap())
    }

    #[test]
    fn pinned_entries_stay_and_released_ones_go_oldest_first() {
        let (budget, cache) = (budget(), TailCache::new(2000));
        for index in 1..=5 {
            assert!(insert(&cache, &budget, index, 1));
        }
        assert_eq!(cache.usage(), TailUsage { pinned: 5000, evictable: 0 });
        assert_eq!(cache.evict(10_000), 0, "nothing that is pinned goes");
        cache.release_through(LogIndex(3));
        assert_eq!(cache.usage(), TailUsage { pinned: 2000, evictable: 2000 });
        assert_eq!(budget.used(Holder::Log), 4000);
        let there = [1, 2, 3, 4].map(|index| cache.get(LogPosition::new(index, 1)).is_some());
        assert_eq!(there, [false, true, true, true]);
        assert_eq!(cache.evict(1), 1000);
        cache.release_through(LogIndex(2));
        assert_eq!(cache.usage(), TailUsage { pinned: 2000, evictable: 1000 }, "released never goes back");
        drop(cache);
        assert_eq!(budget.used(Holder::Log), 0);
    }

    #[test]
    fn second_arrival_and_dropped_entries_give_their_leases_back() {
        let (budget, cache) = (budget(), TailCache::new(1 << 20));
        assert!(insert(&cache, &budget, 1, 1));
        assert!(!insert(&cache, &budget, 1, 1));
        assert!(insert(&cache, &budget, 1, 2), "another term is another entry");
        assert!(insert(&cache, &budget, 2, 2));
        assert_eq!(budget.used(Holder::Log), 3000);
        cache.drop_position(LogPosition::new(1, 2));
        cache.drop_from(LogIndex(2));
        cache.drop_from(LogIndex(2));
        assert_eq!((budget.used(Holder::Log), cache.usage().pinned), (1000, 1000));
        cache.release_through(LogIndex(9));
        assert!(insert(&cache, &budget, 4, 2), "older than what was released");
        assert_eq!(cache.usage(), TailUsage { pinned: 0, evictable: 2000 });
    }

    #[test]
    fn hook_that_looks_into_the_cache_does_not_deadlock() {
        let (budget, cache) = (budget(), std::sync::Arc::new(TailCache::new(0)));
        let seen = std::sync::Arc::clone(&cache);
        budget.on_room(Holder::Log, move || assert_eq!(seen.usage().evictable, 0));
        insert(&cache, &budget, 1, 1);
        budget.want_room(Holder::Log);
        cache.release_through(LogIndex(1));
        assert_eq!(budget.used(Holder::Log), 0);
    }
}
