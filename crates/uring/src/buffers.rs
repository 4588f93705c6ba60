//! Receive buffers that the kernel takes from when bytes have come, and not before.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    io,
    ptr::NonNull,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{IoUring, types::BufRingEntry};

/// Bytes of one buffer: a usual head.
pub(crate) const BUFFER_BYTES: u16 = 4 << 10;
/// Buffers of a thread: a power of two. One is in use from the arrival of bytes until a task has read them.
pub const BUFFERS: u16 = 256;
/// Number of the one group of buffers.
pub(crate) const GROUP: u16 = 0;

const PAGE: usize = 4 << 10;

/// The buffers, and the ring through which they are given to the kernel.
pub(crate) struct Buffers {
    ring: NonNull<BufRingEntry>,
    data: NonNull<u8>,
    tail: u16,
}

impl Buffers {
    /// Bytes of both.
    pub(crate) const BYTES: usize = Self::RING.size() + Self::DATA.size();

    const RING: Layout = layout(BUFFERS as usize * size_of::<BufRingEntry>());
    const DATA: Layout = layout(BUFFERS as usize * BUFFER_BYTES as usize);

    /// Gives all buffers to `uring`.
    pub(crate) fn register(uring: &IoUring) -> io::Result<Self> {
        // SAFETY: no layout is of size zero.
        let (ring, data) = unsafe { (alloc_zeroed(Self::RING), alloc_zeroed(Self::DATA)) };
        let ring = NonNull::new(ring.cast::<BufRingEntry>()).unwrap_or_else(|| handle_alloc_error(Self::RING));
        let data = NonNull::new(data).unwrap_or_else(|| handle_alloc_error(Self::DATA));
        let mut buffers = Self { ring, data, tail: 0 };
        // SAFETY: the memory is of so many entries, on pages of its own, and is freed after it was unregistered.
        unsafe { uring.submitter().register_buf_ring_with_flags(ring.as_ptr() as u64, BUFFERS, GROUP, 0)? };
        for id in 0..BUFFERS {
            buffers.give(id);
        }
        Ok(buffers)
    }

    fn start(&self, id: u16) -> NonNull<u8> {
        assert!(id < BUFFERS, "the kernel names a buffer that it was given");
        // SAFETY: within the allocation, by the assertion.
        unsafe { self.data.add(usize::from(id) * usize::from(BUFFER_BYTES)) }
    }

    /// Bytes `from..to` of a buffer that the kernel has filled, and that was not given back to it.
    pub(crate) fn filled(&self, id: u16, from: u16, to: u16) -> &[u8] {
        assert!(from <= to && to <= BUFFER_BYTES);
        // SAFETY: inside of one buffer, which the kernel leaves alone until it is given back; the memory was zeroed at first.
        unsafe { std::slice::from_raw_parts(self.start(id).add(from.into()).as_ptr(), usize::from(to - from)) }
    }

    /// Lets the kernel have a buffer again.
    pub(crate) fn give(&mut self, id: u16) {
        let address = self.start(id).as_ptr() as u64;
        let slot = usize::from(self.tail % BUFFERS);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the slot is within the ring's memory, which the kernel reads up to the tail only: that is moved afterwards.
        unsafe {
            let entry = self.ring.add(slot).as_mut();
            entry.set_addr(address);
            entry.set_len(BUFFER_BYTES.into());
            entry.set_bid(id);
            let tail = BufRingEntry::tail(self.ring.as_ptr()).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated with these layouts. Who drops the buffers knows that the kernel has let go of them.
        unsafe {
            dealloc(self.ring.as_ptr().cast(), Self::RING);
            dealloc(self.data.as_ptr(), Self::DATA);
        }
    }
}

const fn layout(bytes: usize) -> Layout {
    match Layout::from_size_align(bytes, PAGE) {
        Ok(layout) => layout,
        Err(_) => panic!("a page is a power of two"),
    }
}
