//! The memory budget: bytes are leased from a named holder before they are allocated.
//!
//! ```text
//!   holder      floor ────────┐ pool (shared)
//!   requests    ██████████████│███░░░░
//!   log         ████████      │          a holder always gets its floor; above it, it borrows from the pool,
//!   answers     ██            │          and gives back to the pool first
//! ```
//! Why leases and not counters kept by hand: a [`Lease`] travels with the bytes through queues and futures, so each way
//! out of a function gives the bytes back, a panic and a cancelled future included.
//!
//! Nothing here waits. Who wants to wait for room registers a hook with [`Budget::on_room`] and keeps its own queue.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering, fence},
    },
};

use crate::Limits;

/// Who holds bytes. The order is the order in which a request may take them: who holds a later one never waits for an
/// earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// Sockets, HTTP/2 state, what was read from a socket and belongs to no call.
    Connections,
    /// Messages of calls, from their announced length until they are in the log.
    Requests,
    /// Entries on their way: log tail, in flight to peers, until applied.
    Log,
    /// The open batch of apply, its overlay, and events on their way to watchers.
    Apply,
    /// Answers on their way to clients.
    Answers,
    /// Watches, their keys and their queues.
    Watches,
    /// Leases, users, fences.
    Leases,
    /// Connections, bodies, pools, limiter keys and statistics of the gateway.
    Gateway,
    /// Newest versions of keys written lately. A cache: it never borrows.
    Heads,
}

impl Holder {
    pub const COUNT: usize = 9;
    pub const ALL: [Holder; Self::COUNT] = [
        Holder::Connections,
        Holder::Requests,
        Holder::Log,
        Holder::Apply,
        Holder::Answers,
        Holder::Watches,
        Holder::Leases,
        Holder::Gateway,
        Holder::Heads,
    ];

    pub const fn index(self) -> usize {
        self as usize
    }

    /// Name in metrics and in `ctl memory`.
    pub const fn name(self) -> &'static str {
        match self {
            Holder::Connections => "connections",
            Holder::Requests => "requests",
            Holder::Log => "log",
            Holder::Apply => "apply",
            Holder::Answers => "answers",
            Holder::Watches => "watches",
            Holder::Leases => "leases",
            Holder::Gateway => "gateway",
            Holder::Heads => "heads",
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One line of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HolderUsage {
    pub holder: Holder,
    pub used: u64,
    pub floor: u64,
    /// Highest `used` since the start.
    pub peak: u64,
    /// Leases refused since the start.
    pub refused: u64,
}

type Hook = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Account {
    used: AtomicU64,
    floor: u64,
    peak: AtomicU64,
    refused: AtomicU64,
    /// Somebody waits for room in this holder: its hook runs when bytes come back.
    wanted: AtomicBool,
    hook: OnceLock<Hook>,
}

struct Inner {
    accounts: [Account; Holder::COUNT],
    pool_used: AtomicU64,
    pool_limit: u64,
    limits: Limits,
}

/// Handle to the process's account of leased bytes. Cheap to clone.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

impl Budget {
    pub fn new(limits: Limits) -> Self {
        let accounts = std::array::from_fn(|i| Account { floor: limits.floors[i], ..Account::default() });
        Self(Arc::new(Inner { accounts, pool_used: AtomicU64::new(0), pool_limit: limits.pool, limits }))
    }

    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Takes `bytes` from `holder`, or from the pool beyond its floor. `None` when neither has room; never waits.
    pub fn try_lease(&self, holder: Holder, bytes: u64) -> Option<Lease> {
        if self.0.take(holder, bytes) {
            Some(Lease { inner: Arc::clone(&self.0), holder, bytes })
        } else {
            self.0.account(holder).refused.fetch_add(1, Ordering::Relaxed);
            None
        }
    }

    /// Takes `bytes` even above every limit. For bytes that exist already and that nobody could refuse, such as what
    /// the log holds at restart: the account then tells the truth and everybody else is refused until it falls.
    pub fn force_lease(&self, holder: Holder, bytes: u64) -> Lease {
        self.0.force(holder, bytes);
        Lease { inner: Arc::clone(&self.0), holder, bytes }
    }

    /// An empty lease that can grow.
    pub fn empty(&self, holder: Holder) -> Lease {
        Lease { inner: Arc::clone(&self.0), holder, bytes: 0 }
    }

    /// Sets what runs, on the thread that gave bytes back, once room may have come for a holder that
    /// [`Budget::want_room`] was called for. It must be quick and must not lease. At most one per holder.
    ///
    /// # Panics
    /// When the holder has a hook already.
    pub fn on_room(&self, holder: Holder, hook: impl Fn() + Send + Sync + 'static) {
        let set = self.0.account(holder).hook.set(Box::new(hook));
        assert!(set.is_ok(), "holder {holder} has a hook already");
    }

    /// Asks for one call of the holder's hook at the next return of bytes. Call it *before* a last try to lease: bytes
    /// that come back between the two are not missed.
    pub fn want_room(&self, holder: Holder) {
        self.0.account(holder).wanted.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub fn used(&self, holder: Holder) -> u64 {
        self.0.account(holder).used.load(Ordering::Relaxed)
    }

    /// Bytes that `holder` could lease now.
    pub fn room(&self, holder: Holder) -> u64 {
        let account = self.0.account(holder);
        let free = account.floor.saturating_sub(account.used.load(Ordering::Relaxed));
        free + self.0.pool_limit.saturating_sub(self.0.pool_used.load(Ordering::Relaxed))
    }

    pub fn pool_used(&self) -> u64 {
        self.0.pool_used.load(Ordering::Relaxed)
    }

    pub fn usage(&self) -> [HolderUsage; Holder::COUNT] {
        Holder::ALL.map(|holder| {
            let account = self.0.account(holder);
            HolderUsage {
                holder,
                used: account.used.load(Ordering::Relaxed),
                floor: account.floor,
                peak: account.peak.load(Ordering::Relaxed),
                refused: account.refused.load(Ordering::Relaxed),
            }
        })
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.usage()).finish()
    }
}

const fn over(used: u64, floor: u64) -> u64 {
    used.saturating_sub(floor)
}

impl Inner {
    fn account(&self, holder: Holder) -> &Account {
        &self.accounts[holder.index()]
    }

    fn take(&self, holder: Holder, bytes: u64) -> bool {
        let account = self.account(holder);
        let mut used = account.used.load(Ordering::Acquire);
        loop {
            let Some(after) = used.checked_add(bytes) else { return false };
            let borrow = over(after, account.floor) - over(used, account.floor);
            if borrow > 0 && !self.take_pool(borrow) {
                return false;
            }
            match account.used.compare_exchange_weak(used, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    account.peak.fetch_max(after, Ordering::Relaxed);
                    return true;
                }
                Err(now) => {
                    // Somebody may have been refused what was only borrowed for a moment.
                    self.return_to_pool(borrow);
                    used = now;
                }
            }
        }
    }

    fn force(&self, holder: Holder, bytes: u64) {
        let account = self.account(holder);
        let before = account.used.fetch_add(bytes, Ordering::AcqRel);
        let borrowed = over(before + bytes, account.floor) - over(before, account.floor);
        self.pool_used.fetch_add(borrowed, Ordering::AcqRel);
        account.peak.fetch_max(before + bytes, Ordering::Relaxed);
    }

    fn take_pool(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|after| *after <= self.pool_limit);
        self.pool_used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    fn give(&self, holder: Holder, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let account = self.account(holder);
        let before = account.used.fetch_sub(bytes, Ordering::AcqRel);
        debug_assert!(before >= bytes, "{holder} gave back more than it had");
        let returned = over(before, account.floor) - over(before - bytes, account.floor);
        if returned > 0 {
            self.return_to_pool(returned);
        } else {
            account.wake();
        }
    }

    fn return_to_pool(&self, bytes: u64) {
        if bytes > 0 {
            self.pool_used.fetch_sub(bytes, Ordering::AcqRel);
            self.accounts.iter().for_each(Account::wake);
        }
    }
}

impl Account {
    fn wake(&self) {
        if self.wanted.load(Ordering::SeqCst)
            && self.wanted.swap(false, Ordering::SeqCst)
            && let Some(hook) = self.hook.get()
        {
            hook();
        }
    }
}

/// Bytes taken from the budget; dropping it gives them back. Keep it beside the bytes it stands for.
#[must_use = "a lease that is dropped gives its bytes back at once"]
pub struct Lease {
    inner: Arc<Inner>,
    holder: Holder,
    bytes: u64,
}

impl Lease {
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub const fn holder(&self) -> Holder {
        self.holder
    }

    /// Gives back what is above `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        if bytes < self.bytes {
            let back = self.bytes - bytes;
            self.bytes = bytes;
            self.inner.give(self.holder, back);
        }
    }

    /// Takes `more` bytes from the same holder; `false`, and no change, when there is no room.
    #[must_use]
    pub fn try_grow(&mut self, more: u64) -> bool {
        let grown = self.inner.take(self.holder, more);
        if grown {
            self.bytes += more;
        } else {
            self.inner.account(self.holder).refused.fetch_add(1, Ordering::Relaxed);
        }
        grown
    }

    /// Makes it `bytes`, even above every limit; see [`Budget::force_lease`].
    pub fn force_to(&mut self, bytes: u64) {
        match bytes.checked_sub(self.bytes) {
            Some(more) if more > 0 => {
                self.inner.force(self.holder, more);
                self.bytes = bytes;
            }
            _ => self.shrink_to(bytes),
        }
    }

    /// Takes `bytes` of this lease off into one of their own.
    ///
    /// # Panics
    /// When the lease has fewer.
    pub fn split(&mut self, bytes: u64) -> Lease {
        assert!(bytes <= self.bytes, "split of {bytes} bytes from a lease of {}", self.bytes);
        self.bytes -= bytes;
        Lease { inner: Arc::clone(&self.inner), holder: self.holder, bytes }
    }

    /// Joins a lease of the same holder.
    ///
    /// # Panics
    /// When the holders differ.
    pub fn merge(&mut self, mut other: Lease) {
        assert_eq!(self.holder, other.holder, "leases of two holders");
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Moves the bytes to another holder, or gives the lease back unchanged when that one has no room.
    ///
    /// # Errors
    /// The lease itself.
    pub fn transfer(mut self, to: Holder) -> Result<Lease, Lease> {
        if !self.inner.take(to, self.bytes) {
            return Err(self);
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.inner.give(self.holder, bytes);
        Ok(Lease { inner: Arc::clone(&self.inner), holder: to, bytes })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.inner.give(self.holder, self.bytes);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} of {})", self.bytes, self.holder)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::{ByteSize, Profile};

    fn budget() -> Budget {
        let mut limits = Limits::new(ByteSize::mib(256), Profile::Store).unwrap();
        limits.floors = [100; Holder::COUNT];
        limits.pool = 50;
        Budget::new(limits)
    }

    #[test]
    fn borrows_beyond_the_floor_and_returns_to_the_pool_first() {
        let budget = budget();
        let mut lease = budget.try_lease(Holder::Requests, 120).unwrap();
        assert_eq!(budget.pool_used(), 20);
        assert!(budget.try_lease(Holder::Log, 131).is_none(), "30 are left in the pool");
        let log = budget.try_lease(Holder::Log, 130).unwrap();
        assert_eq!(budget.pool_used(), 50);
        lease.shrink_to(110);
        assert_eq!(budget.pool_used(), 40);
        drop(lease);
        assert_eq!(budget.pool_used(), 30);
        drop(log);
        assert_eq!((budget.pool_used(), budget.used(Holder::Log)), (0, 0));
    }

    #[test]
    fn split_merge_and_transfer_keep_the_sum() {
        let budget = budget();
        let mut whole = budget.try_lease(Holder::Requests, 90).unwrap();
        let part = whole.split(40);
        let moved = part.transfer(Holder::Log).unwrap();
        assert_eq!((budget.used(Holder::Requests), budget.used(Holder::Log)), (50, 40));
        let other = budget.try_lease(Holder::Requests, 5).unwrap();
        whole.merge(other);
        assert_eq!(whole.bytes(), 55);
        drop((whole, moved));
        assert!(budget.usage().iter().all(|usage| usage.used == 0));
    }

    #[test]
    fn hook_runs_once_for_each_wish() {
        let budget = budget();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        budget.on_room(Holder::Requests, move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let a = budget.try_lease(Holder::Requests, 10).unwrap();
        let b = budget.try_lease(Holder::Requests, 10).unwrap();
        drop(a);
        assert_eq!(calls.load(Ordering::SeqCst), 0, "nobody asked");
        budget.want_room(Holder::Requests);
        drop(b);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        // Bytes that another holder returns to the pool make room too.
        let log = budget.try_lease(Holder::Log, 120).unwrap();
        budget.want_room(Holder::Requests);
        drop(log);
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn forced_bytes_are_counted_above_every_limit() {
        let budget = budget();
        let forced = budget.force_lease(Holder::Log, 500);
        assert_eq!(budget.pool_used(), 400);
        assert!(budget.try_lease(Holder::Requests, 101).is_none());
        drop(forced);
        let mut moving = budget.empty(Holder::Apply);
        for (bytes, borrowed) in [(90, 0), (130, 30), (130, 30), (400, 300), (20, 0)] {
            moving.force_to(bytes);
            assert_eq!((budget.used(Holder::Apply), budget.pool_used()), (bytes, borrowed));
        }
        drop(moving);
        assert_eq!(budget.pool_used(), 0);
    }

    #[test]
    fn concurrent_leases_never_exceed_floor_and_pool() {
        let budget = budget();
        std::thread::scope(|scope| {
            for holder in [Holder::Requests, Holder::Log, Holder::Requests] {
                let budget = &budget;
                scope.spawn(move || {
                    for size in (1..40u64).cycle().take(20_000) {
                        if let Some(lease) = budget.try_lease(holder, size) {
                            assert!(budget.used(holder) <= 150);
                            drop(lease);
                        }
                    }
                });
            }
        });
        assert_eq!(budget.pool_used(), 0);
        assert!(budget.usage().iter().all(|usage| usage.used == 0));
    }
}
