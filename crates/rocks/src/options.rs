//! RocksDB's options, each value measured on our rows with this budget. Those that matter most for memory come first
//! in each function.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, Options,
    WriteBufferManager,
};
use tidegate_engine::Space;

use crate::Settings;

/// Values from this size on lie in blob files: they are written once and not again at each level.
const BLOB_LEAST: u64 = 16 << 10;

/// Window and deletions in it: a table with as many is compacted soon, since a walk over deletions cannot be stopped
/// (1 M of them: 0.4 s in one seek, for ever; with this 0.04 ms after a second).
const DELETIONS: (usize, usize, f64) = (4096, 2048, 0.5);

/// Name of a family. RocksDB always has one that is called `default`; `state` lies there, since each family costs a
/// memtable and a file at each flush.
pub(crate) const fn family(space: Space) -> &'static str {
    match space {
        Space::State => "default",
        Space::Head | Space::Events | Space::Versions => space.name(),
    }
}

pub(crate) fn database(cache: &Cache, manager: &WriteBufferManager) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_atomic_flush(true);
    options.set_write_buffer_manager(manager);
    // A hot head costs 0.6 µs here, 3 µs in a block, and a block of its own else.
    options.set_row_cache(cache);
    options.set_max_open_files(256);
    options.set_max_file_opening_threads(1);
    options.set_max_background_jobs(2);
    options.set_max_subcompactions(1);
    options.set_compaction_readahead_size(256 << 10);
    options.set_writable_file_max_buffer_size(256 << 10);
    options.set_bytes_per_sync(1 << 20);
    options.set_allow_concurrent_memtable_write(false);
    options.set_allow_mmap_reads(false);
    // Whoever closes a cursor must not delete the files that it was the last to hold.
    options.set_avoid_unnecessary_blocking_io(true);
    options.set_skip_stats_update_on_db_open(true);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_max_log_file_size(4 << 20);
    options.set_keep_log_file_num(2);
    options
}

pub(crate) fn families(cache: &Cache, settings: Settings) -> Vec<ColumnFamilyDescriptor> {
    Space::ALL.map(|space| ColumnFamilyDescriptor::new(family(space), one(space, cache, settings))).into()
}

fn one(space: Space, cache: &Cache, settings: Settings) -> Options {
    let mut options = Options::default();
    let memtable = match space {
        Space::Head | Space::Events => settings.memtables(),
        Space::Versions => settings.memtables() / 2,
        Space::State => settings.memtables() / 4,
    };
    options.set_write_buffer_size(usize::try_from(memtable).unwrap_or(usize::MAX));
    options.set_max_write_buffer_number(6);
    options.set_arena_block_size(256 << 10);
    options.set_block_based_table_factory(&tables(space, cache));
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_target_file_size_base(16 << 20);
    options.set_max_bytes_for_level_base(64 << 20);
    options.set_level_compaction_dynamic_level_bytes(true);
    if space == Space::Events {
        options.set_enable_blob_files(true);
        options.set_min_blob_size(BLOB_LEAST);
        options.set_blob_file_size(32 << 20);
        options.set_blob_compression_type(DBCompressionType::Lz4);
        // Any other read-ahead is a buffer per blob file, for as long as a compaction runs: half a GiB was seen.
        options.set_blob_compaction_readahead_size(0);
        // On only while `blobs` says so, with these shares.
        options.set_enable_blob_gc(false);
        options.set_blob_gc_age_cutoff(0.5);
        options.set_blob_gc_force_threshold(0.5);
    }
    if space != Space::State {
        let (window, deletions, ratio) = DELETIONS;
        options.add_compact_on_deletion_collector_factory(window, deletions, ratio);
    }
    options
}

fn tables(space: Space, cache: &Cache) -> BlockBasedOptions {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(cache);
    // Index and filter in parts, in the cache: nothing outside it grows with the data.
    tables.set_cache_index_and_filter_blocks(true);
    tables.set_cache_index_and_filter_blocks_with_high_priority(true);
    tables.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    tables.set_partition_filters(true);
    tables.set_format_version(6);
    tables.set_block_size(if space == Space::Head { 4 << 10 } else { 8 << 10 });
    if matches!(space, Space::Head | Space::Events) {
        tables.set_bloom_filter(10.0, false);
    }
    tables
}
