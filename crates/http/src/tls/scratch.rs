//! Buffers of a thread, in use from the begin to the end of one poll.

use std::cell::Cell;

/// Most bytes that are encrypted at once: two records.
pub(super) const WRITE_MAX: usize = 32 << 10;
/// What a record adds to its bytes, at most: header, type, nonce and tag of any suite we have.
pub(super) const RECORD_OVERHEAD: usize = 64;
/// Most bytes that are read and decrypted at once, with what was left of the last time: the largest handshake message that
/// `rustls` takes (64 KiB), and a header.
pub(super) const READ_MAX: usize = (64 << 10) + 256;

/// Room for what is received, gathered and sent: 133 KiB for each thread that has TLS connections.
pub(super) struct Scratch {
    pub(super) read: Box<[u8]>,
    pub(super) plain: Vec<u8>,
    pub(super) write: Box<[u8]>,
}

thread_local! {
    static SCRATCH: Cell<Option<Scratch>> = const { Cell::new(None) };
}

/// Runs `work` with the buffers of this thread.
pub(super) fn with<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.take().unwrap_or_else(|| Scratch {
        read: vec![0; READ_MAX].into(),
        plain: Vec::with_capacity(WRITE_MAX),
        write: vec![0; WRITE_MAX + 3 * RECORD_OVERHEAD].into(),
    });
    let done = work(&mut scratch);
    SCRATCH.set(Some(scratch));
    done
}
