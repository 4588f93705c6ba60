//! A checkpoint as one file: magic, rows (space, key length, key, value length, value; lengths of 4 bytes, low first),
//! then CRC-32C of all before it.

use std::{fs, io::Write, path::Path, sync::Arc};

use super::state::Rows;
use crate::{Error, Space};

const FILE: &str = "rows";
const MAGIC: &[u8; 8] = b"tgmap  1";

pub(super) fn write(directory: &Path, spaces: &[Rows; 4]) -> Result<(), Error> {
    let mut bytes = MAGIC.to_vec();
    for (number, space) in (0u8..).zip(Space::ALL) {
        for (key, value) in &spaces[space.index()] {
            bytes.push(number);
            for part in [key, value] {
                let len = u32::try_from(part.len()).map_err(|_| io("write checkpoint", directory, "row too large"))?;
                bytes.extend_from_slice(&len.to_le_bytes());
                bytes.extend_from_slice(part);
            }
        }
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let save = || -> std::io::Result<()> {
        fs::create_dir(directory)?;
        let mut file = fs::File::create_new(directory.join(FILE))?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::File::open(directory)?.sync_all()
    };
    save().map_err(|error| io("write checkpoint", directory, error))
}

pub(super) fn read(directory: &Path) -> Result<[Rows; 4], Error> {
    let bytes = fs::read(directory.join(FILE)).map_err(|error| io("read checkpoint", directory, error))?;
    decode(&bytes)
        .ok_or_else(|| Error::Corruption { detail: format!("{}: not a whole checkpoint", directory.display()) })
}

fn decode(bytes: &[u8]) -> Option<[Rows; 4]> {
    let (bytes, crc) = bytes.split_last_chunk::<4>()?;
    let mut rest = bytes.strip_prefix(MAGIC)?;
    if crc32c::crc32c(bytes) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut spaces: [Rows; 4] = Default::default();
    while let Some((space, tail)) = rest.split_first() {
        rest = tail;
        let key = part(&mut rest)?;
        let value = part(&mut rest)?;
        spaces.get_mut(usize::from(*space))?.insert(Arc::from(key), Arc::from(value));
    }
    Some(spaces)
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, tail) = rest.split_first_chunk::<4>()?;
    let (part, tail) = tail.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    *rest = tail;
    Some(part)
}

fn io(action: &'static str, path: &Path, detail: impl std::fmt::Display) -> Error {
    Error::Io { action, detail: format!("{}: {detail}", path.display()) }
}
