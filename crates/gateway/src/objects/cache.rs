//! The last good configuration of this node, in a file: what it serves after a restart while the store does not answer.
//!
//! ```text
//!   tidegate objects 1\n
//!   {…spec…}\n              one line per object, in the order of the names
//!   crc32c 1a2b3c4d\n       of everything above
//! ```
//! Written beside and renamed over the old one, both synced, so that a crash leaves one of the two whole.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use bytes::Bytes;
use tidegate_base::{Budget, ByteSize, Holder};

use super::{Meter, Spec, read_json, tree::Texts};

const FILE: &str = "objects";
const FRESH: &str = "objects.new";
const HEAD: &[u8] = b"tidegate objects 1\n";
const TAIL: &[u8] = b"crc32c ";

pub(super) fn save(directory: &Path, texts: &Texts) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let fresh = directory.join(FRESH);
    // Specs have keys and passwords in them.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    let mut out = io::BufWriter::new(file);
    let mut sum = 0;
    let mut write = |part: &[u8]| {
        sum = crc32c::crc32c_append(sum, part);
        out.write_all(part)
    };
    write(HEAD)?;
    for text in texts.values() {
        // JSON has line ends between its tokens only, where a blank does as well.
        for line in text.split(|byte| *byte == b'\n') {
            write(line)?;
            write(b" ")?;
        }
        write(b"\n")?;
    }
    writeln!(out, "crc32c {sum:08x}")?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&fresh, directory.join(FILE))?;
    File::open(directory)?.sync_all()
}

/// The saved texts, or `None` when nothing was saved.
pub(super) fn load(directory: &Path, budget: &Budget, limit: ByteSize) -> io::Result<Option<Texts>> {
    let wrong = |told: &str| io::Error::new(io::ErrorKind::InvalidData, told.to_owned());
    let file = match File::open(directory.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    if length > limit.0 {
        return Err(wrong("larger than the limit of all objects"));
    }
    let _lease = budget.try_lease(Holder::Gateway, length).ok_or_else(|| wrong("no memory is free for it"))?;
    let mut all = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(length).read_to_end(&mut all)?;
    let body = all.strip_prefix(HEAD).ok_or_else(|| wrong("of a version that this program does not know"))?;
    let end = body.len().checked_sub(TAIL.len() + 9).ok_or_else(|| wrong("cut short"))?;
    let (lines, tail) = body.split_at(end);
    let sum = crc32c::crc32c(&all[..HEAD.len() + end]);
    if tail != format!("crc32c {sum:08x}\n").as_bytes() {
        return Err(wrong("damaged: its checksum does not fit"));
    }
    let mut texts = Texts::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let value = read_json(line, &mut Meter::new(budget, limit)).map_err(io::Error::other)?;
        let spec = Spec::new(value).map_err(|_| wrong("an object has no name"))?;
        texts.insert(spec.name().to_owned(), Bytes::copy_from_slice(line.trim_ascii_end()));
    }
    Ok(Some(texts))
}

#[cfg(test)]
mod tests {
    use tidegate_base::{Limits, Profile};

    use super::*;

    fn texts() -> Texts {
        let text = |name: &str| Bytes::from(format!("{{\"name\":\"{name}\",\n\"kind\":\"K\"}}"));
        ["a", "b"].map(|name| (name.to_owned(), text(name))).into()
    }

    #[test]
    fn what_was_saved_is_loaded_and_damage_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let budget = Budget::new(Limits::new(Limits::DEFAULT, Profile::Server).unwrap());
        let load = || load(directory.path(), &budget, ByteSize::mib(1));
        assert_eq!(load().unwrap(), None);
        fs::write(directory.path().join(FRESH), "left by a crash").unwrap();
        save(directory.path(), &texts()).unwrap();
        let mode = fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else may read it");
        let loaded = load().unwrap().unwrap();
        assert_eq!(loaded["a"], "{\"name\":\"a\", \"kind\":\"K\"}");
        assert_eq!(loaded.len(), 2);
        save(directory.path(), &Texts::new()).unwrap();
        assert_eq!(load().unwrap(), Some(Texts::new()));

        save(directory.path(), &texts()).unwrap();
        let path = directory.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for index in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[index] ^= 4;
            fs::write(&path, &damaged).unwrap();
            assert!(load().is_err(), "byte {index} changed");
            fs::write(&path, &whole[..index]).unwrap();
            assert!(load().is_err(), "cut at {index}");
        }
    }
}
