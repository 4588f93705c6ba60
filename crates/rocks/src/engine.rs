use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rocksdb::{
    Cache, ColumnFamily, DB, DBPinnableSlice, ErrorKind, FlushOptions, ReadOptions, ReadTier, WriteBatch,
    WriteBufferManager, WriteOptions, checkpoint::Checkpoint,
};
use tidegate_engine::{Batch, Engine, Error, Lookup, Scan, Space, Tier, Usage};

use crate::{
    RocksBatch, RocksCursor, Settings, blobs,
    error::{error, open_error},
    options,
    usage::Gauges,
};

/// A value where it lies: in a block, a memtable or a buffer of its own, held while this lives.
pub type RocksValue<'a> = DBPinnableSlice<'a>;

/// RocksDB with four families. Closing it flushes; a crash loses what was not flushed.
pub struct RocksEngine {
    shared: Arc<Shared>,
    read_all: ReadOptions,
    read_cached: ReadOptions,
    read_flushed: ReadOptions,
    write: WriteOptions,
    collecting: AtomicBool,
}

/// What batches keep alive too.
pub(crate) struct Shared {
    pub(crate) db: DB,
    pub(crate) cache: Cache,
    pub(crate) cache_limit: AtomicU64,
    pub(crate) gauges: Gauges,
    manager: WriteBufferManager,
}

impl Shared {
    pub(crate) fn family(&self, space: Space) -> &ColumnFamily {
        self.db.cf_handle(options::family(space)).expect("open fails unless all families are there")
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::new(self.cache_limit.load(Ordering::Relaxed))
    }
}

impl RocksEngine {
    /// Opens the engine in the directory `path`, which is made when it is missing. Milliseconds, whatever it holds.
    ///
    /// # Errors
    /// [`Error::Locked`] when it is open already, here or in another process; else what is wrong with which file.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, Error> {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let cache = Cache::new_lru_cache(bytes(settings.cache));
        // Never `allow_stall`: with several families it waits for a flush that nobody begins.
        let manager =
            WriteBufferManager::new_write_buffer_manager_with_cache(bytes(settings.memtables()), false, cache.clone());
        let families = options::families(&cache, settings);
        let db = DB::open_cf_descriptors(&options::database(&cache, &manager), path, families)
            .map_err(|cause| open_error(path, cause))?;
        let read = |tier: ReadTier| {
            let mut options = ReadOptions::default();
            options.set_read_tier(tier);
            options
        };
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        let shared =
            Shared { db, cache, cache_limit: AtomicU64::new(settings.cache), gauges: Gauges::default(), manager };
        shared.refresh()?;
        Ok(Self {
            shared: Arc::new(shared),
            read_all: read(ReadTier::All),
            read_cached: read(ReadTier::BlockCache),
            read_flushed: read(ReadTier::Persisted),
            write,
            collecting: AtomicBool::new(false),
        })
    }

    pub fn path(&self) -> &Path {
        self.shared.db.path()
    }

    /// Gives back the space of what was deleted, by rewriting all tables: the work of `Defragment`. Blocks; reads and
    /// writes go on meanwhile. Large values move only as far as their garbage asks for.
    ///
    /// # Errors
    /// A flush or a compaction that failed.
    pub fn compact(&self) -> Result<(), Error> {
        self.flush(true)?;
        for space in Space::ALL {
            self.shared.db.compact_range_cf(self.shared.family(space), None::<&[u8]>, None::<&[u8]>);
        }
        self.maintain()
    }

    fn read(&self, tier: Tier) -> &ReadOptions {
        match tier {
            Tier::All => &self.read_all,
            Tier::Cached => &self.read_cached,
        }
    }

    /// Turns the collection of large values' garbage on or off, as `blobs` decides.
    fn collect_blobs(&self) -> Result<(), Error> {
        let (total, garbage) = self.shared.blobs()?;
        let on = self.collecting.load(Ordering::Relaxed);
        let wanted = blobs::collect(on, total, garbage);
        if on != wanted { self.set_collecting(wanted) } else { Ok(()) }
    }

    pub(crate) fn set_collecting(&self, on: bool) -> Result<(), Error> {
        let option = [("enable_blob_garbage_collection", if on { "true" } else { "false" })];
        let set = self.shared.db.set_options_cf(self.shared.family(Space::Events), &option);
        set.map_err(|cause| error("set an option", cause))?;
        self.collecting.store(on, Ordering::Relaxed);
        Ok(())
    }
}

impl Engine for RocksEngine {
    type Batch = RocksBatch;
    type Value<'a> = RocksValue<'a>;
    type Cursor<'a> = RocksCursor<'a>;

    fn batch(&self) -> RocksBatch {
        RocksBatch::new(Arc::clone(&self.shared))
    }

    fn write(&self, batch: &mut RocksBatch) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let (changes, bytes) = batch.take();
        self.shared.db.write_opt(changes, &self.write).map_err(|cause| error("write", cause))?;
        self.shared.gauges.wrote(bytes);
        Ok(())
    }

    fn get(&self, space: Space, key: &[u8], tier: Tier) -> Result<Lookup<RocksValue<'_>>, Error> {
        match self.shared.db.get_pinned_cf_opt(self.shared.family(space), key, self.read(tier)) {
            Ok(Some(value)) => Ok(Lookup::Found(value)),
            Ok(None) => Ok(Lookup::Absent),
            Err(cause) if tier == Tier::Cached && cause.kind() == ErrorKind::Incomplete => Ok(Lookup::NotCached),
            Err(cause) => Err(error("read", cause)),
        }
    }

    fn get_flushed(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let value = self.shared.db.get_cf_opt(self.shared.family(space), key, &self.read_flushed);
        value.map_err(|cause| error("read", cause))
    }

    fn scan(&self, space: Space, scan: Scan<'_>) -> Result<RocksCursor<'_>, Error> {
        if scan.lower >= scan.upper {
            return Ok(RocksCursor::new(None, scan.order));
        }
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(scan.lower);
        options.set_iterate_upper_bound(scan.upper);
        options.fill_cache(scan.fill_cache);
        let rows = self.shared.db.raw_iterator_cf_opt(self.shared.family(space), options);
        Ok(RocksCursor::new(Some(rows), scan.order))
    }

    /// Waits for a flush that runs already when a further memtable would stop writes, also without `wait`.
    fn flush(&self, wait: bool) -> Result<(), Error> {
        let mut options = FlushOptions::default();
        options.set_wait(wait);
        let families = Space::ALL.map(|space| self.shared.family(space));
        self.shared.db.flush_cfs_opt(&families.each_ref(), &options).map_err(|cause| error("flush", cause))
    }

    fn checkpoint(&self, path: &Path) -> Result<(), Error> {
        let make = |checkpoint: Checkpoint<'_>| {
            // The size of the log above which it would flush first: there is no log, and it should not.
            checkpoint.create_checkpoint_with_log_size(path, u64::MAX)
        };
        Checkpoint::new(&self.shared.db).and_then(make).map_err(|cause| error("make a checkpoint", cause))
    }

    fn usage(&self) -> Usage {
        self.shared.usage()
    }

    fn unflushed(&self) -> u64 {
        self.shared.unflushed()
    }

    fn unflushed_limit(&self) -> u64 {
        self.shared.settings().unflushed_limit()
    }

    fn set_cache(&self, bytes: u64) {
        let settings = Settings::new(bytes);
        self.shared.cache_limit.store(bytes, Ordering::Relaxed);
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        self.shared.manager.set_buffer_size(size(settings.memtables()));
        self.shared.cache.clone().set_capacity(size(bytes));
    }

    fn maintain(&self) -> Result<(), Error> {
        let failed = self.shared.background_errors()?;
        if failed > 0 {
            // RocksDB tells the cause to whoever writes next.
            let told = self.shared.db.write_opt(WriteBatch::default(), &self.write);
            let detail = match told {
                Err(cause) => cause.into_string(),
                Ok(()) => format!("{failed} failed, see {}", self.path().join("LOG").display()),
            };
            return Err(Error::Io { action: "flush or compact", detail });
        }
        self.shared.refresh()?;
        self.collect_blobs()
    }
}
