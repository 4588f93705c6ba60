//! A writer is killed at any moment; what is left must be whole batches, none missing before the last.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use tidegate_engine::{Batch, Cursor, Engine, Error, Order, Scan, Space, Tier};

use super::{SETTINGS, noise, open};
use crate::RocksEngine;

const DIRECTORY: &str = "TIDEGATE_TEST_KILL_DIRECTORY";
const META: &[u8] = b"\0";
/// Rows of so many batches are kept, older ones deleted.
const KEPT: u64 = 300;

fn own(n: u64) -> Vec<u8> {
    [b"k", &n.to_be_bytes()[..]].concat()
}

/// Small ones, and in `events` now and then one that lies in a blob file.
fn value(space: Space, n: u64) -> Vec<u8> {
    let seed = u32::try_from(n % 1_000_003).unwrap() * 4 + u32::try_from(space.index()).unwrap();
    match (space, n % 50) {
        (Space::Events, 0) => noise(1 << 20, seed),
        (Space::Events, 1..5) => noise(20 << 10, seed),
        _ => noise(200, seed),
    }
}

fn meta(engine: &RocksEngine, space: Space) -> u64 {
    let value = engine.get(space, META, Tier::All).unwrap().known();
    value.map_or(0, |value| u64::from_be_bytes(value.as_ref().try_into().unwrap()))
}

/// Not a test by itself: the process that is killed. It tells each index that is durable.
#[test]
fn writer_that_is_killed() {
    let Some(directory) = env::var_os(DIRECTORY) else { return };
    let engine = open(Path::new(&directory));
    let first = meta(&engine, Space::Head) + 1;
    let mut batch = engine.batch();
    for n in first.. {
        for space in Space::ALL {
            batch.put(space, META, &n.to_be_bytes());
            batch.put(space, &own(n), &value(space, n));
            if n > KEPT {
                batch.delete(space, &own(n - KEPT));
            }
        }
        engine.write(&mut batch).unwrap();
        if n % 499 == 0 {
            engine.flush(n % 2 == 0).unwrap();
        }
        if n % 20 == 0 {
            let durable = engine.get_flushed(Space::State, META).unwrap();
            let durable = durable.map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()));
            let mut out = std::io::stdout().lock();
            writeln!(out, "durable {durable}").and_then(|()| out.flush()).unwrap();
        }
    }
}

/// Starts the writer, kills it after `lines` of its reports, and gives the last index that it called durable.
fn run_and_kill(directory: &Path, lines: usize) -> u64 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "tests::kill::writer_that_is_killed", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let reports = BufReader::new(child.stdout.take().unwrap()).lines();
    let durable = |line: String| line.rsplit_once("durable ").map(|(_, number)| number.parse::<u64>().unwrap());
    let mut reports = reports.map_while(Result::ok).filter_map(durable);
    let mut last = reports.by_ref().take(lines).last().expect("the writer runs");
    assert!(matches!(RocksEngine::open(directory, SETTINGS), Err(Error::Locked { .. })), "it holds the lock");
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had still said.
    last = reports.last().unwrap_or(last);
    last
}

fn check(engine: &RocksEngine) -> u64 {
    let n = meta(engine, Space::Head);
    for space in Space::ALL {
        assert_eq!(meta(engine, space), n, "{} after the kill", space.name());
        let durable = engine.get_flushed(space, META).unwrap();
        assert_eq!(durable, (n > 0).then(|| n.to_be_bytes().to_vec()), "all that is left is durable");
        let scan = Scan { lower: b"k", upper: b"l", order: Order::Ascending, fill_cache: false };
        let mut cursor = engine.scan(space, scan).unwrap();
        for row in n.saturating_sub(KEPT - 1).max(1)..=n {
            let (key, found) = cursor.next().unwrap().unwrap_or_else(|| panic!("row {row} of {n} is missing"));
            assert!(key == own(row) && found == value(space, row), "{} row {row} of {n}", space.name());
        }
        assert!(cursor.next().unwrap().is_none(), "nothing of a later batch, and what was deleted is gone");
    }
    n
}

#[test]
fn kill_at_any_moment_leaves_whole_batches() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = 0;
    for lines in [3, 40, 1, 17, 60, 25, 8, 2, 33, 5] {
        let durable = run_and_kill(dir.path(), lines);
        let engine = open(dir.path());
        let n = check(&engine);
        assert!(n >= durable && n >= before, "{n} left of {durable} that were durable");
        println!("killed after {lines} reports: {n} left, {durable} had been reported as durable");
        before = n;
    }
    assert!(before > 0, "something was flushed in one of the rounds");
}
