//! A disk in memory that loses power and fails to order.
//!
//! ```text
//!   a 512-byte sector    seen by reads: C      durable: A      pending: B, C
//!   after a crash        one of A, B, C, chosen by the seed, for each sector on its own
//! ```
//! Names behave alike: each creation, removal and rename since the last `sync_dir` survives or not, each on its own. A failed
//! `sync_data` leaves what reads see and forgets what was pending, some of it durable and some not, as a kernel does: a second call
//! succeeds and proves nothing.

mod disk;
mod sectors;
mod world;

pub use disk::SimDisk;
pub use world::Call;

/// A sequence of numbers that its seed decides (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not zero.
    pub const fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    pub const fn coin(&mut self) -> bool {
        self.roll() & 1 == 1
    }
}
