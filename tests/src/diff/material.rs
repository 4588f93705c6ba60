//! Keys, values, ranges and revisions that requests are made of.

use bytes::Bytes;
use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

/// What a run knows of the stores when it makes a request: relative to it, requests are hostile.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    pub(super) revision: i64,
    /// The last compaction that was accepted.
    pub(super) compacted: i64,
    /// Leases whose ids the stores chose.
    pub(super) chosen: i64,
    /// Values are large, so that answers and events of one revision are.
    pub(super) fat: bool,
}

/// Prefixes of each other, full of the bytes that encodings trip over.
const HOSTILE: [&[u8]; 18] = [
    b"\0",
    b"\0\0",
    b"\0\x01",
    b"\0\xff",
    b"\0\xff\0",
    b"\x01",
    b"a",
    b"a\0",
    b"a\0\0",
    b"a\0\x01",
    b"a\0\xff",
    b"ab",
    b"a\xff",
    b"a\xff\xff",
    b"k",
    b"\xfe\xff",
    b"\xff",
    b"\xff\xff",
];
/// Keys of one prefix, enough for ranges that are sorted and cut.
const MANY: u32 = 40;
/// Around the lengths at which a value moves to another place.
const LENGTHS: [usize; 9] = [0, 1, 1024, 1025, 4096, 16_383, 16_384, 17_000, 40_000];
/// Leases whose ids are given.
pub(super) const LEASES: [i64; 6] = [1, 2, 7, -3, i64::MAX, i64::MIN];
/// The ids that stand for those which the stores chose.
pub(super) const CHOSEN: i64 = 1 << 50;

pub(super) fn key(rng: &mut SmallRng) -> Bytes {
    match rng.random_range(0..100) {
        0 => Bytes::new(),
        1 => vec![b'l'; 3000].into(),
        2..=49 => format!("m/{:02}", rng.random_range(0..MANY)).into(),
        _ => Bytes::from_static(HOSTILE.choose(rng).expect("there are some")),
    }
}

pub(super) fn value(rng: &mut SmallRng, known: Known) -> Bytes {
    if known.fat && rng.random_bool(0.7) {
        return vec![rng.random(); 40_000].into();
    }
    match rng.random_range(0..100) {
        // Equal over more than is compared at once.
        0..=2 => {
            let mut value = vec![b'v'; 20_000];
            value.push(rng.random_range(0..4));
            value.into()
        }
        3..=8 => vec![rng.random(); *LENGTHS.choose(rng).expect("there are some")].into(),
        9..=12 => Bytes::from_static(b"\0\xff"),
        _ => format!("v{}", rng.random_range(0..12)).into(),
    }
}

/// Often one key, else a span, a prefix, or everything behind a key; also spans that hold nothing.
pub(super) fn range(rng: &mut SmallRng) -> (Bytes, Bytes) {
    match rng.random_range(0..10) {
        0..=3 => (key(rng), Bytes::new()),
        4 => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
        5 => (key(rng), Bytes::from_static(b"\0")),
        6..=7 => (Bytes::from_static(b"m/"), Bytes::from_static(b"m0")),
        _ => (key(rng), key(rng)),
    }
}

/// A revision to read at: mostly now, else anything from below the last compaction to the future.
pub(super) fn revision(rng: &mut SmallRng, known: Known) -> i64 {
    match rng.random_range(0..20) {
        0..=11 => 0,
        12 => -1,
        13 => known.revision + 1,
        14 => known.compacted - 1,
        15 => known.compacted,
        16 => known.revision,
        _ => rng.random_range(known.compacted.max(1)..=known.revision.max(2)),
    }
}

/// A number near the revisions that pairs have; mostly 0.
pub(super) fn near(rng: &mut SmallRng, known: Known) -> i64 {
    match rng.random_range(0..10) {
        0..=4 => 0,
        5 => -1,
        _ => rng.random_range((known.revision - 60).max(0)..=known.revision + 1),
    }
}

pub(super) fn lease(rng: &mut SmallRng) -> i64 {
    *LEASES.choose(rng).expect("there are some")
}

/// As [`lease`], or one whose id the stores chose.
pub(super) fn any_lease(rng: &mut SmallRng, known: Known) -> i64 {
    if known.chosen > 0 && rng.random_bool(0.3) {
        return CHOSEN + rng.random_range(0..known.chosen);
    }
    if rng.random_bool(0.1) { 0 } else { lease(rng) }
}
