//! A segment file: its name, its first block, and the handle that writer and readers share.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use crate::{disk::File, error::OpenError};

/// Records begin here. The block before holds the segment's header alone: it is durable before the file gets its name and no later
/// write can touch it, whatever the disk's sector size.
pub(crate) const START: u64 = 4096;
const MAGIC: [u8; 8] = *b"TIDELOG\n";
pub(crate) const VERSION: u32 = 1;
const HEADER: usize = 32;
const SUFFIX: &str = ".log";
/// A file in the making, or one that waits for its next use. Removed when the log is opened.
pub(crate) const UNFINISHED_SUFFIX: &str = ".tmp";

pub(crate) fn name(sequence: u64) -> String {
    format!("{sequence:016x}{SUFFIX}")
}

/// The number in a segment's name.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (self::name(number) == name).then_some(number)
}

pub(crate) struct Segment {
    pub(crate) sequence: u64,
    pub(crate) name: String,
    pub(crate) file: Arc<dyn File>,
    pub(crate) len: u64,
}

impl Segment {
    pub(crate) fn new(sequence: u64, file: Arc<dyn File>, len: u64) -> Self {
        Self { sequence, name: name(sequence), file, len }
    }
}

/// The first block: magic (8) · version (4) · CRC-32C of what follows (4) · number of the segment (8) · salt (8), little-endian.
pub(crate) fn write_header(file: &dyn File, sequence: u64, salt: u64) -> io::Result<()> {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[16..24].copy_from_slice(&sequence.to_le_bytes());
    out[24..].copy_from_slice(&salt.to_le_bytes());
    let crc = crc32c::crc32c(&out[16..]);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    file.write_at(&mut [IoSlice::new(&out)], 0)
}

/// Checks the first block of a segment and returns the salt.
pub(crate) fn read_header(segment: &Segment) -> Result<u64, OpenError> {
    let name = &segment.name;
    let mut bytes = [0; HEADER];
    let read = segment.file.read_at(&mut bytes, 0).map_err(OpenError::io("read", name))?;
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes inside the header"));
    if read < HEADER || segment.len < START {
        return Err(OpenError::corrupt(name, read as u64, "the file ends inside its first block"));
    }
    if bytes[..8] != MAGIC {
        return Err(OpenError::corrupt(name, 0, "this is not a log segment"));
    }
    let small = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes inside the header"));
    let version = small(8);
    if version != VERSION {
        return Err(OpenError::Version { file: name.clone(), found: version, known: VERSION });
    }
    if small(12) != crc32c::crc32c(&bytes[16..]) {
        return Err(OpenError::corrupt(name, 12, "the checksum of the segment's header does not fit"));
    }
    if number(16) != segment.sequence {
        let detail = format!("the file was made as {}", self::name(number(16)));
        return Err(OpenError::corrupt(name, 16, detail));
    }
    Ok(number(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_as_we_write_them_are_segments() {
        let check = |name: &str, expected: Option<u64>| assert_eq!(number(name), expected, "{name}");
        check("0000000000000001.log", Some(1));
        check("00000000000000ff.log", Some(255));
        check("00000000000000FF.log", None);
        check("1.log", None);
        check("+000000000000001.log", None);
        check("0000000000000001.tmp", None);
        check("lost+found", None);
        assert_eq!(number(&name(u64::MAX)), Some(u64::MAX));
    }
}
