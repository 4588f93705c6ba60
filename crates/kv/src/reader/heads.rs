//! The newest versions of keys that were written lately.
//!
//! Only apply puts anything in here, after it is in the engine and before it is published: so what stands here is what `head`
//! holds, and no reader can bring an old row back in behind apply. The engine's own cache of rows belongs to files and goes
//! with them: a flush or a compaction makes a miss of each key that was just written, for the next put and for who reads it.
//!
//! ```text
//!   key ─► shard ─► place ─► slot: version, info, value up to 1 KiB │ used?
//!                              ▲ hand: takes the slots that nobody used since it came by
//! ```

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::{
    Version,
    rows::{HeadRow, Info},
};

const SHARDS: usize = 16;
/// What an entry costs besides its key and value: slot, place in the table, and what the allocator rounds up.
const ENTRY_BYTES: usize = 256;
/// Slots are made in steps of this.
const SLOTS_STEP: usize = 32;

/// A head row that owns its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) at: Version,
    pub(crate) info: Info,
    pub(crate) value: Option<Bytes>,
    pub(crate) blob: bool,
}

impl Head {
    pub(crate) fn from_row(row: &HeadRow<'_>) -> Self {
        let value = row.value.map(Bytes::copy_from_slice);
        Self { at: row.at, info: row.info, value, blob: row.blob }
    }

    pub(crate) fn live(&self) -> bool {
        !self.info.deleted
    }
}

pub(crate) struct Heads {
    shards: [Mutex<Shard>; SHARDS],
    /// Bytes of one shard.
    limit: usize,
}

#[derive(Default)]
struct Shard {
    places: HashMap<Arc<[u8]>, usize>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
}

struct Slot {
    key: Arc<[u8]>,
    head: Head,
    /// Asked for since the hand came by.
    used: bool,
}

impl Slot {
    fn bytes(&self) -> usize {
        bytes(&self.key, &self.head)
    }
}

fn bytes(key: &[u8], head: &Head) -> usize {
    ENTRY_BYTES + key.len() + head.value.as_ref().map_or(0, Bytes::len)
}

impl Heads {
    /// Holds at most `limit` bytes; with none it is never asked in vain.
    pub(crate) fn new(limit: usize) -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), limit: limit / SHARDS }
    }

    /// What `read` makes of the newest version of `key`, a deletion included.
    pub(crate) fn get<T>(&self, key: &[u8], read: impl FnOnce(&Head) -> T) -> Option<T> {
        if self.limit == 0 {
            return None;
        }
        let mut shard = self.shard(key);
        let place = *shard.places.get(key)?;
        let slot = shard.slots[place].as_mut()?;
        slot.used = true;
        Some(read(&slot.head))
    }

    /// `head` is the newest version of `key` from now on.
    pub(crate) fn put(&self, key: &[u8], head: Head) {
        let bytes = bytes(key, &head);
        if bytes > self.limit / 4 {
            return self.remove(key);
        }
        let mut shard = self.shard(key);
        let place = shard.places.get(key).copied();
        match place.and_then(|place| shard.slots[place].as_mut()) {
            Some(slot) => {
                let before = slot.bytes();
                (slot.head, slot.used) = (head, true);
                shard.bytes = shard.bytes + bytes - before;
            }
            None => shard.insert(Slot { key: key.into(), head, used: false }),
        }
        shard.evict_to(self.limit);
    }

    /// `head` has no row of this key any more, or none that may be kept here.
    pub(crate) fn remove(&self, key: &[u8]) {
        let mut shard = self.shard(key);
        if let Some(place) = shard.places.get(key).copied() {
            shard.take(place);
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes).sum()
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        // FNV-1a: keys differ in their last bytes mostly. Who makes all keys fall into one shard gets a smaller cache.
        let hash = key
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        lock(&self.shards[usize::from(hash.to_le_bytes()[5]) % SHARDS])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // Nothing panics while it holds one of these locks.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn insert(&mut self, slot: Slot) {
        self.bytes += slot.bytes();
        let place = self.free.pop().unwrap_or(self.slots.len());
        self.places.insert(Arc::clone(&slot.key), place);
        match self.slots.get_mut(place) {
            Some(free) => *free = Some(slot),
            None => {
                if self.slots.len() == self.slots.capacity() {
                    self.slots.reserve_exact(SLOTS_STEP);
                }
                self.slots.push(Some(slot));
            }
        }
    }

    fn take(&mut self, place: usize) {
        if let Some(slot) = self.slots[place].take() {
            self.bytes -= slot.bytes();
            self.places.remove(&slot.key);
            self.free.push(place);
        }
    }

    /// Takes what was not used since the hand came by last, one after the other, until `limit` is kept.
    fn evict_to(&mut self, limit: usize) {
        while self.bytes > limit {
            self.hand = (self.hand + 1) % self.slots.len();
            match &mut self.slots[self.hand] {
                Some(slot) if slot.used => slot.used = false,
                Some(_) => self.take(self.hand),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(main: i64, value: usize) -> Head {
        let info = Info { value_len: value as u64, ..Info::default() };
        Head { at: Version::new(main, 0), info, value: Some(vec![7; value].into()), blob: false }
    }

    fn at(heads: &Heads, key: &[u8]) -> Option<i64> {
        heads.get(key, |head| head.at.main)
    }

    #[test]
    fn the_newest_version_is_told_until_it_is_removed() {
        let heads = Heads::new(1 << 20);
        heads.put(b"a", head(1, 10));
        heads.put(b"a", head(2, 700));
        heads.put(b"b", head(3, 0));
        assert_eq!((at(&heads, b"a"), at(&heads, b"b"), at(&heads, b"c")), (Some(2), Some(3), None));
        assert_eq!(heads.bytes(), 2 * ENTRY_BYTES + 2 + 700);
        heads.remove(b"a");
        heads.remove(b"a");
        assert_eq!((at(&heads, b"a"), heads.bytes()), (None, ENTRY_BYTES + 1));
    }

    #[test]
    fn the_limit_holds_and_what_is_used_stays() {
        let heads = Heads::new(SHARDS * 8 * (ENTRY_BYTES + 100));
        for n in 0..5000_u32 {
            heads.put(&n.to_be_bytes(), head(i64::from(n), 90));
            heads.get(&3_u32.to_be_bytes(), drop_head);
            assert!(heads.bytes() <= SHARDS * heads.limit);
        }
        assert_eq!(at(&heads, &3_u32.to_be_bytes()), Some(3));
        let kept = (0..5000_u32).filter(|n| at(&heads, &n.to_be_bytes()).is_some()).count();
        assert!((100..=SHARDS * 8).contains(&kept), "{kept}");
        for shard in &heads.shards {
            let shard = lock(shard);
            let there = shard.slots.iter().flatten().count();
            assert_eq!((shard.places.len(), shard.slots.len() - shard.free.len()), (there, there));
        }
    }

    fn drop_head(_: &Head) {}

    /// A version that is not kept must take the older one with it, which would else be told for ever.
    #[test]
    fn what_is_too_large_to_be_kept_takes_the_older_version_away() {
        let heads = Heads::new(SHARDS * 2000);
        heads.put(b"k", head(1, 10));
        heads.put(b"k", head(2, 900));
        assert_eq!((at(&heads, b"k"), heads.bytes()), (None, 0));
        let none = Heads::new(0);
        none.put(b"k", head(1, 0));
        assert_eq!((at(&none, b"k"), none.bytes()), (None, 0));
    }
}
