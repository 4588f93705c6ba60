//! Bytes that change after they were durable, and files that are not where they were.

use tidegate_base::LogIndex;

use super::{dir, entry, file, filled, open, open_expecting};
use crate::{
    Disk, Expect, OpenError,
    segment::START,
    sim::{Dice, SimDisk},
};

/// Opens a damaged disk and returns file and offset of the report.
fn refused(disk: &SimDisk) -> (String, u64) {
    match open_expecting(disk, Expect::default()).map(|(_, _, recovered)| recovered) {
        Err(OpenError::Corrupt { file, offset, .. }) => (file, offset),
        other => panic!("damage was not reported as such: {other:?}"),
    }
}

/// Offsets at which records begin, and the end, of a segment that has `records` of these sizes.
fn offsets(sizes: &[u64]) -> Vec<u64> {
    let mut at = START;
    let mut all = vec![at];
    for size in sizes {
        at += size;
        all.push(at);
    }
    all
}

#[test]
fn flipped_bits_below_the_mark_are_reported_with_file_and_offset() {
    let disk = SimDisk::new(3);
    let (log, _) = filled(&disk, 4, 101);
    log.close().unwrap();
    // Begin, then four times an entry (40 + 101, padded) and a hard state, then the mark.
    let starts = offsets(&[72, 144, 64, 144, 64, 144, 64, 144, 64]);
    let end = *starts.last().unwrap();
    let mut dice = Dice::new(3);
    for byte in START..end {
        let damaged = disk.copy();
        damaged.flip_bit(&file(1), byte * 8 + dice.below(8));
        let record = starts.iter().rfind(|start| **start <= byte).unwrap();
        assert_eq!(refused(&damaged), ("0000000000000001.log".to_owned(), *record), "byte {byte}");
    }
}

#[test]
fn damage_in_any_segment_is_found_and_the_files_stay_as_they_are() {
    let disk = SimDisk::new(4);
    let (log, _) = filled(&disk, 12, 3000);
    log.close().unwrap();
    let mut dice = Dice::new(4);
    // Three entries of 3040 bytes and their hard states fill a segment of 16 KiB; four segments hold the twelve.
    for segment in 1..=4 {
        for _ in 0..20 {
            let damaged = disk.copy();
            let at = START + dice.below(72 + 3 * (3040 + 64));
            damaged.zero(&file(segment), at / 512 * 512, 512);
            assert_eq!(refused(&damaged).0, crate::segment::name(segment));
            assert_eq!(refused(&damaged).0, crate::segment::name(segment), "the second look finds the same");
        }
    }
}

#[test]
fn torn_last_group_is_cut_and_never_comes_back() {
    let disk = SimDisk::new(5);
    let (mut log, _) = filled(&disk, 2, 472);
    // One group, three records of 512 bytes; the first is torn, the two behind it are whole.
    log.append(&[entry(3, 1, 472), entry(4, 1, 472), entry(5, 1, 472)], None).unwrap();
    log.sync().unwrap();
    let torn_at = START + 72 + 2 * (512 + 64);
    disk.zero(&file(1), torn_at, 8);
    let (mut log, _, recovered) = open(&disk);
    assert_eq!(recovered.last.index, LogIndex(2));
    let cut = recovered.cut.unwrap();
    assert_eq!((cut.file.as_str(), cut.offset), ("0000000000000001.log", torn_at));
    // Another entry of the same size ends exactly where the stale fourth one began.
    log.append(&[entry(3, 2, 472)], None).unwrap();
    log.sync().unwrap();
    drop(log);
    let (_, reader, recovered) = open(&disk);
    assert_eq!((recovered.last.index, recovered.cut), (LogIndex(3), None));
    assert_eq!(reader.read(LogIndex(3)).unwrap(), entry(3, 2, 472));
}

/// Found by a crash image: 32 bytes of a lost truncation survived at the end of a sector, and the next record at that place supplied
/// the 8 bytes of its mark that were missing.
#[test]
fn half_of_a_stale_header_is_not_completed_by_a_new_record() {
    let disk = SimDisk::new(9);
    // Begin record and five entries; the next record begins 32 bytes before the end of a sector.
    let (mut log, _, _) = open(&disk);
    let first: Vec<_> = [8, 8, 8, 8, 160].into_iter().zip(1..).map(|(len, index)| entry(index, 1, len)).collect();
    log.append(&first, None).unwrap();
    log.sync().unwrap();
    let at = START + 72 + 4 * 48 + 200 + 16;
    assert_eq!(at % 512, 480, "the layout that this is about");
    let mut lost = [0; 32];
    let sound = disk.copy();
    log.append(&[entry(4, 2, 8)], None).unwrap();
    disk.open(&file(1)).unwrap().read_at(&mut lost, at).unwrap();
    let half = |disk: &SimDisk| disk.open(&file(1)).unwrap().write_at(&mut [std::io::IoSlice::new(&lost)], at).unwrap();
    // The power cut: of the group only the end of its first sector is there.
    half(&sound);
    let (mut log, _, recovered) = open(&sound);
    assert_eq!(recovered.last.index, LogIndex(5));
    let mut cleared = [1; 32];
    sound.open(&file(1)).unwrap().read_at(&mut cleared, at).unwrap();
    assert_eq!(cleared, [0; 32]);
    log.append(&[entry(6, 3, 8)], None).unwrap();
    log.sync().unwrap();
    assert_eq!(open(&sound).2.last.index, LogIndex(6));
}

#[test]
fn torn_tail_that_the_member_relies_on_is_damage() {
    let disk = SimDisk::new(6);
    let (log, _) = filled(&disk, 5, 200);
    drop(log);
    let last = START + 72 + 4 * (240 + 64);
    let check = |expect: Expect, words: &str| {
        let torn = disk.copy();
        torn.flip_bit(&file(1), (last + 50) * 8);
        let outcome = open_expecting(&torn, expect).map(|(_, _, recovered)| recovered.last.index.0);
        match outcome {
            Ok(last) => assert_eq!((last, words), (4, "")),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    !words.is_empty() && error.contains(words) && error.contains(&format!("offset {last}")),
                    "{error}"
                );
            }
        }
    };
    check(Expect::applied(LogIndex(4)), "");
    check(Expect::applied(LogIndex(5)), "must reach entry 5");
    check(Expect { applied: LogIndex(9), last_least: LogIndex(0) }, "");
}

#[test]
fn missing_swapped_and_foreign_files_are_named() {
    let disk = SimDisk::new(7);
    let (log, _) = filled(&disk, 12, 3000);
    log.close().unwrap();
    let message = |change: &dyn Fn(&SimDisk), expect: u64| {
        let changed = disk.copy();
        change(&changed);
        open_expecting(&changed, Expect::applied(LogIndex(expect))).err().expect("must not open").to_string()
    };
    let check = |change: &dyn Fn(&SimDisk), expect: u64, words: &[&str]| {
        let message = message(change, expect);
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    check(&|disk| disk.remove(&file(2)).unwrap(), 0, &["0000000000000002.log is missing"]);
    check(&|disk| disk.remove(&file(1)).unwrap(), 0, &["0000000000000004.log", "the log begins behind entry 3"]);
    check(&|disk| disk.remove(&file(4)).unwrap(), 12, &["0000000000000003.log", "must reach entry 12"]);
    let swap = |disk: &SimDisk| {
        disk.rename(&file(2), &dir().join("x")).unwrap();
        disk.rename(&file(3), &file(2)).unwrap();
        disk.rename(&dir().join("x"), &file(3)).unwrap();
    };
    check(&swap, 0, &["0000000000000002.log is damaged at offset 16", "made as 0000000000000003.log"]);
    check(&|disk| disk.flip_bit(&file(3), 5), 0, &["0000000000000003.log is damaged at offset 0", "not a log segment"]);
    check(&|disk| disk.flip_bit(&file(3), 65), 0, &["0000000000000003.log has format version 3"]);
    check(&|disk| disk.flip_bit(&file(3), 24 * 8), 0, &["0000000000000003.log is damaged at offset 12"]);
    check(&|disk| disk.zero(&file(1), 0, START), 0, &["0000000000000001.log is damaged at offset 0"]);
    let all_gone = |disk: &SimDisk| (1..=4).for_each(|segment| disk.remove(&file(segment)).unwrap());
    check(&all_gone, 12, &["0000000000000001.log is missing"]);
    // A file of another log, of the same number.
    let foreign = |disk: &SimDisk| crate::segment::write_header(&*disk.open(&file(2)).unwrap(), 2, 77).unwrap();
    check(&foreign, 0, &["0000000000000002.log", "belongs to another log"]);
}

#[test]
fn arbitrary_bytes_never_panic() {
    let whole = SimDisk::new(8);
    let (log, _) = filled(&whole, 6, 700);
    log.close().unwrap();
    let mut opened = 0;
    for seed in 0..300 {
        let disk = whole.copy();
        let mut dice = Dice::new(seed);
        for _ in 0..1 + dice.below(40) {
            // Words from elsewhere in the file are the likeliest to pass for something.
            let (from, to) = (dice.below(9000) & !7, dice.below(9000) & !7);
            let mut bytes = [0; 64];
            let source = disk.open(&file(1)).unwrap();
            source.read_at(&mut bytes, from).unwrap();
            let len = usize::try_from(8 * (1 + dice.below(8))).unwrap();
            source.write_at(&mut [std::io::IoSlice::new(&bytes[..len])], to).unwrap();
        }
        if let Ok((_, reader, recovered)) = open_expecting(&disk, Expect::default()) {
            opened += 1;
            for index in recovered.first().0..=recovered.last.index.0 {
                assert_eq!(reader.read(LogIndex(index)).unwrap(), entry(index, 1, 700), "seed {seed}");
            }
        }
    }
    assert!(opened < 300, "most of this is damage");
}
