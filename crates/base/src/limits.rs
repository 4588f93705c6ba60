//! How one number of bytes is divided among the holders of memory.
//!
//! The sum of [`Limits::sum`] *is* the bound of the process: fixed parts (program, engine, allocator slack), one floor
//! for each leased holder, and a common pool that a full holder may borrow from.

use crate::{ByteSize, Holder};

const MIB: u64 = 1 << 20;

/// What runs in this process: it decides which holders get a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The store alone (`tidegate store`).
    Store,
    /// A gateway with the store embedded (`tidegate server`).
    Server,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    #[error("a memory budget of {given} is too small: the least is {least}")]
    TooSmall { given: ByteSize, least: ByteSize },
}

/// Every term of the bound, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Text, threads and fixed tables.
    pub program: u64,
    /// Blocks, index and filter blocks and memtables of the engine, charged to one cache.
    pub engine_cache: u64,
    /// What the cache yields down to before anybody is refused.
    pub engine_cache_least: u64,
    /// The engine outside its cache: tables being built, read-ahead, iterators.
    pub engine_outside: u64,
    /// What the allocator keeps above what is allocated.
    pub allocator_slack: u64,
    /// Bytes that each leased holder can always have, indexed by [`Holder::index`].
    pub floors: [u64; Holder::COUNT],
    /// Bytes that holders over their floor share.
    pub pool: u64,
}

impl Limits {
    /// Below this nothing useful runs; the program refuses to start.
    pub const LEAST: ByteSize = ByteSize::mib(128);
    /// Default of `--memory-budget`.
    pub const DEFAULT: ByteSize = ByteSize::mib(256);

    /// Divides `total` bytes. At 256 MiB the parts are those of the table in `ARCHITECTURE.md`; the program, what the
    /// engine needs outside its cache, and half of the slack do not depend on the budget, all else grows with it.
    ///
    /// # Errors
    /// [`LimitsError::TooSmall`] below [`Limits::LEAST`].
    pub fn new(total: ByteSize, profile: Profile) -> Result<Self, LimitsError> {
        if total < Self::LEAST {
            return Err(LimitsError::TooSmall { given: total, least: Self::LEAST });
        }
        let program = 24 * MIB;
        let engine_outside = 16 * MIB;
        let slack_fixed = 14 * MIB;
        // The rest is shared in 202ths, which are MiB at the default budget.
        let rest = total.0 - program - engine_outside - slack_fixed;
        let part = |n: u64| (rest / 202 * n + rest % 202 * n / 202) & !0xfff;
        let mut floors = [0; Holder::COUNT];
        let mut floor = |holder: Holder, n: u64| floors[holder.index()] = part(n);
        let (cache, pool);
        match profile {
            Profile::Store => {
                (cache, pool) = (part(26), part(36));
                floor(Holder::Requests, 24);
                floor(Holder::Watches, 16);
                floor(Holder::Heads, 14);
            }
            Profile::Server => {
                (cache, pool) = (part(18), part(20));
                floor(Holder::Requests, 16);
                floor(Holder::Watches, 8);
                floor(Holder::Gateway, 48);
                floor(Holder::Heads, 6);
            }
        }
        floor(Holder::Log, 24);
        floor(Holder::Apply, 12);
        floor(Holder::Answers, 12);
        floor(Holder::Connections, 16);
        floor(Holder::Leases, 8);
        Ok(Self {
            program,
            engine_cache: cache,
            engine_cache_least: cache.min(16 * MIB).min(cache / 2).max(4 * MIB),
            engine_outside,
            allocator_slack: slack_fixed + part(14),
            floors,
            pool,
        })
    }

    /// Most bytes the process can hold. If this sum is right, no queue can exhaust the machine.
    pub fn sum(&self) -> ByteSize {
        let leased: u64 = self.floors.iter().sum();
        ByteSize(self.program + self.engine_cache + self.engine_outside + self.allocator_slack + leased + self.pool)
    }

    pub fn floor(&self, holder: Holder) -> u64 {
        self.floors[holder.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_budget_is_divided_as_documented() {
        let limits = Limits::new(Limits::DEFAULT, Profile::Store).unwrap();
        assert_eq!((limits.engine_cache, limits.floor(Holder::Heads)), (26 * MIB, 14 * MIB));
        assert_eq!(limits.allocator_slack, 28 * MIB);
        assert_eq!(limits.floor(Holder::Requests), 24 * MIB);
        assert_eq!(limits.floor(Holder::Gateway), 0);
        assert_eq!(limits.pool, 36 * MIB);
        assert_eq!(limits.sum(), Limits::DEFAULT);
        let server = Limits::new(Limits::DEFAULT, Profile::Server).unwrap();
        assert_eq!(server.floor(Holder::Gateway), 48 * MIB);
        assert_eq!(server.sum(), Limits::DEFAULT);
    }

    #[test]
    fn sum_never_exceeds_the_budget() {
        for mib in [128, 129, 200, 511, 1024, 7777, 1 << 20] {
            for profile in [Profile::Store, Profile::Server] {
                let total = ByteSize::mib(mib);
                let limits = Limits::new(total, profile).unwrap();
                assert!(limits.sum() <= total);
                assert!(limits.sum().0 + MIB > total.0, "{mib} MiB leaves more than rounding unused");
            }
        }
    }

    #[test]
    fn too_small_a_budget_is_refused() {
        assert!(matches!(Limits::new(ByteSize::mib(127), Profile::Store), Err(LimitsError::TooSmall { .. })));
    }
}
