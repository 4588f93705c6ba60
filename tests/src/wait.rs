//! Waiting for what another process does.

use std::{
    sync::{Condvar, Mutex},
    time::{Duration, Instant},
};

use tidegate_base::clock;

/// Lets `length` pass. For the steps of a poll and for measurements that are defined by time; nothing else.
pub fn pause(length: Duration) {
    let (never, lock) = (Condvar::new(), Mutex::new(()));
    let end = clock::now() + length;
    loop {
        let left = end.saturating_duration_since(clock::now());
        if left.is_zero() {
            return;
        }
        let guard = lock.lock().expect("the lock is this function's");
        // Woken without cause or by the time: the loop looks at the clock.
        drop(never.wait_timeout(guard, left));
    }
}

/// Asks until there is an answer or `limit` is over.
pub fn until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end: Instant = clock::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if clock::now() >= end {
            return None;
        }
        pause(Duration::from_millis(5));
    }
}
