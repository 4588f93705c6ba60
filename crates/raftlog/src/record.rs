//! One record: 40 bytes of header, then the payload, then zeros up to the next multiple of 8. Numbers are little-endian.
//!
//! ```text
//!  0        4        8        12   13   14     16       24       32       36       40
//!  ┌────────┬────────┬────────┬────┬────┬──────┬────────┬────────┬────────┬────────┬───────────┬─────┐
//!  │ head   │ whole  │ length │kind│type│ zero │ index  │ term   │ mark:  │ mark:  │ payload   │ 0…0 │
//!  │ CRC    │ CRC    │        │    │    │      │        │        │ back   │ place  │           │     │
//!  └────────┴────────┴────────┴────┴────┴──────┴────────┴────────┴────────┴────────┴───────────┴─────┘
//! ```
//! Two checksums, because a search for records behind a damaged one must be able to say no after 40 bytes: with one over all a file
//! full of headers that lie about their length would cost its size squared. Both begin with the log's salt, the segment's number and
//! the offset of the record, so that a block from another place, another use of the file or another log does not pass.

use tidegate_base::{LogIndex, LogPosition, Payload, Term};

use crate::types::HardState;

pub(crate) const HEADER: usize = 40;
const ALIGN: u64 = 8;
/// Payload of a begin record.
pub(crate) const BEGIN_LEN: usize = 32;
/// Payload of a hard state record.
pub(crate) const HARD_STATE_LEN: usize = 24;
/// Longest payload: far above any request the store admits, and safe to add to an offset.
pub(crate) const PAYLOAD_MAX: usize = 1 << 30;

/// No log gets here; above it, counting on would wrap.
pub(crate) const INDEX_MAX: u64 = 1 << 62;

/// A place in the log: bytes of lower segments, and lower offsets of the same segment, come before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// First of each segment: what a reader that starts here must know of the segments before it.
    Begin = 1,
    Entry = 2,
    HardState = 3,
    /// Entries behind `position` are gone.
    Truncate = 4,
    /// All entries are gone and the log goes on behind `position`, which a snapshot holds.
    Reset = 5,
    /// Nothing but a durable mark, written when the log is closed.
    Mark = 6,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Begin),
            2 => Some(Self::Entry),
            3 => Some(Self::HardState),
            4 => Some(Self::Truncate),
            5 => Some(Self::Reset),
            6 => Some(Self::Mark),
            _ => None,
        }
    }

    const fn fits(self, length: usize) -> bool {
        match self {
            Self::Begin => length == BEGIN_LEN,
            Self::Entry => length <= PAYLOAD_MAX,
            Self::HardState => length == HARD_STATE_LEN,
            Self::Truncate | Self::Reset | Self::Mark => length == 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) entry_type: u8,
    /// Of an entry its own; of every other kind that of the last entry once the record has taken effect.
    pub(crate) position: LogPosition,
    /// Everything before this place was durable when the record was written.
    pub(crate) mark: Place,
    pub(crate) length: usize,
    pub(crate) head_crc: u32,
    pub(crate) whole_crc: u32,
}

impl Header {
    /// Bytes from the start of this record to the start of the next.
    pub(crate) const fn bytes(&self) -> u64 {
        record_bytes(self.length)
    }
}

pub(crate) const fn record_bytes(length: usize) -> u64 {
    ((HEADER + length) as u64).next_multiple_of(ALIGN)
}

/// Where the checksums of a record at `at` begin.
fn seed(salt: u64, at: Place) -> u32 {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&salt.to_le_bytes());
    bytes[8..16].copy_from_slice(&at.segment.to_le_bytes());
    bytes[16..].copy_from_slice(&at.offset.to_le_bytes());
    crc32c::crc32c(&bytes)
}

/// What a record is made of, before it has a place.
pub(crate) struct Draft<'a> {
    pub(crate) kind: Kind,
    pub(crate) entry_type: u8,
    pub(crate) position: LogPosition,
    pub(crate) payload: &'a Payload,
}

/// The header of a record to be written at `at`.
///
/// # Panics
/// When the payload is longer than [`PAYLOAD_MAX`], the index above [`INDEX_MAX`], or `mark` not before `at`: the writer sees to it.
pub(crate) fn encode(draft: &Draft<'_>, salt: u64, at: Place, mark: Place) -> [u8; HEADER] {
    let readable = draft.kind.fits(draft.payload.len()) && mark <= at && draft.position.index.0 <= INDEX_MAX;
    assert!(readable, "a record that nobody could read");
    let narrow = |n: u64| u32::try_from(n).expect("segments and their distance are far below 2^32 units");
    let mut out = [0; HEADER];
    out[8..12].copy_from_slice(&narrow(draft.payload.len() as u64).to_le_bytes());
    out[12] = draft.kind as u8;
    out[13] = draft.entry_type;
    out[16..24].copy_from_slice(&draft.position.index.0.to_le_bytes());
    out[24..32].copy_from_slice(&draft.position.term.0.to_le_bytes());
    out[32..36].copy_from_slice(&narrow(at.segment - mark.segment).to_le_bytes());
    out[36..40].copy_from_slice(&narrow(mark.offset / ALIGN).to_le_bytes());
    let head = crc32c::crc32c_append(seed(salt, at), &out[8..]);
    let whole = draft.payload.parts().into_iter().fold(head, |crc, part| crc32c::crc32c_append(crc, part));
    out[..4].copy_from_slice(&head.to_le_bytes());
    out[4..8].copy_from_slice(&whole.to_le_bytes());
    out
}

fn u32_at(bytes: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes inside the header"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes inside a checked length"))
}

/// The header at `at`, in a file of `file_len` bytes, if it is one. Says nothing about the payload.
pub(crate) fn decode(bytes: &[u8; HEADER], salt: u64, at: Place, file_len: u64) -> Option<Header> {
    let kind = Kind::from_byte(bytes[12])?;
    let length = usize::try_from(u32_at(bytes, 8)).ok()?;
    if bytes[14] != 0 || bytes[15] != 0 || !kind.fits(length) || at.offset + record_bytes(length) > file_len {
        return None;
    }
    let head_crc = u32_at(bytes, 0);
    if crc32c::crc32c_append(seed(salt, at), &bytes[8..]) != head_crc {
        return None;
    }
    let segment = at.segment.checked_sub(u64::from(u32_at(bytes, 32)))?;
    let mark = Place { segment, offset: u64::from(u32_at(bytes, 36)) * ALIGN };
    (mark <= at && u64_at(bytes, 16) <= INDEX_MAX).then_some(Header {
        kind,
        entry_type: bytes[13],
        position: LogPosition { index: LogIndex(u64_at(bytes, 16)), term: Term(u64_at(bytes, 24)) },
        mark,
        length,
        head_crc,
        whole_crc: u32_at(bytes, 4),
    })
}

pub(crate) fn encode_hard_state(state: HardState) -> [u8; HARD_STATE_LEN] {
    let mut out = [0; HARD_STATE_LEN];
    out[..8].copy_from_slice(&state.term.0.to_le_bytes());
    out[8..16].copy_from_slice(&state.vote.to_le_bytes());
    out[16..].copy_from_slice(&state.commit.0.to_le_bytes());
    out
}

pub(crate) fn decode_hard_state(bytes: &[u8; HARD_STATE_LEN]) -> HardState {
    HardState { term: Term(u64_at(bytes, 0)), vote: u64_at(bytes, 8), commit: LogIndex(u64_at(bytes, 16)) }
}

/// Payload of a begin record: where the segment before ended (0: there is none), and the hard state.
pub(crate) fn encode_begin(previous_end: u64, state: HardState) -> [u8; BEGIN_LEN] {
    let mut out = [0; BEGIN_LEN];
    out[..8].copy_from_slice(&previous_end.to_le_bytes());
    out[8..].copy_from_slice(&encode_hard_state(state));
    out
}

pub(crate) fn decode_begin(bytes: &[u8; BEGIN_LEN]) -> (u64, HardState) {
    let state = bytes[8..].try_into().expect("the rest of a begin record is a hard state");
    (u64_at(bytes, 0), decode_hard_state(state))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const AT: Place = Place { segment: 7, offset: 4096 };
    const MARK: Place = Place { segment: 6, offset: 8200 };

    fn sample() -> ([u8; HEADER], Payload) {
        let payload = Payload::new(Bytes::from_static(b"env"), Bytes::from_static(b"elope"));
        let draft = Draft { kind: Kind::Entry, entry_type: 2, position: LogPosition::new(41, 3), payload: &payload };
        (encode(&draft, 99, AT, MARK), payload)
    }

    #[test]
    fn header_comes_back_as_it_was() {
        let (bytes, payload) = sample();
        let header = decode(&bytes, 99, AT, 1 << 20).unwrap();
        assert_eq!((header.kind, header.entry_type, header.length), (Kind::Entry, 2, 8));
        assert_eq!((header.position, header.mark), (LogPosition::new(41, 3), MARK));
        assert_eq!(crc32c::crc32c_append(header.head_crc, &payload.contiguous()), header.whole_crc);
    }

    #[test]
    fn header_passes_nowhere_but_in_its_place() {
        let (bytes, _) = sample();
        let refused = |salt, segment, offset, len| decode(&bytes, salt, Place { segment, offset }, len).is_none();
        assert!(!refused(99, 7, 4096, 4096 + 48));
        assert!(refused(98, 7, 4096, 1 << 20), "another log");
        assert!(refused(99, 8, 4096, 1 << 20), "another segment");
        assert!(refused(99, 7, 4104, 1 << 20), "another offset");
        assert!(refused(99, 7, 4096, 4096 + 47), "a file that ends before the record");
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let (bytes, payload) = sample();
        for bit in 0..HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let noticed = decode(&flipped, 99, AT, 1 << 20)
                .is_none_or(|header| crc32c::crc32c_append(header.head_crc, &payload.contiguous()) != header.whole_crc);
            assert!(noticed, "bit {bit}");
        }
    }

    #[test]
    fn small_payloads_come_back_as_they_were() {
        let state = HardState { term: Term(5), vote: u64::MAX, commit: LogIndex(77) };
        assert_eq!(decode_hard_state(&encode_hard_state(state)), state);
        assert_eq!(decode_begin(&encode_begin(4242, state)), (4242, state));
    }
}
