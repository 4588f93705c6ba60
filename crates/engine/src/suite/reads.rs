use super::{END, Kind, cached, collect, get, ok, put};
use crate::{Batch, Engine, Lookup, Order, Space};

pub(super) fn spaces_do_not_share_rows<E: Engine>(kind: &Kind<'_, E>) {
    let engine = (kind.fresh)();
    for space in Space::ALL {
        put(&engine, space, b"k", space.name().as_bytes());
        put(&engine, space, space.name().as_bytes(), b"own");
    }
    for flushed in [false, true] {
        for space in Space::ALL {
            assert_eq!(get(&engine, space, b"k"), Some(space.name().as_bytes().to_vec()), "flushed: {flushed}");
            let rows = collect(&engine, space, b"", END, Order::Ascending);
            assert_eq!(rows.len(), 2, "{} flushed: {flushed}", space.name());
        }
        ok(engine.flush(true));
    }
}

/// A row just written, and one just read in full, are in memory; any other answer is right or `NotCached`.
pub(super) fn a_cached_read_is_right_or_refuses<E: Engine>(kind: &Kind<'_, E>) {
    let engine = (kind.fresh)();
    let found = Lookup::Found(b"value".to_vec());
    for space in Space::ALL {
        put(&engine, space, b"k", b"value");
        assert_eq!(cached(&engine, space, b"k"), found, "just written");
        put(&engine, space, b"deleted", b"1");
        let mut batch = engine.batch();
        batch.delete(space, b"deleted");
        ok(engine.write(&mut batch));
        assert_eq!(cached(&engine, space, b"deleted"), Lookup::Absent, "just deleted");
    }
    ok(engine.flush(true));
    let engine = (kind.reopen)(engine);
    for space in Space::ALL {
        for (key, right) in [(&b"k"[..], found.clone()), (b"deleted", Lookup::Absent), (b"never", Lookup::Absent)] {
            let answer = cached(&engine, space, key);
            assert!(answer == right || answer == Lookup::NotCached, "{answer:?} instead of {right:?}");
        }
        assert_eq!(get(&engine, space, b"k"), Some(b"value".to_vec()));
        assert_eq!(cached(&engine, space, b"k"), found, "just read in full");
    }
}

pub(super) fn any_bytes_are_keys_and_values<E: Engine>(kind: &Kind<'_, E>) {
    let engine = (kind.fresh)();
    let long = vec![b'l'; 70_000];
    let mut keys: Vec<&[u8]> = vec![b"", b"\0", b"\0\0", b"\0\xff", b"a", b"a\0", b"a\0\x01", b"a\xff", b"\xff", &long];
    for key in &keys {
        put(&engine, Space::Head, key, key);
        put(&engine, Space::State, key, b"");
    }
    keys.sort_unstable();
    for flushed in [false, true] {
        for key in &keys {
            assert_eq!(get(&engine, Space::Head, key).as_deref(), Some(*key), "flushed: {flushed}");
            assert_eq!(get(&engine, Space::State, key).as_deref(), Some(&b""[..]), "an empty value is a value");
        }
        let rows = collect(&engine, Space::Head, b"", END, Order::Ascending);
        assert!(rows.iter().map(|row| row.0.as_slice()).eq(keys.iter().copied()), "keys are ordered as bytes");
        ok(engine.flush(true));
    }
    let mut batch = engine.batch();
    batch.delete(Space::Head, b"");
    ok(engine.write(&mut batch));
    assert_eq!(get(&engine, Space::Head, b""), None);
    assert_eq!(get(&engine, Space::Head, b"\0"), Some(b"\0".to_vec()));
}

pub(super) fn large_values_come_back<E: Engine>(kind: &Kind<'_, E>) {
    let mut engine = (kind.fresh)();
    let value = |len: usize, salt: usize| -> Vec<u8> { (0..=250u8).cycle().skip(salt).step_by(7).take(len).collect() };
    let sizes = [1 << 10, (16 << 10) - 1, 16 << 10, 20 << 10, 3 << 20];
    let key = |n: usize| [b"v", &n.to_be_bytes()[..]].concat();
    for salt in [0, 1] {
        for (n, len) in sizes.into_iter().enumerate() {
            put(&engine, Space::Events, &key(n), &value(len, n + salt));
        }
        for flushed in [false, true] {
            for (n, len) in sizes.into_iter().enumerate() {
                let right = value(len, n + salt);
                assert!(get(&engine, Space::Events, &key(n)).as_ref() == Some(&right), "{len} flushed: {flushed}");
                let answer = cached(&engine, Space::Events, &key(n));
                assert!(answer == Lookup::Found(right) || answer == Lookup::NotCached, "{len} cached");
            }
            ok(engine.flush(true));
            engine = (kind.reopen)(engine);
        }
    }
    let rows = collect(&engine, Space::Events, b"v", b"w", Order::Descending);
    let lengths: Vec<usize> = rows.iter().rev().map(|row| row.1.len()).collect();
    assert_eq!(lengths, sizes);
    let mut batch = engine.batch();
    for n in 0..sizes.len() {
        batch.delete(Space::Events, &key(n));
    }
    ok(engine.write(&mut batch));
    ok(engine.flush(true));
    assert!(collect(&engine, Space::Events, b"v", b"w", Order::Ascending).is_empty());
}
