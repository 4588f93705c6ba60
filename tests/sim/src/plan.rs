//! What a seed draws before it begins: faults, rates, sizes. Each seed is another world (swarm testing): a fault that is
//! always there hides what only happens without it.

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A message is lost.
    Loss,
    /// A message comes late, behind younger ones.
    Delay,
    Duplicate,
    /// A member and the others do not hear each other for a while.
    Cut,
    /// A member is heard and does not hear, or the other way round.
    OneWayCut,
    /// The process ends; what it wrote stays.
    Kill,
    /// The machine ends; of what was not synced any sectors stay.
    PowerCut,
    FailedSync,
    FailedWrite,
    FailedFlush,
    /// The process stands still.
    Pause,
    SlowDisk,
    SlowApply,
    /// A member's clock goes forward.
    ClockJump,
}

impl Kind {
    pub const ALL: [Self; 14] = [
        Self::Loss,
        Self::Delay,
        Self::Duplicate,
        Self::Cut,
        Self::OneWayCut,
        Self::Kill,
        Self::PowerCut,
        Self::FailedSync,
        Self::FailedWrite,
        Self::FailedFlush,
        Self::Pause,
        Self::SlowDisk,
        Self::SlowApply,
        Self::ClockJump,
    ];
    pub const COUNT: usize = Self::ALL.len();
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) members: usize,
    /// Kinds of faults that strike now and then.
    pub(crate) strikes: Vec<Kind>,
    /// Milliseconds between two of them, on average.
    pub(crate) strike_every: u64,
    /// Of a thousand messages.
    pub(crate) loss: u32,
    pub(crate) late: u32,
    pub(crate) duplicate: u32,
    pub(crate) clients: usize,
    pub(crate) watchers: usize,
    /// Milliseconds that a client rests between two requests, at most.
    pub(crate) rest: u64,
    pub(crate) keys: u64,
    /// The chaos ends when so many entries are committed, or after [`Plan::chaos_ms`].
    pub(crate) entries: u64,
    pub(crate) chaos_ms: u64,
    /// Size at which a batch of apply is full: small ones cut entries in pieces.
    pub(crate) batch_bytes: usize,
    pub(crate) live_bytes: usize,
    pub(crate) heads_bytes: usize,
    pub(crate) sweep_rows: usize,
    pub(crate) flush_above: u64,
    pub(crate) retention: u64,
    /// One of so many requests compacts.
    pub(crate) compact_one_in: u32,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x7469_6465);
        let members = if rng.random_ratio(1, 8) { 1 } else { 3 };
        let calm = rng.random_ratio(1, 16);
        let mut on = |one_in: u32| !calm && rng.random_ratio(1, one_in);
        let (loss, late, duplicate) = (on(2), on(2), on(2));
        let strikes = Kind::ALL[3..]
            .iter()
            .copied()
            .filter(|kind| members > 1 || !matches!(kind, Kind::Cut | Kind::OneWayCut))
            .filter(|_| on(2))
            .collect();
        let mut rate = |is_on: bool, most: u32| if is_on { rng.random_range(1..=most) } else { 0 };
        let (loss, late, duplicate) = (rate(loss, 200), rate(late, 300), rate(duplicate, 100));
        Self {
            members,
            strikes,
            strike_every: [300, 1000, 3000, 10_000][rng.random_range(0..4)],
            loss,
            late,
            duplicate,
            clients: rng.random_range(2..=8),
            watchers: rng.random_range(1..=4),
            rest: [0, 5, 20][rng.random_range(0..3)],
            keys: rng.random_range(3..60),
            entries: rng.random_range(1000..2500),
            chaos_ms: 600_000,
            batch_bytes: [200, 1000, 20_000, 4 << 20][rng.random_range(0..4)],
            live_bytes: [200, 2000, 1 << 20][rng.random_range(0..3)],
            sweep_rows: [1, 3, 20, 500][rng.random_range(0..4)],
            flush_above: [2_000, 20_000, 200_000][rng.random_range(0..3)],
            // A follower that the log has left behind needs a snapshot from its leader: only a sole member may purge all it can.
            retention: if members == 1 && rng.random() { 64 << 10 } else { 1 << 40 },
            compact_one_in: [10, 40, 200][rng.random_range(0..3)],
            heads_bytes: [0, 20_000, 1 << 20][rng.random_range(0..3)],
        }
    }
}
