//! The log in use: reading beside writing, replacing, purging, large entries; on the machine's disk as well.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tidegate_base::{Budget, ByteSize, Holder, Limits, LogIndex, LogPosition, Profile, Term};

use super::{CONFIG, dir, entry, file, filled, hard_state, open, open_expecting};
use crate::{
    Disk, Entry, Expect, HardState, Log, LogReader, ReadError, RealDisk, Recovered, TailCache, TermRun, sim::SimDisk,
};

#[test]
fn replaced_entries_are_gone_for_readers_and_after_restart() {
    let disk = SimDisk::new(1);
    let (mut log, reader) = filled(&disk, 9, 2000);
    log.append(&[entry(5, 2, 700), entry(6, 2, 0)], Some(hard_state(2, 3, 4))).unwrap();
    assert!(matches!(reader.read(LogIndex(7)), Err(ReadError::NotWritten { last: LogIndex(6), .. })));
    log.append(&[entry(7, 3, 900)], None).unwrap();
    log.sync().unwrap();
    drop(log);
    let (_, after, recovered) = open(&disk);
    let term_run = |first, term| TermRun { first: LogIndex(first), term: Term(term) };
    assert_eq!(recovered.runs, [term_run(1, 1), term_run(5, 2), term_run(7, 3)]);
    assert_eq!(recovered.hard_state, HardState { term: Term(3), vote: 0, commit: LogIndex(4) });
    let expected: Vec<_> = (1..=4)
        .map(|index| entry(index, 1, 2000))
        .chain([entry(5, 2, 700), entry(6, 2, 0), entry(7, 3, 900)])
        .collect();
    for reader in [reader, after] {
        assert_eq!(reader.read_range(LogIndex(1), usize::MAX).unwrap(), expected);
    }
}

#[test]
fn term_above_the_hard_state_is_only_shown_and_not_taken_for_written() {
    let disk = SimDisk::new(1);
    let (mut log, _) = filled(&disk, 1, 10);
    log.append(&[entry(2, 5, 10)], None).unwrap();
    log.sync().unwrap();
    drop(log);
    let (mut log, _, recovered) = open(&disk);
    assert_eq!(recovered.hard_state, hard_state(5, 0, 0));
    // Into the next segment, whose begin record repeats the hard state.
    log.append(&[entry(3, 5, 12_000)], None).unwrap();
    log.sync().unwrap();
    drop(log);
    assert_eq!(open(&disk).2.last.index, LogIndex(3));
}

#[test]
fn range_ends_at_its_bytes_and_gives_one_entry_at_least() {
    let disk = SimDisk::new(2);
    let (_, reader) = filled(&disk, 20, 1000);
    let check = |from, bytes, expected: std::ops::RangeInclusive<u64>| {
        let found: Vec<_> = reader.read_range(LogIndex(from), bytes).unwrap();
        assert_eq!(found, expected.map(|index| entry(index, 1, 1000)).collect::<Vec<_>>());
    };
    check(1, 0, 1..=1);
    check(1, 1000, 1..=1);
    check(1, 2999, 1..=2);
    check(7, 9000, 7..=15);
    check(18, usize::MAX, 18..=20);
    assert!(matches!(reader.read_range(LogIndex(21), 1), Err(ReadError::NotWritten { .. })));
    assert_eq!(reader.payload_len(LogIndex(20)).unwrap(), 1000);
}

#[test]
fn purge_gives_whole_segments_back_and_one_of_them_is_used_again() {
    let disk = SimDisk::new(3);
    let (mut log, reader) = filled(&disk, 12, 3000);
    assert_eq!(log.usage().segments, 4);
    assert_eq!(log.purge(LogIndex(2)).unwrap(), 0, "entry 3 is in the first segment as well");
    assert_eq!(log.purge(LogIndex(8)).unwrap(), 2);
    assert!(matches!(reader.read(LogIndex(6)), Err(ReadError::Compacted { first: LogIndex(7), .. })));
    assert_eq!(reader.bounds().0, LogPosition::new(6, 1));
    assert_eq!(log.usage().disk_bytes, 3 * CONFIG.segment_bytes, "one is kept for its next use");
    log.prepare_spare().unwrap();
    assert_eq!(log.usage().disk_bytes, 3 * CONFIG.segment_bytes);
    // Old records in the file of the fifth segment are not taken for its own.
    drop(log);
    let (mut log, _, recovered) = open_expecting(&disk, Expect::applied(LogIndex(8))).unwrap();
    assert_eq!((recovered.base.index, recovered.last.index, recovered.cut), (LogIndex(6), LogIndex(12), None));
    log.append(&[entry(13, 1, 3000), entry(14, 1, 3000)], None).unwrap();
    log.sync().unwrap();
    assert_eq!(log.purge(LogIndex(100)).unwrap(), 2);
    drop(log);
    let (_, reader, recovered) = open_expecting(&disk, Expect::applied(LogIndex(14))).unwrap();
    assert_eq!(recovered.base.index, LogIndex(12));
    assert_eq!(reader.read(LogIndex(14)).unwrap(), entry(14, 1, 3000));
    assert!(disk.open(&file(1)).is_err() && disk.open(&file(4)).is_err());
}

#[test]
fn truncation_into_a_purged_segment_is_replayed() {
    let disk = SimDisk::new(4);
    let (mut log, _) = filled(&disk, 6, 3000);
    // Entries 4 to 6 are in the second segment; their replacements are behind them, and the first segment goes.
    log.append(&[entry(3, 2, 10)], Some(hard_state(2, 0, 2))).unwrap();
    log.sync().unwrap();
    assert_eq!(log.purge(LogIndex(2)).unwrap(), 1);
    drop(log);
    let (_, reader, recovered) = open_expecting(&disk, Expect::applied(LogIndex(2))).unwrap();
    assert_eq!((recovered.base, recovered.last), (LogPosition::new(2, 1), LogPosition::new(3, 2)));
    assert_eq!(reader.read(LogIndex(3)).unwrap(), entry(3, 2, 10));
}

#[test]
fn reset_begins_behind_the_snapshot() {
    let disk = SimDisk::new(5);
    let (mut log, reader) = filled(&disk, 6, 3000);
    log.reset(LogPosition::new(100, 4), hard_state(4, 0, 100)).unwrap();
    log.append(&[entry(101, 4, 50)], None).unwrap();
    log.sync().unwrap();
    assert!(matches!(reader.read(LogIndex(6)), Err(ReadError::Compacted { .. })));
    assert_eq!(log.purge(LogIndex(100)).unwrap(), 1);
    drop(log);
    assert!(open_expecting(&disk, Expect::applied(LogIndex(6))).is_err(), "an engine without the snapshot");
    let (_, _, recovered) = open_expecting(&disk, Expect::applied(LogIndex(100))).unwrap();
    assert_eq!((recovered.base, recovered.last), (LogPosition::new(100, 4), LogPosition::new(101, 4)));
    assert_eq!(recovered.hard_state, hard_state(4, 0, 100));
}

#[test]
fn entry_larger_than_a_segment_gets_one_of_its_size() {
    for first in [true, false] {
        let disk = SimDisk::new(6);
        let (mut log, reader, _) = open(&disk);
        log.prepare_spare().unwrap();
        let start = if first { 1 } else { 2 };
        if !first {
            log.append(&[entry(1, 1, 10)], None).unwrap();
        }
        let group = [entry(start, 1, 100_000), entry(start + 1, 1, 70_000), entry(start + 2, 1, 5)];
        log.append(&group, None).unwrap();
        log.sync().unwrap();
        assert_eq!(reader.read_range(LogIndex(start), usize::MAX).unwrap(), group);
        drop(log);
        let (_, reader, recovered) = open(&disk);
        assert_eq!(recovered.last.index, LogIndex(start + 2));
        assert_eq!(reader.read(LogIndex(start)).unwrap(), group[0]);
    }
}

#[test]
fn cached_entries_are_answered_without_the_disk() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(7));
    let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Store).unwrap());
    let cache = Arc::new(TailCache::new(0));
    let (mut log, reader, _) = Log::open(&disk, dir(), CONFIG, Expect::default(), &cache).unwrap();
    let cached = entry(1, 1, 100);
    assert!(cache.insert(cached.clone(), budget.try_lease(Holder::Log, 400).unwrap()));
    log.append(std::slice::from_ref(&cached), None).unwrap();
    let same = |found: &Entry| found.payload.head.as_ptr() == cached.payload.head.as_ptr();
    assert!(same(&reader.read(LogIndex(1)).unwrap()));
    cache.release_through(LogIndex(1));
    let read = reader.read(LogIndex(1)).unwrap();
    assert!(read == cached && !same(&read));
    assert_eq!(budget.used(Holder::Log), 0);
}

#[test]
fn reader_beside_the_writer_sees_whole_entries_or_their_purge() {
    let temporary = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let config = crate::Config { segment_bytes: 64 << 10, salt: 1 };
    let (mut log, reader, _) =
        Log::open(&disk, temporary.path(), config, Expect::default(), &Arc::new(TailCache::new(0))).unwrap();
    let (written, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let len = |index: u64| usize::try_from(index * 37 % 5000).unwrap();
    let reads = std::thread::scope(|scope| {
        let read = || {
            let (mut reads, mut at) = (0u64, 1);
            while !done.load(Ordering::Acquire) {
                if at > written.load(Ordering::Acquire) {
                    std::thread::yield_now();
                    continue;
                }
                match reader.read_range(LogIndex(at), 20_000) {
                    Ok(entries) => {
                        for found in entries {
                            let index = found.position.index.0;
                            assert_eq!(found, entry(index, 1, len(index)));
                            (reads, at) = (reads + 1, index + 1);
                        }
                    }
                    Err(ReadError::Compacted { first, .. }) => at = first.0,
                    Err(error) => panic!("{error}"),
                }
            }
            reads
        };
        let thread = scope.spawn(read);
        for index in 1..=2000 {
            log.append(&[entry(index, 1, len(index))], None).unwrap();
            written.store(index, Ordering::Release);
            if index % 50 == 0 {
                log.sync().unwrap();
                log.prepare_spare().unwrap();
                log.purge(LogIndex(index.saturating_sub(60))).unwrap();
            }
        }
        done.store(true, Ordering::Release);
        thread.join().unwrap()
    });
    assert!(reads > 0);
    log.close().unwrap();
    let (_, _, recovered): (_, LogReader, Recovered) =
        Log::open(&disk, temporary.path(), config, Expect::applied(LogIndex(2000)), &Arc::new(TailCache::new(0)))
            .unwrap();
    assert_eq!((recovered.last.index, recovered.cut), (LogIndex(2000), None));
}
