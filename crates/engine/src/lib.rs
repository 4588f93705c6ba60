//! What the replicated machine needs from a storage engine, and the ordered-map engine that specifies it.
//!
//! Four ordered keyspaces, written by one thread in atomic batches, read by many. A batch is visible to every reader at
//! once; it is *durable* only after a flush, which takes all keyspaces together: after a crash the engine shows some
//! prefix of the batches, never a part of one, and at least everything before the last completed flush. The replicated
//! log is what repeats the rest.

mod map;
pub mod suite;

pub use map::{MapBatch, MapCursor, MapEngine};

/// The keyspaces. Their keys are compared as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// Newest version of each key.
    Head,
    /// Events by revision, and large values.
    Events,
    /// Versions of each key, newest first.
    Versions,
    /// Leases, members, alarms.
    State,
}

impl Space {
    pub const ALL: [Space; 4] = [Space::Head, Space::Events, Space::Versions, Space::State];

    pub const fn index(self) -> usize {
        self as usize
    }

    pub const fn name(self) -> &'static str {
        match self {
            Space::Head => "head",
            Space::Events => "events",
            Space::Versions => "versions",
            Space::State => "state",
        }
    }
}

/// Where a read may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Only memory: answers [`Lookup::NotCached`] rather than wait for the disk.
    Cached,
    /// Memory, then the disk.
    All,
}

/// Result of a point read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<V> {
    Found(V),
    Absent,
    /// The answer needs the disk, which [`Tier::Cached`] forbids.
    NotCached,
}

impl<V> Lookup<V> {
    /// The value, for a read of [`Tier::All`], which always knows.
    ///
    /// # Panics
    /// On [`Lookup::NotCached`].
    pub fn known(self) -> Option<V> {
        match self {
            Lookup::Found(value) => Some(value),
            Lookup::Absent => None,
            Lookup::NotCached => unreachable!("a read of every tier always knows"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

/// Bounds and habits of a scan. Both bounds are required: an iterator without one walks over everything that was
/// deleted behind its range.
#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    /// First key, inclusive.
    pub lower: &'a [u8],
    /// Last key, exclusive.
    pub upper: &'a [u8],
    pub order: Order,
    /// Whether the blocks that it reads may stay in the cache: `false` for walks over everything.
    pub fill_cache: bool,
}

/// Memory and space of an engine, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blocks, index and filter blocks, and memtables, all charged to one cache.
    pub cache: u64,
    pub cache_limit: u64,
    /// Memtables that are not flushed yet: what back-pressure looks at.
    pub unflushed: u64,
    /// All memtables, those included that a reader still pins.
    pub memtables: u64,
    /// Part of the cache that is in use by readers and cannot be evicted.
    pub pinned: u64,
    /// Readers of open tables, outside the cache.
    pub tables: u64,
    /// Bytes on disk.
    pub disk: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine says that bytes on disk are wrong. `detail` names file and offset where the engine knows them.
    #[error("engine: corruption: {detail}")]
    Corruption { detail: String },
    #[error("engine: {action}: {detail}")]
    Io { action: &'static str, detail: String },
    /// The directory is in use by another process.
    #[error("engine: {path} is in use by another process")]
    Locked { path: String },
}

/// Changes that become visible, and durable, together.
pub trait Batch: Send {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]);
    fn delete(&mut self, space: Space, key: &[u8]);
    /// Bytes that the batch holds.
    fn bytes(&self) -> usize;
    fn is_empty(&self) -> bool;
    /// Forgets the changes, and gives large buffers back.
    fn clear(&mut self);
}

/// Key and value of a row under a cursor.
pub type Row<'a> = (&'a [u8], &'a [u8]);

/// An open scan: the rows as they were when it was opened, whatever is written since. Holds memtables and blocks in
/// memory: keep it for one slice of work, never across a wait.
pub trait Cursor {
    /// The next row in the order of the scan, or `None` past its last bound. The slices live until the next call.
    ///
    /// # Errors
    /// As [`Engine::get`]; the cursor is at its end afterwards.
    fn next(&mut self) -> Result<Option<Row<'_>>, Error>;

    /// Goes on at the first row at or behind `key` in the order of the scan, within its bounds.
    fn seek(&mut self, key: &[u8]);
}

/// An engine. One thread writes; any thread reads.
pub trait Engine: Send + Sync + 'static {
    type Batch: Batch;
    type Value<'a>: AsRef<[u8]>
    where
        Self: 'a;
    type Cursor<'a>: Cursor
    where
        Self: 'a;

    fn batch(&self) -> Self::Batch;

    /// Makes the changes of `batch` visible, all at once, and leaves it empty.
    ///
    /// # Errors
    /// Nothing of the batch is visible, and the caller must stop: a failed write is not retried.
    fn write(&self, batch: &mut Self::Batch) -> Result<(), Error>;

    /// # Errors
    /// [`Error::Corruption`] when a checksum does not fit, [`Error::Io`] when the disk cannot be read.
    fn get(&self, space: Space, key: &[u8], tier: Tier) -> Result<Lookup<Self::Value<'_>>, Error>;

    /// What a crash at this moment would leave of a row: its value as of the last completed flush.
    ///
    /// # Errors
    /// As [`Engine::get`].
    fn get_flushed(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// # Errors
    /// As [`Engine::get`].
    fn scan(&self, space: Space, scan: Scan<'_>) -> Result<Self::Cursor<'_>, Error>;

    /// Begins to write all keyspaces to disk together; with `wait`, returns when that is done and durable.
    ///
    /// # Errors
    /// The caller must stop: what was not flushed may never become durable.
    fn flush(&self, wait: bool) -> Result<(), Error>;

    /// A copy of the engine's durable state in the new directory `path`, made of hard links where possible.
    ///
    /// # Errors
    /// [`Error::Io`]; the directory may be left half made.
    fn checkpoint(&self, path: &std::path::Path) -> Result<(), Error>;

    fn usage(&self) -> Usage;

    /// [`Usage::unflushed`] alone, cheap enough to be asked before each batch.
    fn unflushed(&self) -> u64 {
        self.usage().unflushed
    }

    /// Above this many unflushed bytes apply waits for the flush.
    fn unflushed_limit(&self) -> u64;

    /// Resizes the cache, and with it the memtables it pays for. Takes effect at once.
    fn set_cache(&self, bytes: u64);

    /// Housekeeping, to be called about every two seconds: policies that look at the state of the files.
    ///
    /// # Errors
    /// A background failure of the engine: the caller must stop.
    fn maintain(&self) -> Result<(), Error>;
}
