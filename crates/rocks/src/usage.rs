//! What RocksDB says about its own memory and files.
//!
//! Each figure costs about a microsecond and the database's lock, so the ones that move slowly are read by housekeeping
//! and the unflushed bytes are extrapolated from what was written since they were last read.

use std::{
    ffi::CStr,
    sync::atomic::{AtomicU64, Ordering},
};

use tidegate_engine::{Error, Space, Usage};

use crate::{engine::Shared, error::error};

const UNFLUSHED: &CStr = c"rocksdb.cur-size-all-mem-tables";
const MEMTABLES: &CStr = c"rocksdb.size-all-mem-tables";
const TABLE_READERS: &CStr = c"rocksdb.estimate-table-readers-mem";
const TABLE_FILES: &CStr = c"rocksdb.total-sst-files-size";
const BLOB_FILES: &CStr = c"rocksdb.total-blob-file-size";
const BLOB_GARBAGE: &CStr = c"rocksdb.live-blob-file-garbage-size";
const BACKGROUND_ERRORS: &CStr = c"rocksdb.background-errors";

/// Bytes written after which unflushed bytes are read anew: the size of a block of a memtable's arena.
const WRITTEN_MOST: u64 = 256 << 10;

/// Figures of an earlier moment.
#[derive(Default)]
pub(crate) struct Gauges {
    unflushed: AtomicU64,
    /// Bytes written since `unflushed` was read.
    written: AtomicU64,
    tables: AtomicU64,
    disk: AtomicU64,
}

impl Gauges {
    pub(crate) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Shared {
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            cache: self.cache.get_usage() as u64,
            cache_limit: self.cache_limit.load(Ordering::Relaxed),
            unflushed: self.read_unflushed(),
            memtables: self.sum(MEMTABLES).unwrap_or(0),
            pinned: self.cache.get_pinned_usage() as u64,
            tables: self.gauges.tables.load(Ordering::Relaxed),
            disk: self.gauges.disk.load(Ordering::Relaxed),
        }
    }

    /// Never behind the truth by more than [`WRITTEN_MOST`]; exact when near the limit, where somebody waits for it.
    pub(crate) fn unflushed(&self) -> u64 {
        let written = self.gauges.written.load(Ordering::Relaxed);
        let about = self.gauges.unflushed.load(Ordering::Relaxed) + written;
        if written < WRITTEN_MOST && about < self.settings().unflushed_limit() / 4 * 3 {
            return about;
        }
        self.read_unflushed()
    }

    fn read_unflushed(&self) -> u64 {
        self.gauges.written.store(0, Ordering::Relaxed);
        let unflushed = self.sum(UNFLUSHED).unwrap_or(0);
        self.gauges.unflushed.store(unflushed, Ordering::Relaxed);
        unflushed
    }

    /// Reads the figures that move slowly.
    pub(crate) fn refresh(&self) -> Result<(), Error> {
        self.gauges.tables.store(self.sum(TABLE_READERS)?, Ordering::Relaxed);
        let disk = self.sum(TABLE_FILES)? + self.of(Space::Events, BLOB_FILES)?;
        self.gauges.disk.store(disk, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes of blob files, and how many of them nothing refers to.
    pub(crate) fn blobs(&self) -> Result<(u64, u64), Error> {
        Ok((self.of(Space::Events, BLOB_FILES)?, self.of(Space::Events, BLOB_GARBAGE)?))
    }

    /// Flushes and compactions that failed since open.
    pub(crate) fn background_errors(&self) -> Result<u64, Error> {
        self.of(Space::State, BACKGROUND_ERRORS)
    }

    fn sum(&self, property: &CStr) -> Result<u64, Error> {
        Space::ALL.into_iter().map(|space| self.of(space, property)).sum()
    }

    fn of(&self, space: Space, property: &CStr) -> Result<u64, Error> {
        let value = self.db.property_int_value_cf(self.family(space), property);
        Ok(value.map_err(|cause| error("read a property", cause))?.unwrap_or(0))
    }
}
