use super::*;
use crate::Batch;

fn put(engine: &MapEngine, key: &[u8], value: &[u8]) {
    let mut batch = engine.batch();
    batch.put(Space::Head, key, value);
    batch.put(Space::State, b"\0", value);
    engine.write(&mut batch).unwrap();
}

fn get(engine: &MapEngine, key: &[u8]) -> Option<Vec<u8>> {
    engine.get(Space::Head, key, Tier::All).unwrap().known().map(|value| value.to_vec())
}

#[test]
fn crash_goes_back_to_the_last_flush() {
    let engine = MapEngine::new();
    put(&engine, b"a", b"1");
    put(&engine, b"b", b"1");
    engine.flush(true).unwrap();
    put(&engine, b"a", b"2");
    put(&engine, b"a", b"3");
    let mut batch = engine.batch();
    batch.delete(Space::Head, b"b");
    batch.put(Space::Head, b"b", b"4");
    batch.delete(Space::Head, b"b");
    engine.write(&mut batch).unwrap();
    assert_eq!((get(&engine, b"a"), get(&engine, b"b")), (Some(b"3".to_vec()), None));
    assert_eq!(engine.get_flushed(Space::Head, b"b").unwrap(), Some(b"1".to_vec()));
    engine.crash();
    assert_eq!((get(&engine, b"a"), get(&engine, b"b")), (Some(b"1".to_vec()), Some(b"1".to_vec())));
    assert_eq!(engine.unflushed_batches(), 0);
}

#[test]
fn crash_can_keep_any_prefix_of_the_batches() {
    for keep in 0..6u8 {
        let engine = MapEngine::new();
        for n in 0..5u8 {
            put(&engine, b"k", &[n]);
        }
        engine.crash_keeping(usize::from(keep));
        let expected = keep.min(5).checked_sub(1).map(|n| vec![n]);
        assert_eq!(get(&engine, b"k"), expected, "kept {keep}");
        assert_eq!(engine.get_flushed(Space::State, b"\0").unwrap(), expected, "what survived is durable");
    }
}

#[test]
fn held_flush_covers_what_was_written_before_it_began() {
    let engine = MapEngine::new();
    engine.hold_flushes(true);
    put(&engine, b"k", b"1");
    engine.flush(false).unwrap();
    put(&engine, b"k", b"2");
    assert_eq!(engine.get_flushed(Space::Head, b"k").unwrap(), None);
    engine.finish_flush();
    assert_eq!(engine.get_flushed(Space::Head, b"k").unwrap(), Some(b"1".to_vec()));
    assert_eq!(engine.unflushed_batches(), 1);
    engine.flush(false).unwrap();
    engine.crash();
    assert_eq!(get(&engine, b"k"), Some(b"1".to_vec()), "a flush that had only begun is lost");
}

#[test]
fn failed_flush_makes_nothing_durable_and_stops_the_engine() {
    let engine = MapEngine::new();
    put(&engine, b"k", b"1");
    engine.flush_fail_next();
    assert!(matches!(engine.flush(true), Err(Error::Io { .. })));
    assert_eq!(engine.get_flushed(Space::Head, b"k").unwrap(), None);
    assert!(engine.maintain().is_err());
    let mut batch = engine.batch();
    batch.put(Space::Head, b"k", b"2");
    assert!(engine.write(&mut batch).is_err());
    engine.crash();
    assert_eq!(get(&engine, b"k"), None);
    put(&engine, b"k", b"3");
    assert_eq!(get(&engine, b"k"), Some(b"3".to_vec()), "it works again once it was opened anew");
}

#[test]
fn failed_write_leaves_nothing_visible() {
    let engine = MapEngine::new();
    engine.write_fail_next();
    let mut batch = engine.batch();
    batch.put(Space::Head, b"k", b"1");
    assert!(engine.write(&mut batch).is_err());
    assert!(engine.is_empty());
}

#[test]
fn flushes_by_itself_above_a_size() {
    let engine = MapEngine::new();
    engine.flush_above(100);
    put(&engine, b"k", &[7; 40]);
    assert!(engine.usage().unflushed >= 80);
    put(&engine, b"k", &[8; 40]);
    assert_eq!(engine.usage().unflushed, 0);
    engine.crash();
    assert_eq!(get(&engine, b"k"), Some(vec![8; 40]));
}

#[test]
fn evicted_rows_come_back_when_read_in_full() {
    let engine = MapEngine::new();
    put(&engine, b"k", b"1");
    let cached = |key: &[u8]| engine.get(Space::Head, key, Tier::Cached).unwrap();
    assert_eq!(cached(b"k"), Lookup::Found(Arc::from(&b"1"[..])));
    engine.evict_all();
    assert_eq!(cached(b"k"), Lookup::NotCached);
    assert_eq!(cached(b"absent"), Lookup::NotCached);
    assert_eq!(get(&engine, b"k"), Some(b"1".to_vec()));
    assert_eq!(cached(b"k"), Lookup::Found(Arc::from(&b"1"[..])));
    put(&engine, b"new", b"2");
    assert_eq!(cached(b"new"), Lookup::Found(Arc::from(&b"2"[..])));
    engine.evict_where(|space, key| space == Space::Head && key == b"k");
    assert_eq!(get(&engine, b"k"), Some(b"1".to_vec()));
    assert_eq!(cached(b"k"), Lookup::NotCached);
    assert_eq!(cached(b"absent"), Lookup::Absent);
    engine.cache_all();
    assert_eq!(cached(b"k"), Lookup::Found(Arc::from(&b"1"[..])));
}

#[test]
fn damaged_checkpoint_is_refused() {
    let engine = MapEngine::new();
    put(&engine, b"k", b"1");
    engine.flush(true).unwrap();
    put(&engine, b"k", b"not durable");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("checkpoint");
    engine.checkpoint(&path).unwrap();
    assert_eq!(get(&MapEngine::open_checkpoint(&path).unwrap(), b"k"), Some(b"1".to_vec()));
    assert_eq!(get(&engine.checkpoint_in_memory(), b"k"), Some(b"1".to_vec()));
    assert!(matches!(engine.checkpoint(&path), Err(Error::Io { .. })), "the directory must be new");

    let file = path.join("rows");
    let whole = std::fs::read(&file).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&file, &whole[..cut]).unwrap();
        assert!(matches!(MapEngine::open_checkpoint(&path), Err(Error::Corruption { .. })), "cut at {cut}");
        let mut flipped = whole.clone();
        flipped[cut] ^= 0x10;
        std::fs::write(&file, &flipped).unwrap();
        assert!(matches!(MapEngine::open_checkpoint(&path), Err(Error::Corruption { .. })), "flipped at {cut}");
    }
}

#[test]
fn suite() {
    let dir = tempfile::tempdir().unwrap();
    let kind = crate::suite::Kind {
        fresh: &MapEngine::new,
        reopen: &|engine: MapEngine| {
            engine.crash();
            engine
        },
        open_checkpoint: &|path| MapEngine::open_checkpoint(path).unwrap(),
        scratch: dir.path(),
    };
    crate::suite::run(&kind);
}

/// An engine that flushes by itself, as a real one does, and keeps a part of what a crash finds.
#[test]
fn suite_with_automatic_flushes_and_cold_rows() {
    let dir = tempfile::tempdir().unwrap();
    let kind = crate::suite::Kind {
        fresh: &|| {
            let engine = MapEngine::new();
            engine.flush_above(2_000_000);
            engine
        },
        reopen: &|engine: MapEngine| {
            engine.crash_keeping(engine.unflushed_batches() / 2);
            engine.evict_all();
            engine
        },
        open_checkpoint: &|path| MapEngine::open_checkpoint(path).unwrap(),
        scratch: dir.path(),
    };
    crate::suite::run(&kind);
}
