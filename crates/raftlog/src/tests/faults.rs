//! Calls that fail.

use std::io::ErrorKind;

use tidegate_base::{LogIndex, LogPosition};

use super::{CONFIG, entry, file, filled, open, open_expecting};
use crate::{
    Expect, Log, LogError, OpenError, ReadError,
    sim::{Call, SimDisk},
};

#[test]
fn failed_call_poisons_the_log_for_good() {
    let check = |call: Call, act: &dyn Fn(&mut Log) -> Result<(), LogError>, words: &str| {
        let disk = SimDisk::new(1);
        let (mut log, _) = filled(&disk, 12, 3000);
        disk.fail(call, 0, ErrorKind::Other);
        let first = act(&mut log).expect_err("the fault is reported").to_string();
        assert!(first.contains(words), "{first}");
        let later = [
            log.append(&[entry(20, 1, 10)], None).err(),
            log.sync().err(),
            log.prepare_spare().err(),
            log.purge(LogIndex(12)).err(),
            log.reset(LogPosition::new(50, 2), super::hard_state(2, 0, 50)).err(),
            log.close().err(),
        ];
        for error in later {
            assert_eq!(error.expect("poisoned").to_string(), first);
        }
        let (_, _, recovered) = open_expecting(&disk, Expect::applied(LogIndex(12))).unwrap();
        assert!(recovered.last.index >= LogIndex(12));
    };
    let append = |log: &mut Log| log.append(&[entry(13, 1, 10)], None);
    let large = |log: &mut Log| log.append(&[entry(13, 1, 9000)], None);
    let synced = |log: &mut Log| append(log).and_then(|()| log.sync()).map(drop);
    check(Call::Write, &append, "write 0000000000000004.log");
    check(Call::Sync, &synced, "sync 0000000000000004.log");
    check(Call::Sync, &large, "sync 0000000000000005.log");
    check(Call::SyncDir, &large, "sync directory /log");
    check(Call::Rename, &large, "rename 0000000000000005.log.tmp");
    check(Call::SyncDir, &|log| log.prepare_spare(), "sync directory /log");
    check(Call::Rename, &|log| log.purge(LogIndex(12)).map(drop), "rename 0000000000000001.log");
    check(Call::Remove, &|log| log.purge(LogIndex(12)).map(drop), "remove 0000000000000002.log");
}

#[test]
fn failed_sync_is_not_believed_after_a_restart() {
    // The page cache shows what the disk never got, and a sync of it succeeds: the log must write it again.
    for seed in 0..64 {
        let disk = SimDisk::new(seed);
        let (mut log, _) = filled(&disk, 2, 100);
        log.append(&[entry(3, 1, 3000)], None).unwrap();
        disk.fail(Call::Sync, 0, ErrorKind::Other);
        log.sync().unwrap_err();
        drop(log);
        let (mut log, _, recovered) = open(&disk);
        assert_eq!(recovered.last.index, LogIndex(3), "the cache still has it");
        log.append(&[entry(4, 1, 10)], None).unwrap();
        log.sync().unwrap();
        let (_, reader, recovered) = open(&disk.crash(seed));
        assert_eq!(recovered.last.index, LogIndex(4));
        assert_eq!(reader.read(LogIndex(3)).unwrap(), entry(3, 1, 3000));
    }
}

#[test]
fn full_disk_is_told_before_it_hurts_and_what_fits_is_still_taken() {
    let disk = SimDisk::new(2);
    let (mut log, reader) = filled(&disk, 2, 3000);
    disk.set_space(CONFIG.segment_bytes + 100);
    assert!(matches!(log.prepare_spare(), Err(LogError::NoSpace { ref file, .. }) if file == "0000000000000002.log"));
    // Two entries of which one fits: neither is written.
    let group = [entry(3, 1, 3000), entry(4, 1, 3000)];
    assert!(matches!(log.append(&group, None), Err(LogError::NoSpace { .. })));
    assert_eq!(reader.bounds().1.index, LogIndex(2));
    log.append(&group[..1], None).unwrap();
    assert_eq!(log.sync().unwrap().index, LogIndex(3));
    disk.set_space(10 * CONFIG.segment_bytes);
    log.append(&group[1..], None).unwrap();
    log.sync().unwrap();
    drop(log);
    assert_eq!(open_expecting(&disk, Expect::applied(LogIndex(4))).unwrap().2.last.index, LogIndex(4));
}

#[test]
fn disk_that_cannot_be_read_is_an_error_and_not_an_end() {
    let disk = SimDisk::new(3);
    let (_, reader) = filled(&disk, 3, 100);
    for after in 0..4 {
        let copy = disk.copy();
        copy.fail(Call::Read, after, ErrorKind::Other);
        match open_expecting(&copy, Expect::default()) {
            Err(OpenError::Io { action, file, .. }) => {
                assert_eq!((action, file.as_str()), ("read", "0000000000000001.log"))
            }
            // A small log is read in fewer calls.
            opened => assert!(opened.is_ok() && after > 2),
        }
    }
    disk.fail(Call::Read, 0, ErrorKind::Other);
    assert!(matches!(reader.read(LogIndex(2)), Err(ReadError::Io { .. })));
    reader.read(LogIndex(2)).unwrap();
    disk.flip_bit(&file(1), (crate::segment::START + 72 + 60) * 8);
    assert!(matches!(reader.read(LogIndex(1)), Err(ReadError::Corrupt { offset: 4168, .. })));
}
