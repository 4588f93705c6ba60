//! The log as a whole: on a simulated disk that crashes and fails, and on the machine's.

mod crash;
mod damage;
mod faults;
mod model;
mod running;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use tidegate_base::{LogIndex, LogPosition, Payload, Term};

use crate::{
    Config, Disk, Entry, Expect, HardState, Log, LogReader, OpenError, Recovered, TailCache,
    sim::{Dice, SimDisk},
};

const CONFIG: Config = Config { segment_bytes: 16 << 10, salt: 0x5a17 };

fn dir() -> &'static Path {
    Path::new("/log")
}

fn file(sequence: u64) -> PathBuf {
    dir().join(crate::segment::name(sequence))
}

fn open_expecting(disk: &SimDisk, expect: Expect) -> Result<(Log, LogReader, Recovered), OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Log::open(&disk, dir(), CONFIG, expect, &Arc::new(TailCache::new(0)))
}

fn open(disk: &SimDisk) -> (Log, LogReader, Recovered) {
    open_expecting(disk, Expect::default()).unwrap()
}

/// An entry whose bytes follow from its position and length, in two parts.
fn entry(index: u64, term: u64, len: usize) -> Entry {
    let mut dice = Dice::new(index << 20 ^ term << 50 ^ len as u64);
    let bytes: Bytes =
        std::iter::repeat_with(|| dice.roll().to_le_bytes()).flatten().take(len).collect::<Vec<_>>().into();
    let head = len / 3;
    Entry {
        position: LogPosition::new(index, term),
        entry_type: u8::try_from(index % 3).unwrap(),
        payload: Payload::new(bytes.slice(..head), bytes.slice(head..)),
    }
}

fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term: Term(term), vote, commit: LogIndex(commit) }
}

/// A log of `count` entries of one term, `len` bytes each, synced one by one.
fn filled(disk: &SimDisk, count: u64, len: usize) -> (Log, LogReader) {
    let (mut log, reader, _) = open(disk);
    for index in 1..=count {
        log.append(&[entry(index, 1, len)], Some(hard_state(1, 1, index - 1))).unwrap();
        assert_eq!(log.sync().unwrap(), LogPosition::new(index, 1));
    }
    (log, reader)
}
