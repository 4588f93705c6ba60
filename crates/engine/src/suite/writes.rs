use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{END, Kind, collect, drain, get, ok, put};
use crate::{Batch, Engine, Order, Scan, Space};

const KEYS: [&[u8]; 4] = [b"a", b"b", b"k\0", b"z\xff"];

/// Readers meet each batch whole: every scan shows one number, and of two spaces the one read later is never behind.
pub(super) fn a_batch_becomes_visible_at_once<E: Engine>(kind: &Kind<'_, E>) {
    let engine = (kind.fresh)();
    let write = |n: u32| {
        let mut batch = engine.batch();
        for space in Space::ALL {
            for key in KEYS {
                batch.put(space, key, &n.to_be_bytes());
            }
        }
        ok(engine.write(&mut batch));
    };
    write(0);
    let done = AtomicBool::new(false);
    let read = |mut spaces: [Space; 4]| {
        let mut scans = 0;
        while !done.load(Ordering::Acquire) || scans < 10 {
            spaces.rotate_left(1);
            let mut least = Vec::new();
            for space in spaces {
                let one = get(&engine, space, KEYS[1]).expect("never deleted");
                assert!(one >= least, "a batch reached one space before another");
                let rows = collect(&engine, space, b"", END, Order::Ascending);
                assert_eq!(rows.len(), KEYS.len());
                assert!(rows.iter().all(|row| row.1 == rows[0].1), "a scan saw a part of a batch");
                assert!(rows[0].1 >= one, "a scan went back");
                least.clone_from(&rows[0].1);
            }
            scans += 1;
        }
    };
    // The readers are told to stop even when the writer fails: its panic is the one to see.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    thread::scope(|scope| {
        let _stop = Stop(&done);
        scope.spawn(|| read(Space::ALL));
        scope.spawn(|| read([Space::State, Space::Versions, Space::Events, Space::Head]));
        for n in 1..1500 {
            write(n);
            if n % 500 == 0 {
                ok(engine.flush(false));
            }
        }
    });
}

pub(super) fn the_last_change_of_a_key_wins<E: Engine>(kind: &Kind<'_, E>) {
    let engine = (kind.fresh)();
    put(&engine, Space::Head, b"gone", b"1");
    let mut batch = engine.batch();
    assert!(batch.is_empty());
    batch.put(Space::Head, b"k", b"1");
    batch.delete(Space::Head, b"k");
    batch.put(Space::Head, b"k", b"22");
    batch.delete(Space::Head, b"gone");
    batch.put(Space::Events, b"gone", b"1");
    batch.delete(Space::Events, b"gone");
    batch.delete(Space::Events, b"never was");
    assert!(!batch.is_empty());
    assert!(batch.bytes() >= 3 + 12 + 9, "keys and values are counted");
    ok(engine.write(&mut batch));
    assert!(batch.is_empty(), "a written batch is ready for the next");
    assert_eq!(get(&engine, Space::Head, b"k"), Some(b"22".to_vec()));
    assert_eq!(get(&engine, Space::Head, b"gone"), None);
    assert_eq!(get(&engine, Space::Events, b"gone"), None);

    batch.put(Space::Head, b"k", b"333");
    batch.clear();
    assert!(batch.is_empty());
    ok(engine.write(&mut batch));
    assert_eq!(get(&engine, Space::Head, b"k"), Some(b"22".to_vec()), "a cleared batch holds nothing");
}

pub(super) fn an_empty_batch_changes_nothing<E: Engine>(kind: &Kind<'_, E>) {
    let engine = (kind.fresh)();
    ok(engine.write(&mut engine.batch()));
    ok(engine.flush(true));
    ok(engine.maintain());
    for space in Space::ALL {
        let mut cursor =
            ok(engine.scan(space, Scan { lower: b"", upper: END, order: Order::Descending, fill_cache: false }));
        assert!(drain(&mut cursor).is_empty());
    }
}

pub(super) fn unflushed_bytes_grow_and_a_flush_ends_them<E: Engine>(kind: &Kind<'_, E>) {
    let engine = (kind.fresh)();
    let before = engine.usage().unflushed;
    for n in 0..100u32 {
        put(&engine, Space::Versions, &n.to_be_bytes(), &[7; 10_000]);
    }
    let full = engine.usage().unflushed;
    assert!(full >= before + 1_000_000, "1 MB was written, {before} became {full}");
    assert!(full < engine.unflushed_limit());
    ok(engine.flush(true));
    assert!(engine.usage().unflushed < full / 2);
    engine.set_cache(12 << 20);
    assert_eq!(engine.usage().cache_limit, 12 << 20);
    ok(engine.maintain());
    assert_eq!(get(&engine, Space::Versions, &3u32.to_be_bytes()), Some(vec![7; 10_000]));
}
