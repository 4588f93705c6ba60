//! Damaged and missing files, and a directory that is in use.

use std::{fs, path::PathBuf};

use tidegate_engine::{Batch, Engine, Error, Space, Tier};

use super::{SETTINGS, noise, open, put};
use crate::RocksEngine;

/// The files of the engine with `part` in their names.
fn files(dir: &tempfile::TempDir, part: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
    let paths: Vec<_> = entries.filter(|entry| entry.file_name().to_str().unwrap().contains(part)).collect();
    assert!(!paths.is_empty(), "no file {part}");
    paths.iter().map(fs::DirEntry::path).collect()
}

/// An engine with 200 rows in tables and 20 large values.
fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    for n in 0..200u32 {
        put(&engine, Space::Head, &n.to_be_bytes(), &noise(500, n));
    }
    for n in 0..20u32 {
        put(&engine, Space::Events, &n.to_be_bytes(), &noise(30 << 10, n));
    }
    engine.flush(true).unwrap();
    dir
}

#[test]
fn second_open_names_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    match RocksEngine::open(dir.path(), SETTINGS) {
        Err(Error::Locked { path }) => assert_eq!(path, dir.path().display().to_string()),
        other => panic!("{:?}", other.map(|_| "opened twice")),
    }
    drop(engine);
    open(dir.path());
}

#[test]
fn damaged_table_is_corruption_with_the_name_of_the_file() {
    let dir = filled();
    for path in files(&dir, ".sst") {
        let mut bytes = fs::read(&path).unwrap();
        if bytes.len() > 10_000 {
            // Blocks of data come first.
            bytes[..8000].iter_mut().for_each(|byte| *byte ^= 0x55);
            fs::write(&path, bytes).unwrap();
        }
    }
    let engine = open(dir.path());
    match engine.get(Space::Head, &3u32.to_be_bytes(), Tier::All).map(|_| ()) {
        Err(Error::Corruption { detail }) => assert!(detail.contains(".sst"), "{detail}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn damaged_large_value_is_corruption() {
    let dir = filled();
    for path in files(&dir, ".blob") {
        let mut bytes = fs::read(&path).unwrap();
        bytes[20_000] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let engine = open(dir.path());
    let read = |n: u32| engine.get(Space::Events, &n.to_be_bytes(), Tier::All).map(|_| ());
    assert!(matches!(read(0), Err(Error::Corruption { .. })));
    assert!(read(10).is_ok(), "the others are whole");
}

#[test]
fn damaged_or_missing_files_fail_the_open() {
    let check = |name: &str, damage: &dyn Fn(&PathBuf)| {
        let dir = filled();
        files(&dir, name).iter().for_each(damage);
        let result = RocksEngine::open(dir.path(), SETTINGS).map(|_| ());
        assert!(matches!(result, Err(Error::Corruption { .. } | Error::Io { .. })), "{name}: {result:?}");
    };
    let remove = |path: &PathBuf| drop(fs::remove_file(path));
    check("CURRENT", &|path| fs::write(path, b"MANIFEST-999999\n").unwrap());
    check("CURRENT", &|path| fs::write(path, b"\xff\0").unwrap());
    check("MANIFEST", &|path| fs::write(path, noise(4000, 7)).unwrap());
    check("MANIFEST", &remove);
    check(".sst", &remove);
}

#[test]
fn file_in_place_of_the_directory_is_an_io_error_with_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plain");
    fs::write(&path, b"x").unwrap();
    match RocksEngine::open(&path, SETTINGS) {
        Err(Error::Io { detail, .. }) => assert!(detail.contains("plain"), "{detail}"),
        other => panic!("{:?}", other.map(|_| "opened")),
    }
}

/// The directory goes away under the engine: nothing can be flushed, and housekeeping and writes say so.
#[test]
fn failed_flush_surfaces_and_stops_writes() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&dir.path().join("gone"));
    put(&engine, Space::Head, b"k", b"1");
    fs::remove_dir_all(dir.path().join("gone")).unwrap();
    assert!(matches!(engine.flush(true), Err(Error::Io { .. })));
    assert_eq!(engine.get_flushed(Space::Head, b"k").unwrap(), None);
    assert!(matches!(engine.maintain(), Err(Error::Io { .. })));
    let mut batch = engine.batch();
    batch.put(Space::Head, b"k", b"2");
    assert!(matches!(engine.write(&mut batch), Err(Error::Io { .. })));
}
