//! The keys that cost most bytes, in bounded memory.
//!
//! A space-saving sketch: it tracks [`SLOTS`] keys; one that is not tracked takes the slot of the cheapest and inherits
//! its count as a possible error. Keys that are not tracked save their bytes up together, and the one that fills a portion
//! takes it: most small writes then cost a look at the hashes. A key that causes well over 1/[`SLOTS`] of all bytes is
//! therefore among them. A table of every key would be exact, and would grow with the data.

use bytes::Bytes;

const SLOTS: usize = 128;
/// Longer keys are remembered by their beginning only: the sketch stays at `SLOTS × KEY_BYTES`.
const KEY_BYTES: usize = 256;
/// Bytes under keys that are not tracked until one of them is.
const PORTION: u64 = 4 << 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostlyKey {
    /// At most the first 256 bytes.
    pub key: Bytes,
    /// Bytes written under this key: above the truth by at most `error`, below it by what was written while it was not
    /// tracked.
    pub bytes: u64,
    pub error: u64,
    pub writes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct KeySketch {
    slots: Vec<CostlyKey>,
    /// Of the keys in `slots`, at the same places.
    hashes: Vec<u32>,
    /// Bytes and writes under keys that are not tracked.
    saved: (u64, u64),
    total: u64,
}

impl KeySketch {
    pub(crate) fn add(&mut self, key: &[u8], bytes: u64) {
        self.total += bytes;
        let key = &key[..key.len().min(KEY_BYTES)];
        let hash = crc32c::crc32c(key);
        if let Some(at) = self.place(hash, key) {
            self.slots[at].bytes += bytes;
            self.slots[at].writes += 1;
            return;
        }
        let slot = |bytes, error, writes| CostlyKey { key: Bytes::copy_from_slice(key), bytes, error, writes };
        if self.slots.len() < SLOTS {
            self.slots.push(slot(bytes, 0, 1));
            self.hashes.push(hash);
            return;
        }
        self.saved = (self.saved.0 + bytes, self.saved.1 + 1);
        if self.saved.0 < PORTION {
            return;
        }
        let (saved, writes) = std::mem::take(&mut self.saved);
        let cheapest = self.slots.iter().enumerate().min_by_key(|(_, slot)| slot.bytes).map_or(0, |(at, _)| at);
        let inherited = self.slots[cheapest].bytes;
        self.slots[cheapest] = slot(inherited + saved, inherited + saved - bytes, writes);
        self.hashes[cheapest] = hash;
    }

    fn place(&self, hash: u32, key: &[u8]) -> Option<usize> {
        let mut from = 0;
        loop {
            let at = from + self.hashes[from..].iter().position(|have| *have == hash)?;
            if self.slots[at].key == key {
                return Some(at);
            }
            from = at + 1;
        }
    }

    /// The `n` costliest keys, and the bytes written under all keys.
    pub(crate) fn top(&self, n: usize) -> (Vec<CostlyKey>, u64) {
        let mut slots = self.slots.clone();
        slots.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.key.cmp(&b.key)));
        slots.truncate(n);
        (slots, self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_costly_key_is_found_among_many_cheap_ones() {
        let mut sketch = KeySketch::default();
        for n in 0..20_000u32 {
            sketch.add(format!("cheap/{n}").as_bytes(), 100);
            if n % 100 == 0 {
                sketch.add(b"status", 1 << 20);
            }
        }
        let (top, total) = sketch.top(10);
        assert_eq!(top[0].key, "status");
        assert!(top[0].bytes >= 200 << 20 && top[0].bytes - top[0].error <= 200 << 20);
        assert!((200..210).contains(&top[0].writes));
        assert_eq!(total, (200 << 20) + 2_000_000);
        assert_eq!(top.len(), 10);
    }

    #[test]
    fn long_keys_are_cut() {
        let mut sketch = KeySketch::default();
        sketch.add(&[b'x'; 100_000], 1);
        assert_eq!(sketch.top(1).0[0].key.len(), KEY_BYTES);
    }
}
