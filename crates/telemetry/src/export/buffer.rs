//! An encoded batch.

use std::io::{Error, ErrorKind, Result, Write};

use tidegate_base::{Budget, Holder, Lease};

/// Grows under its lease; without room a write fails.
pub(crate) struct Buffer {
    pub(crate) bytes: Vec<u8>,
    lease: Lease,
}

impl Buffer {
    pub(crate) fn new(budget: &Budget) -> Self {
        Self { bytes: Vec::new(), lease: budget.empty(Holder::Gateway) }
    }

    /// Puts `first` in front.
    pub(crate) fn begin_with(&mut self, first: &[u8]) -> Result<()> {
        self.reserve(first.len())?;
        self.bytes.splice(0..0, first.iter().copied());
        Ok(())
    }

    /// The bytes, and what pays for them.
    pub(crate) fn into_parts(self) -> (Vec<u8>, Lease) {
        (self.bytes, self.lease)
    }

    fn reserve(&mut self, more: usize) -> Result<()> {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            let target = needed.max(self.bytes.capacity() * 2).max(1 << 10);
            if !self.lease.try_grow((target - self.bytes.capacity()) as u64) {
                return Err(ErrorKind::OutOfMemory.into());
            }
            self.bytes.try_reserve_exact(target - self.bytes.len()).map_err(|_| Error::from(ErrorKind::OutOfMemory))?;
        }
        Ok(())
    }
}

impl Write for Buffer {
    fn write(&mut self, data: &[u8]) -> Result<usize> {
        self.reserve(data.len())?;
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
