//! What any bytes may be handed to. For the targets in `fuzz/`, and for the tests, which replay what those have found.

use std::{
    io::IoSlice,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use tidegate_base::{LogIndex, LogPosition, Payload, Term};

use crate::{
    Config, Disk, Entry, Expect, HardState, Log, OpenError, TailCache,
    record::{self, BEGIN_LEN, Draft, HARD_STATE_LEN, Kind, Place},
    segment::{self, START},
    sim::SimDisk,
};

const CONFIG: Config = Config { segment_bytes: 16 << 10, salt: 0x5a17 };
const ENTRIES: u64 = 24;

fn dir() -> &'static Path {
    Path::new("/log")
}

fn file(sequence: u64) -> PathBuf {
    dir().join(segment::name(sequence))
}

fn open(disk: &SimDisk) -> Result<Vec<Entry>, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, reader, recovered) = Log::open(&disk, dir(), CONFIG, Expect::default(), &Arc::new(TailCache::new(0)))?;
    let entries = (recovered.first().0..=recovered.last.index.0)
        .map(|index| reader.read(LogIndex(index)).expect("an entry that was recovered can be read"))
        .collect();
    assert_eq!(log.last(), recovered.last);
    Ok(entries)
}

fn entry(index: u64) -> Entry {
    let payload = vec![index.to_le_bytes()[0]; 40 * usize::try_from(index).expect("a small number")];
    Entry { position: LogPosition::new(index, 1 + index / 9), entry_type: 0, payload: Bytes::from(payload).into() }
}

/// A log of three segments.
fn sound() -> SimDisk {
    let sim = SimDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let cache = Arc::new(TailCache::new(0));
    let (mut log, _, _) = Log::open(&disk, dir(), CONFIG, Expect::default(), &cache).expect("an empty directory");
    for index in 1..=ENTRIES {
        let state = HardState { term: Term(1 + index / 9), vote: 1, commit: LogIndex(index - 1) };
        log.append(&[entry(index)], Some(state)).expect("the disk takes it");
        log.sync().expect("the disk takes it");
    }
    sim
}

/// Changes of a sound log, each a segment, an offset (two bytes, big end first), a length and so many bytes, which are
/// written there. What can be opened afterwards has the entries that were written, from the first one on.
///
/// # Panics
/// When it has others, or the damage is not reported with the name of a file.
pub fn segments(data: &[u8]) {
    let disk = sound();
    let mut rest = data;
    while let [segment, high, low, len, behind @ ..] = rest {
        let (bytes, next) = behind.split_at(usize::from(*len).min(behind.len()));
        rest = next;
        let offset = u64::from(u16::from_be_bytes([*high, *low])) % CONFIG.segment_bytes;
        if let Ok(file) = disk.open(&file(1 + u64::from(segment % 3))) {
            file.write_at(&mut [IoSlice::new(bytes)], offset).expect("the disk takes it");
        }
    }
    match open(&disk) {
        Ok(entries) => assert!(entries.iter().zip(1..).all(|(found, index)| *found == entry(index)), "{entries:?}"),
        Err(error) => assert!(error.to_string().contains(".log"), "{error}"),
    }
}

/// Records with sound checksums that say what they like: a kind, a type, a small index, a term, a mark and a length, a byte
/// each, and so many bytes of payload. An index of 255 is a very large one.
///
/// # Panics
/// When opening the segment or reading its entries does, or the damage is not reported with the name of a file.
pub fn records(data: &[u8]) {
    let disk = SimDisk::new(1);
    let made = disk.create(&file(1), CONFIG.segment_bytes).expect("the disk takes it");
    segment::write_header(&*made, 1, CONFIG.salt).expect("the disk takes it");
    let (mut offset, mut rest) = (START, data);
    let mut mark = offset;
    while let [kind, entry_type, index, term, marks, len, behind @ ..] = rest {
        let (bytes, next) = behind.split_at(usize::from(*len).min(behind.len()));
        rest = next;
        let (kind, length) = match kind % 6 {
            0 => (Kind::Begin, Some(BEGIN_LEN)),
            1 => (Kind::HardState, Some(HARD_STATE_LEN)),
            2 => (Kind::Truncate, Some(0)),
            3 => (Kind::Reset, Some(0)),
            4 => (Kind::Mark, Some(0)),
            _ => (Kind::Entry, None),
        };
        let mut payload = bytes.to_vec();
        payload.resize(length.unwrap_or(payload.len()), 0);
        let index = if *index == 255 { record::INDEX_MAX } else { u64::from(*index) };
        let payload = Payload::from(Bytes::from(payload));
        let draft = Draft {
            kind,
            entry_type: *entry_type,
            position: LogPosition::new(index, (*term).into()),
            payload: &payload,
        };
        let end = offset + record::record_bytes(payload.len());
        if end > CONFIG.segment_bytes {
            break;
        }
        if marks % 2 == 1 {
            mark = offset;
        }
        let place = |offset| Place { segment: 1, offset };
        let header = record::encode(&draft, CONFIG.salt, place(offset), place(mark));
        let body = payload.contiguous();
        made.write_at(&mut [IoSlice::new(&header), IoSlice::new(&body)], offset).expect("the disk takes it");
        offset = end;
    }
    if let Err(error) = open(&disk) {
        assert!(error.to_string().contains(".log"), "{error}");
    }
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::corpus::replay;

    #[test]
    fn damaged_segments_are_reported_or_end_earlier() {
        replay("segments", super::segments);
    }

    #[test]
    fn records_that_lie_are_survived() {
        replay("records", super::records);
    }
}
