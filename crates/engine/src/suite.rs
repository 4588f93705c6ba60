//! What every engine must do, as one body of checks: run by the tests of each engine with [`run`].
//!
//! The checks name no engine. Where the contract leaves a choice (how much an engine flushes by itself, what its cache
//! keeps) they accept each choice and nothing else. A check that fails panics.

mod durability;
mod reads;
mod rows;
mod scans;
mod writes;

use std::path::Path;

use crate::{Batch, Cursor, Engine, Error, Lookup, Order, Scan, Space, Tier};

/// How to make engines of one kind.
pub struct Kind<'a, E> {
    /// A new, empty engine.
    pub fresh: &'a dyn Fn() -> E,
    /// The same engine after it was closed or its process died.
    pub reopen: &'a dyn Fn(E) -> E,
    /// The engine that a checkpoint in this directory holds.
    pub open_checkpoint: &'a dyn Fn(&Path) -> E,
    /// An empty directory, on the file system of the engine, for checkpoints.
    pub scratch: &'a Path,
}

/// Runs all checks, each on an engine of its own; prints each name first, so that a panic has one.
pub fn run<E: Engine>(kind: &Kind<'_, E>) {
    for (name, check) in cases::<E>() {
        println!("engine suite: {name}");
        check(kind);
    }
}

type Check<E> = fn(&Kind<'_, E>);

fn cases<E: Engine>() -> [(&'static str, Check<E>); 14] {
    [
        ("a_batch_becomes_visible_at_once", writes::a_batch_becomes_visible_at_once),
        ("the_last_change_of_a_key_wins", writes::the_last_change_of_a_key_wins),
        ("an_empty_batch_changes_nothing", writes::an_empty_batch_changes_nothing),
        ("unflushed_bytes_grow_and_a_flush_ends_them", writes::unflushed_bytes_grow_and_a_flush_ends_them),
        ("spaces_do_not_share_rows", reads::spaces_do_not_share_rows),
        ("a_cached_read_is_right_or_refuses", reads::a_cached_read_is_right_or_refuses),
        ("any_bytes_are_keys_and_values", reads::any_bytes_are_keys_and_values),
        ("large_values_come_back", reads::large_values_come_back),
        ("scans_keep_bounds_order_and_seeks", scans::scans_keep_bounds_order_and_seeks),
        ("a_cursor_sees_one_state", scans::a_cursor_sees_one_state),
        ("flushed_reads_lag_until_the_flush", durability::flushed_reads_lag_until_the_flush),
        ("reopening_shows_a_prefix_of_the_batches", durability::reopening_shows_a_prefix_of_the_batches),
        ("a_checkpoint_holds_what_was_durable", durability::a_checkpoint_holds_what_was_durable),
        ("a_checkpoint_needs_a_new_directory", durability::a_checkpoint_needs_a_new_directory),
    ]
}

fn ok<T>(result: Result<T, Error>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the engine failed: {error}"),
    }
}

fn get<E: Engine>(engine: &E, space: Space, key: &[u8]) -> Option<Vec<u8>> {
    ok(engine.get(space, key, Tier::All)).known().map(|value| value.as_ref().to_vec())
}

fn cached<E: Engine>(engine: &E, space: Space, key: &[u8]) -> Lookup<Vec<u8>> {
    match ok(engine.get(space, key, Tier::Cached)) {
        Lookup::Found(value) => Lookup::Found(value.as_ref().to_vec()),
        Lookup::Absent => Lookup::Absent,
        Lookup::NotCached => Lookup::NotCached,
    }
}

fn put<E: Engine>(engine: &E, space: Space, key: &[u8], value: &[u8]) {
    let mut batch = engine.batch();
    batch.put(space, key, value);
    ok(engine.write(&mut batch));
}

/// All rows that a scan gives.
fn collect<E: Engine>(engine: &E, space: Space, lower: &[u8], upper: &[u8], order: Order) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut cursor = ok(engine.scan(space, Scan { lower, upper, order, fill_cache: true }));
    drain(&mut cursor)
}

fn drain(cursor: &mut impl Cursor) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    while let Some((key, value)) = ok(cursor.next()) {
        rows.push((key.to_vec(), value.to_vec()));
    }
    assert!(ok(cursor.next()).is_none(), "a cursor at its end stays there");
    rows
}

/// Above every key of the checks.
const END: &[u8] = &[0xff; 9];
