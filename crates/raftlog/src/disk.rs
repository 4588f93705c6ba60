//! What the log asks of a disk, so that a simulated one can stand in its place.
//!
//! The promises are those of a POSIX file system after a power cut, no more: bytes written are durable after
//! [`File::sync_data`], a name made, renamed or removed is durable after [`Disk::sync_dir`], and anything younger survives in any
//! subset, 512 bytes at a time.

use std::{
    io::{self, IoSlice},
    path::Path,
    sync::Arc,
};

/// An open file. Reads and writes name their offset, so one handle serves the writer and all readers.
pub trait File: Send + Sync {
    /// # Errors
    /// As the disk says.
    fn len(&self) -> io::Result<u64>;

    /// # Errors
    /// As the disk says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` from `offset` and returns how many bytes there were: fewer than asked for only at the end of the file.
    ///
    /// # Errors
    /// As the disk says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all `parts`, one behind the other. At most 1024 parts. The slices are used up.
    ///
    /// # Errors
    /// As the disk says; any part of the bytes may have been written.
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Makes what was written, and the length, durable. After an error nothing may be assumed about any byte written since the
    /// last success, and a second call proves nothing.
    ///
    /// # Errors
    /// As the disk says.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the file `len` bytes long with space on the disk for each of them; new bytes read as zero. Never shortens.
    ///
    /// # Errors
    /// As the disk says; [`is_no_space`] tells a full disk.
    fn grow(&self, len: u64) -> io::Result<()>;
}

/// A file system.
pub trait Disk: Send + Sync {
    /// Makes a new file of `len` zero bytes that have their space already.
    ///
    /// # Errors
    /// As the disk says; the name may exist afterwards.
    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// As the disk says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Names in a directory, in no order. Names that are not UTF-8 are left out: none of ours is among them.
    ///
    /// # Errors
    /// As the disk says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// # Errors
    /// As the disk says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// # Errors
    /// As the disk says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in `dir` durable.
    ///
    /// # Errors
    /// As the disk says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// Whether an error says that the disk, or the quota on it, is full.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
