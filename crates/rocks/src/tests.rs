mod faults;
mod kill;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tidegate_base::clock;
use tidegate_engine::{Batch, Cursor, Engine, Lookup, Order, Scan, Space, Tier, suite};

use crate::{RocksEngine, Settings};

const SETTINGS: Settings = Settings::new(16 << 20);

fn open(path: &Path) -> RocksEngine {
    RocksEngine::open(path, SETTINGS).unwrap()
}

fn put(engine: &RocksEngine, space: Space, key: &[u8], value: &[u8]) {
    let mut batch = engine.batch();
    batch.put(space, key, value);
    engine.write(&mut batch).unwrap();
}

/// Values that do not compress.
fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(step).take(len).collect()
}

#[test]
fn engine_suite() {
    let dir = tempfile::tempdir().unwrap();
    let made = AtomicUsize::new(0);
    let fresh = || open(&dir.path().join(format!("engine{}", made.fetch_add(1, Ordering::Relaxed))));
    let kind = suite::Kind {
        fresh: &fresh,
        reopen: &|engine: RocksEngine| {
            let path: PathBuf = engine.path().into();
            drop(engine);
            open(&path)
        },
        open_checkpoint: &|path| open(path),
        scratch: dir.path(),
    };
    suite::run(&kind);
}

#[test]
fn large_value_on_disk_is_never_cached() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let value = noise(20 << 10, 1);
    put(&engine, Space::Events, b"v", &value);
    engine.flush(true).unwrap();
    let engine = {
        drop(engine);
        open(dir.path())
    };
    assert_eq!(engine.get(Space::Events, b"v", Tier::All).unwrap().known().as_deref(), Some(&value[..]));
    assert!(matches!(engine.get(Space::Events, b"v", Tier::Cached).unwrap(), Lookup::NotCached));
}

#[test]
fn scan_that_must_not_fill_the_cache_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    for n in 0..3000u32 {
        put(&engine, Space::Versions, &n.to_be_bytes(), &noise(1000, n));
    }
    engine.flush(true).unwrap();
    let engine = {
        drop(engine);
        open(dir.path())
    };
    let walk = |fill_cache: bool| {
        let scan = Scan { lower: b"", upper: &[0xff; 5], order: Order::Ascending, fill_cache };
        let mut cursor = engine.scan(Space::Versions, scan).unwrap();
        let mut rows = 0;
        while cursor.next().unwrap().is_some() {
            rows += 1;
        }
        drop(cursor);
        (rows, engine.usage().cache)
    };
    let (rows, cold) = walk(false);
    assert_eq!(rows, 3000);
    let (_, warm) = walk(true);
    assert!(warm > cold + (2 << 20), "3 MB were read: {cold} bytes without, {warm} with");
    engine.set_cache(4 << 20);
    assert!(engine.usage().cache <= 4 << 20, "a smaller cache holds less at once");
}

#[test]
fn compaction_gives_the_space_of_deleted_rows_back() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut batch = engine.batch();
    for n in 0..100u32 {
        put(&engine, Space::Events, &n.to_be_bytes(), &noise(100 << 10, n));
        put(&engine, Space::Versions, &n.to_be_bytes(), &noise(10 << 10, n));
        for space in [Space::Events, Space::Versions] {
            batch.delete(space, &n.to_be_bytes());
        }
    }
    engine.flush(true).unwrap();
    engine.maintain().unwrap();
    let full = engine.usage();
    assert!(full.disk > 10 << 20, "{full:?}");
    engine.write(&mut batch).unwrap();
    engine.compact().unwrap();
    let empty = engine.usage();
    assert!(empty.disk < 100 << 10, "{empty:?}");
}

/// What is asked before each batch follows what was written, and never lags behind it by more than a block.
#[test]
fn cheap_unflushed_bytes_follow_the_exact_ones() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    for n in 0..60u32 {
        put(&engine, Space::Head, &n.to_be_bytes(), &noise(50 << 10, n));
        let cheap = engine.unflushed();
        let exact = engine.usage().unflushed;
        assert!(cheap + (512 << 10) > exact, "{cheap} of {exact}");
    }
    engine.flush(true).unwrap();
    for n in 0..6u32 {
        put(&engine, Space::Head, &n.to_be_bytes(), &noise(50 << 10, n));
    }
    assert!(engine.unflushed() < 1 << 20);
}

/// Large values of which every fourth one lives, spread over all files: without collection no file ever goes.
#[test]
fn collection_of_large_values_takes_effect_while_open() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut batch = engine.batch();
    for n in 0..400u32 {
        put(&engine, Space::Events, &n.to_be_bytes(), &noise(20 << 10, n));
        if n % 4 > 0 {
            batch.delete(Space::Events, &n.to_be_bytes());
        }
        if n % 50 == 0 {
            engine.flush(true).unwrap();
        }
    }
    engine.flush(true).unwrap();
    engine.write(&mut batch).unwrap();
    engine.compact().unwrap();
    let kept = engine.usage().disk;
    assert!(kept > 7 << 20, "{kept}: collection is off at first");
    // RocksDB begins by itself once the option is set.
    engine.set_collecting(true).unwrap();
    let deadline = clock::now() + Duration::from_secs(10);
    while engine.usage().disk > kept / 4 * 3 {
        assert!(clock::now() < deadline, "{} of {kept} are left", engine.usage().disk);
        engine.maintain().unwrap();
        engine.set_collecting(true).unwrap();
    }
    engine.set_collecting(false).unwrap();
    for n in (0..400u32).step_by(4) {
        assert_eq!(engine.get(Space::Events, &n.to_be_bytes(), Tier::All).unwrap().known().unwrap().len(), 20 << 10);
    }
}
