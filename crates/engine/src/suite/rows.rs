//! Numbered batches: from the number alone follows every row, so that any state can be checked to be a whole prefix.

use super::{END, collect, get, ok};
use crate::{Batch, Engine, Order, Space};

const META: &[u8] = b"\0";

/// Writes batch `n`: its number as meta in each space, a row of its own in each, one row that all batches overwrite, and
/// the deletion of the row that batch `n - 5` made.
pub(super) fn write<E: Engine>(engine: &E, n: u32) {
    let mut batch = engine.batch();
    for space in Space::ALL {
        batch.put(space, META, &n.to_be_bytes());
        batch.put(space, &own(n), &value(space, n));
        batch.put(space, b"shared", &value(space, n));
        if n > 5 {
            batch.delete(space, &own(n - 5));
        }
    }
    ok(engine.write(&mut batch));
}

/// Checks that the state is exactly that of the batches 1 to some n, and gives n.
pub(super) fn check<E: Engine>(engine: &E) -> u32 {
    let numbers = Space::ALL.map(|space| number(get(engine, space, META)));
    let n = numbers[0];
    assert_eq!(numbers, [n; 4], "the spaces agree on the last batch");
    for space in Space::ALL {
        let mut expected = Vec::new();
        if n > 0 {
            expected.push((META.to_vec(), n.to_be_bytes().to_vec()));
            expected.extend((n.saturating_sub(4).max(1)..=n).map(|k| (own(k), value(space, k))));
            expected.push((b"shared".to_vec(), value(space, n)));
        }
        assert_eq!(collect(engine, space, b"", END, Order::Ascending), expected, "{} after batch {n}", space.name());
    }
    n
}

/// The number of the last batch that is durable, which all spaces must agree on.
pub(super) fn flushed<E: Engine>(engine: &E) -> u32 {
    let numbers = Space::ALL.map(|space| number(ok(engine.get_flushed(space, META))));
    assert_eq!(numbers, [numbers[0]; 4], "the spaces agree on what is flushed");
    numbers[0]
}

fn number(value: Option<Vec<u8>>) -> u32 {
    value.map_or(0, |value| u32::from_be_bytes(value.try_into().expect("meta rows have 4 bytes")))
}

fn own(n: u32) -> Vec<u8> {
    [b"own ", &n.to_be_bytes()[..]].concat()
}

/// Some are large enough for an engine to keep them apart.
fn value(space: Space, n: u32) -> Vec<u8> {
    let len = if n.is_multiple_of(7) { 20_000 } else { 30 };
    (0..len).map(|i| n.wrapping_mul(31).wrapping_add(i).to_be_bytes()[3] ^ space.name().as_bytes()[0]).collect()
}
