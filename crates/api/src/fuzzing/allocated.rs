//! Counts what a piece of work allocates.
#![allow(unsafe_code, reason = "an allocator is unsafe to implement; this one hands everything to the system's")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    /// Bytes allocated less those given back since the count began, and their peak. Of this thread: tests run beside others.
    static COUNT: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// What `work` gives, and the most bytes that it held at once beyond those that it began with.
pub(super) fn allocated<T>(work: impl FnOnce() -> T) -> (T, usize) {
    COUNT.set((0, 0));
    let result = work();
    (result, COUNT.get().1.unsigned_abs())
}

fn count(change: isize) {
    // While a thread ends its counter may be gone.
    let _gone = COUNT.try_with(|count| {
        let (held, peak) = count.get();
        count.set((held + change, peak.max(held + change)));
    });
}

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: `at` came from `alloc` above, thus from the system.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both exist while the contents are moved.
        count(size.cast_signed());
        // SAFETY: `at` came from `alloc` above, thus from the system.
        let moved = unsafe { System.realloc(at, layout, size) };
        count(-layout.size().cast_signed());
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_counted_and_what_was_given_back_is_not() {
        let ((), taken) = allocated(|| {
            drop(std::hint::black_box(Vec::<u8>::with_capacity(1000)));
            drop(std::hint::black_box(Vec::<u8>::with_capacity(1500)));
        });
        assert_eq!(taken, 1500);
    }
}
