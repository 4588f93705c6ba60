//! Reads records one behind the other, and searches for records behind a damaged one. Memory: one window, whatever the file.

use std::io;

use crate::{
    record::{self, HEADER, Header, Place},
    segment::Segment,
};

const WINDOW: usize = 256 << 10;

/// A piece of a segment in memory, as it was when it was read.
pub(crate) struct Window {
    segment: u64,
    bytes: Vec<u8>,
    start: u64,
    filled: usize,
}

impl Window {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { segment: 0, bytes: vec![0; capacity], start: 0, filled: 0 }
    }

    pub(crate) fn forget(&mut self) {
        self.filled = 0;
    }

    /// `n` bytes from `offset`, or fewer at the end of the file; at most the window's capacity.
    pub(crate) fn get(&mut self, segment: &Segment, offset: u64, n: usize) -> io::Result<&[u8]> {
        let n = n.min(self.bytes.len());
        if self.segment != segment.sequence {
            (self.segment, self.filled) = (segment.sequence, 0);
        }
        let inside = |start: u64, filled: usize| {
            let skip = usize::try_from(offset.checked_sub(start)?).ok()?;
            (skip.checked_add(n)? <= filled).then_some(skip)
        };
        let skip = match inside(self.start, self.filled) {
            Some(skip) => skip,
            None => {
                // Emptied first: after an error the window must not claim what it does not hold.
                self.filled = 0;
                self.filled = segment.file.read_at(&mut self.bytes, offset)?;
                self.start = offset;
                0
            }
        };
        Ok(&self.bytes[skip..self.filled.min(skip + n)])
    }

    /// All bytes that are in memory from `offset`: at least `least`, unless the file ends before.
    fn at_hand(&mut self, segment: &Segment, offset: u64, least: usize) -> io::Result<&[u8]> {
        self.get(segment, offset, least)?;
        let skip = usize::try_from(offset - self.start).expect("get has moved the window to the offset");
        Ok(&self.bytes[skip..self.filled.max(skip)])
    }

    pub(crate) fn header(&mut self, segment: &Segment, salt: u64, offset: u64) -> io::Result<Option<Header>> {
        let at = Place { segment: segment.sequence, offset };
        let bytes = self.get(segment, offset, HEADER)?;
        Ok(<&[u8; HEADER]>::try_from(bytes).ok().and_then(|bytes| record::decode(bytes, salt, at, segment.len)))
    }
}

/// What is at a place of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Record(Header),
    /// The header is sound, the bytes behind it are not.
    Torn,
    Nothing,
}

/// What is to be found behind a bad record.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// Highest durable mark of a sound record, and where that record is.
    pub(crate) highest_mark: Option<(Place, u64)>,
    /// Whether there is a sound header.
    pub(crate) records: bool,
    /// End of the last eight bytes that are not zero, as far as a header can begin with them.
    pub(crate) used_end: u64,
}

pub(crate) struct Scanner {
    salt: u64,
    window: Window,
}

impl Scanner {
    pub(crate) fn new(salt: u64) -> Self {
        Self { salt, window: Window::new(WINDOW) }
    }

    pub(crate) fn record_at(&mut self, segment: &Segment, offset: u64) -> io::Result<Found> {
        let Some(header) = self.window.header(segment, self.salt, offset)? else { return Ok(Found::Nothing) };
        Ok(if self.is_whole(segment, offset, &header)? { Found::Record(header) } else { Found::Torn })
    }

    /// Checks the payload and the zeros behind it.
    fn is_whole(&mut self, segment: &Segment, offset: u64, header: &Header) -> io::Result<bool> {
        let mut crc = header.head_crc;
        let mut at = offset + HEADER as u64;
        let mut left = header.length;
        while left > 0 {
            let bytes = self.window.get(segment, at, left.min(WINDOW / 4))?;
            if bytes.is_empty() {
                return Ok(false);
            }
            crc = crc32c::crc32c_append(crc, bytes);
            left -= bytes.len();
            at += bytes.len() as u64;
        }
        let padding = usize::try_from(offset + header.bytes() - at).expect("less than eight bytes");
        let zeros = self.window.get(segment, at, padding)?;
        Ok(crc == header.whole_crc && zeros.len() == padding && zeros.iter().all(|byte| *byte == 0))
    }

    /// The payload of a small record that was found sound.
    pub(crate) fn payload<const N: usize>(&mut self, segment: &Segment, offset: u64) -> io::Result<[u8; N]> {
        let bytes = self.window.get(segment, offset + HEADER as u64, N)?;
        bytes.try_into().map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }

    /// Looks for records at every place they can begin from `from` to the end of the file. The cost is one pass over the bytes: no
    /// place costs more than its 40 bytes, unless a sound header stands there, and then its payload is passed over as well.
    pub(crate) fn look_ahead(&mut self, segment: &Segment, from: u64) -> io::Result<Ahead> {
        let mut ahead = Ahead::default();
        let mut offset = from;
        while offset + HEADER as u64 <= segment.len {
            let bytes = self.window.at_hand(segment, offset, HEADER)?;
            let empty = bytes.iter().take_while(|byte| **byte == 0).count();
            // A header's kind is never zero: none can begin more than 12 bytes before the first byte that is not.
            if empty >= HEADER {
                offset += (empty as u64 - 12) & !7;
                continue;
            }
            if empty < 8 {
                ahead.used_end = offset + 8;
            }
            match self.record_at(segment, offset)? {
                Found::Record(header) => {
                    ahead.records = true;
                    if ahead.highest_mark.is_none_or(|(mark, _)| header.mark > mark) {
                        ahead.highest_mark = Some((header.mark, offset));
                    }
                    offset += header.bytes();
                    ahead.used_end = offset;
                }
                Found::Torn => {
                    ahead.records = true;
                    offset += 8;
                }
                Found::Nothing => offset += 8,
            }
        }
        Ok(ahead)
    }
}
