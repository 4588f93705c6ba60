//! The keys that cost most bytes, in bounded memory.
//!
//! A space-saving sketch: it tracks [`SLOTS`] keys; one that is not tracked takes the slot of the cheapest and inherits
//! its count as a possible error. A key that caused more than 1/[`SLOTS`] of all bytes is therefore always among them, and
//! no count is too low. A table of every key would be exact, and would grow with the data.

use bytes::Bytes;

const SLOTS: usize = 128;
/// Longer keys are remembered by their beginning only: the sketch stays at `SLOTS × KEY_BYTES`.
const KEY_BYTES: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostlyKey {
    /// At most the first 256 bytes.
    pub key: Bytes,
    /// Bytes written under this key since the start: never below the truth, above it by at most `error`.
    pub bytes: u64,
    pub error: u64,
    pub writes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct KeySketch {
    slots: Vec<CostlyKey>,
    total: u64,
}

impl KeySketch {
    pub(crate) fn add(&mut self, key: &[u8], bytes: u64) {
        self.total += bytes;
        let key = &key[..key.len().min(KEY_BYTES)];
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.key == key) {
            slot.bytes += bytes;
            slot.writes += 1;
            return;
        }
        let fresh = |inherited| CostlyKey {
            key: Bytes::copy_from_slice(key),
            bytes: inherited + bytes,
            error: inherited,
            writes: 1,
        };
        if self.slots.len() < SLOTS {
            self.slots.push(fresh(0));
            return;
        }
        let cheapest = self.slots.iter_mut().min_by_key(|slot| slot.bytes).expect("there are slots");
        *cheapest = fresh(cheapest.bytes);
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
