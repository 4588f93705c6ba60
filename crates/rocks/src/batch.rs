use std::{mem, sync::Arc};

use rocksdb::WriteBatch;
use tidegate_engine::{Batch, Space};

use crate::engine::Shared;

/// Bytes of a change beside key and value, in the batch: tag, family and two lengths.
const CHANGE_BYTES: usize = 8;

/// Changes in RocksDB's own form: writing them copies nothing again. Keeps the engine open.
pub struct RocksBatch {
    shared: Arc<Shared>,
    changes: WriteBatch,
    bytes: usize,
}

impl RocksBatch {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, changes: WriteBatch::new(), bytes: 0 }
    }

    /// The changes and their bytes; leaves the batch empty.
    pub(crate) fn take(&mut self) -> (WriteBatch, usize) {
        (mem::replace(&mut self.changes, WriteBatch::new()), mem::take(&mut self.bytes))
    }
}

impl Batch for RocksBatch {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) {
        self.changes.put_cf(self.shared.family(space), key, value);
        self.bytes += key.len() + value.len() + CHANGE_BYTES;
    }

    fn delete(&mut self, space: Space, key: &[u8]) {
        self.changes.delete_cf(self.shared.family(space), key);
        self.bytes += key.len() + CHANGE_BYTES;
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn clear(&mut self) {
        drop(self.take());
    }
}
