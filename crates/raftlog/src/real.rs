//! The machine's disk, by plain pread, pwritev, fdatasync and fallocate: each is a system call that a tracer can see and fail.

use std::{
    fs,
    io::{self, IoSlice},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use rustix::fs::FallocateFlags;

use crate::disk::{Disk, File};

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

struct RealFile(fs::File);

impl Disk for RealDisk {
    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>> {
        let file = RealFile(fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?);
        file.grow(len)?;
        Ok(Arc::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(fs::OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, mut parts: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        // Empty slices at the front would make the call write nothing, which must mean failure.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match rustix::io::pwritev(&self.0, parts, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    offset += n as u64;
                    IoSlice::advance_slices(&mut parts, n);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        let old = self.len()?;
        if len <= old {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP) => fill_with_zeros(self, old, len),
            Err(error) => Err(error.into()),
        }
    }
}

/// Takes the space by writing it, where the file system cannot promise it.
fn fill_with_zeros(file: &RealFile, from: u64, to: u64) -> io::Result<()> {
    const CHUNK: usize = 1 << 18;
    let zeros = vec![0; CHUNK];
    let mut at = from;
    while at < to {
        let n = usize::try_from(to - at).map_or(CHUNK, |left| left.min(CHUNK));
        file.write_at(&mut [IoSlice::new(&zeros[..n])], at)?;
        at += n as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_read_back_and_new_space_is_zero() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let file = RealDisk.create(&a, 4096).unwrap();
        assert!(RealDisk.create(&a, 1).is_err(), "a file is never made over another");
        let parts = &mut [IoSlice::new(b""), IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"two")];
        file.write_at(parts, 4093).unwrap();
        assert_eq!(file.len().unwrap(), 4099);
        file.grow(5000).unwrap();
        file.sync_data().unwrap();
        RealDisk.rename(&a, &b).unwrap();
        RealDisk.sync_dir(dir.path()).unwrap();
        assert_eq!(RealDisk.list(dir.path()).unwrap(), ["b"]);
        let mut bytes = [1; 1000];
        assert_eq!(RealDisk.open(&b).unwrap().read_at(&mut bytes, 4092).unwrap(), 908);
        assert_eq!(&bytes[..9], b"\0onetwo\0\0");
        RealDisk.remove(&b).unwrap();
        assert!(RealDisk.list(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn zero_filling_takes_the_space_of_the_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let file =
            RealFile(fs::File::options().read(true).write(true).create_new(true).open(dir.path().join("f")).unwrap());
        fill_with_zeros(&file, 0, 300_000).unwrap();
        assert_eq!(file.len().unwrap(), 300_000);
    }
}
