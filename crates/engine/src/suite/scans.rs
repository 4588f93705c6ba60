use super::{END, Kind, drain, ok, put};
use crate::{Batch, Cursor, Engine, Order, Scan, Space};

const KEYS: [&[u8]; 9] = [b"", b"\0", b"a", b"a\0", b"a\xff", b"b", b"c", b"c\xff\xff", b"\xff"];
/// Between, before and behind the keys, and the keys themselves.
const EDGES: [&[u8]; 14] =
    [b"", b"\0", b"\0\0", b"a", b"a\0", b"a\0\0", b"a\xfe", b"a\xff", b"b", b"bz", b"c\xff\xff", b"d", b"\xff", END];

/// All bounds, both orders, all seeks, against the sorted list; rows in tables, in memory, and deleted ones among them.
pub(super) fn scans_keep_bounds_order_and_seeks<E: Engine>(kind: &Kind<'_, E>) {
    let engine = (kind.fresh)();
    let mut batch = engine.batch();
    for key in [&b"a\0\0"[..], b"bb", b"c\xff", b"z", END] {
        put(&engine, Space::Versions, key, b"deleted below");
        batch.delete(Space::Versions, key);
    }
    for (n, key) in (0u8..).zip(KEYS) {
        put(&engine, Space::Versions, key, &[n]);
        if n == 4 {
            ok(engine.flush(true));
        }
    }
    ok(engine.write(&mut batch));
    for lower in EDGES {
        for upper in EDGES {
            for order in [Order::Ascending, Order::Descending] {
                let scan = Scan { lower, upper, order, fill_cache: false };
                let rows = expected(lower, upper, order, None);
                assert_eq!(drain(&mut ok(engine.scan(Space::Versions, scan))), rows, "{scan:?}");
                let mut cursor = ok(engine.scan(Space::Versions, scan));
                for target in EDGES {
                    cursor.seek(target);
                    let rows = expected(lower, upper, order, Some(target));
                    let first = ok(cursor.next()).map(|(key, value)| (key.to_vec(), value.to_vec()));
                    assert_eq!(first.as_ref(), rows.first(), "{scan:?} seek {target:?}");
                    cursor.seek(target);
                    assert_eq!(drain(&mut cursor), rows, "{scan:?} seek {target:?}: a seek works at the end too");
                }
            }
        }
    }
}

fn expected(lower: &[u8], upper: &[u8], order: Order, from: Option<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let behind = |key: &[u8]| match (order, from) {
        (_, None) => true,
        (Order::Ascending, Some(from)) => key >= from,
        (Order::Descending, Some(from)) => key <= from,
    };
    let within = (0u8..).zip(KEYS).filter(|(_, key)| *key >= lower && *key < upper && behind(key));
    let mut rows: Vec<_> = within.map(|(n, key)| (key.to_vec(), vec![n])).collect();
    if order == Order::Descending {
        rows.reverse();
    }
    rows
}

pub(super) fn a_cursor_sees_one_state<E: Engine>(kind: &Kind<'_, E>) {
    let engine = (kind.fresh)();
    for key in [b"a", b"b", b"c"] {
        put(&engine, Space::Head, key, b"1");
    }
    let scan = Scan { lower: b"a", upper: b"z", order: Order::Ascending, fill_cache: true };
    let mut cursor = ok(engine.scan(Space::Head, scan));
    assert_eq!(ok(cursor.next()), Some((&b"a"[..], &b"1"[..])));
    let mut batch = engine.batch();
    batch.put(Space::Head, b"a", b"2");
    batch.put(Space::Head, b"bb", b"2");
    batch.delete(Space::Head, b"c");
    ok(engine.write(&mut batch));
    ok(engine.flush(true));
    let left = [(b"b".to_vec(), b"1".to_vec()), (b"c".to_vec(), b"1".to_vec())];
    assert_eq!(drain(&mut cursor), left);
    cursor.seek(b"a");
    assert_eq!(ok(cursor.next()), Some((&b"a"[..], &b"1"[..])), "after a seek too");
    drop(cursor);
    let now: Vec<_> = drain(&mut ok(engine.scan(Space::Head, scan))).into_iter().map(|row| row.0).collect();
    assert_eq!(now, [&b"a"[..], b"b", b"bb"]);
}
