//! When leases expire.
//!
//! Packed arrays ordered by id, 24 bytes a lease, swept as a whole: a heap of deadlines would be faster to sweep and three
//! times as large, and the sweep of 300,000 leases is two milliseconds twice a second. Lives with the leader; the replicated
//! part (which leases exist, and their keys) is the machine's.
//!
//! ```text
//!   chunks  [ 1, 4, 9 … ] [ 212, 215 … ] [ 630 … ]     each of 1 to 8 KiB, as many as its leases need;
//!           └── two neighbours never fit into one ──┘   so on average 4 KiB are full, of which at most 1 KiB is spare
//! ```

use std::collections::BTreeMap;

/// Milliseconds of the driver's monotonic clock.
pub type Millis = u64;

/// Chunks are made larger and smaller in steps of this: the allocator has a size class at each.
const STEP_BYTES: usize = 1 << 10;
/// Longest chunk of the packed arrays, 8 KiB; a full one is halved.
const CHUNK: usize = 8 * STEP_BYTES / size_of::<Entry>();
/// Most expiries that one sweep proposes, as etcd does: 1000 a second.
const EXPIRIES_PER_SWEEP: usize = 500;
/// Most expiries that are proposed and not applied: while nothing commits, more would only be remembered.
const EXPIRIES_AT_ONCE: usize = 4 * EXPIRIES_PER_SWEEP;

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: i64,
    ttl_seconds: u64,
    /// [`EXPIRED`] once a revocation was proposed.
    deadline: Millis,
}

const EXPIRED: Millis = Millis::MAX;

/// Answer to a keep-alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lives for so many seconds from now on.
    Renewed { ttl_seconds: u64 },
    /// No such lease.
    Unknown,
    /// Its revocation is under way: ask again when it is applied.
    Expiring,
}

#[derive(Debug, Default)]
pub struct Lessor {
    chunks: Vec<Vec<Entry>>,
    len: usize,
    /// Bytes that the chunks have set aside.
    chunk_bytes: usize,
    /// Deadlines count only on a leader.
    leading: bool,
    /// Leases whose revocation is proposed, and when to propose it again should it have been lost.
    expiring: BTreeMap<i64, Millis>,
}

impl Lessor {
    /// Bytes that one more lease may cost here, on average over many.
    pub const BYTES_PER_LEASE: u64 = 32;

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        let lists = self.chunks.capacity() * size_of::<Vec<Entry>>();
        // A node of the map has eleven places and is half full at least.
        let expiring = self.expiring.len() * 2 * size_of::<(i64, Millis)>();
        (self.chunk_bytes + lists + expiring) as u64
    }

    /// How many leases there are.
    pub fn count(&self) -> usize {
        self.len
    }

    /// Starts to count: every lease gets its full time again, and one election timeout more.
    pub fn lead(&mut self, now: Millis, grace: Millis) {
        self.leading = true;
        self.expiring.clear();
        for entry in self.chunks.iter_mut().flatten() {
            entry.deadline = deadline(now + grace, entry.ttl_seconds);
        }
    }

    pub fn follow(&mut self) {
        self.leading = false;
        self.expiring.clear();
    }

    pub fn granted(&mut self, id: i64, ttl_seconds: u64, now: Millis) {
        let entry = Entry { id, ttl_seconds, deadline: deadline(now, ttl_seconds) };
        if self.chunks.is_empty() {
            self.chunks.push(Vec::new());
        }
        let mut at = self.chunk_of(id);
        let Err(mut place) = self.place(at, id).map(|place| self.chunks[at][place] = entry) else { return };
        if self.chunks[at].len() == CHUNK {
            let half = self.chunks[at].split_off(CHUNK / 2);
            self.chunk_bytes += half.capacity() * size_of::<Entry>();
            self.chunks.insert(at + 1, half);
            let other = usize::from(place > CHUNK / 2);
            self.fit(at + 1 - other, 0);
            (at, place) = (at + other, place - other * (CHUNK / 2));
        }
        self.fit(at, 1);
        self.chunks[at].insert(place, entry);
        self.len += 1;
    }

    pub fn revoked(&mut self, id: i64) {
        self.expiring.remove(&id);
        if self.chunks.is_empty() {
            return;
        }
        let at = self.chunk_of(id);
        let Ok(place) = self.place(at, id) else { return };
        self.chunks[at].remove(place);
        self.len -= 1;
        self.fit(at, 0);
        self.join(at);
        if at > 0 {
            self.join(at - 1);
        }
        if self.chunks.len() < self.chunks.capacity() / 4 {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }

    /// Makes one chunk of the one at `at` and the next when they fit.
    fn join(&mut self, at: usize) {
        let [first, second, ..] = &mut self.chunks[at..] else {
            if self.chunks[at].is_empty() {
                self.chunks.pop();
            }
            return;
        };
        if first.len() + second.len() > CHUNK {
            return;
        }
        let mut second = std::mem::take(second);
        self.chunk_bytes -= second.capacity() * size_of::<Entry>();
        self.chunks.remove(at + 1);
        self.fit(at, second.len());
        self.chunks[at].append(&mut second);
    }

    /// Gives the chunk at `at` the memory that its leases and `more` of them need.
    fn fit(&mut self, at: usize, more: usize) {
        let chunk = &mut self.chunks[at];
        let before = chunk.capacity();
        let len = chunk.len() + more;
        let wanted = (len * size_of::<Entry>()).next_multiple_of(STEP_BYTES) / size_of::<Entry>();
        if wanted > before {
            chunk.reserve_exact(wanted - chunk.len());
        } else {
            chunk.shrink_to(wanted);
        }
        self.chunk_bytes = self.chunk_bytes + chunk.capacity() * size_of::<Entry>() - before * size_of::<Entry>();
    }

    pub fn renew(&mut self, id: i64, now: Millis) -> Renewal {
        let leading = self.leading;
        match self.find_mut(id) {
            None => Renewal::Unknown,
            Some(entry) if entry.deadline == EXPIRED || (leading && entry.deadline <= now) => Renewal::Expiring,
            Some(entry) => {
                entry.deadline = deadline(now, entry.ttl_seconds);
                Renewal::Renewed { ttl_seconds: entry.ttl_seconds }
            }
        }
    }

    /// Every lease and its deadline, which has passed for one that has expired. By id.
    pub fn deadlines(&self) -> impl Iterator<Item = (Millis, i64)> {
        let passed = |deadline| if deadline == EXPIRED { 0 } else { deadline };
        self.chunks.iter().flatten().map(move |entry| (passed(entry.deadline), entry.id))
    }

    /// Granted and remaining seconds, the latter rounded down; `None` for a lease that is unknown or has expired.
    pub fn time_to_live(&mut self, id: i64, now: Millis) -> Option<(u64, u64)> {
        let entry = self.find_mut(id)?;
        if entry.deadline == EXPIRED || entry.deadline <= now {
            return None;
        }
        Some((entry.ttl_seconds, (entry.deadline - now) / 1000))
    }

    /// The leases to revoke now. One that is not revoked after `retry` is named again: its proposal may be lost.
    pub fn sweep(&mut self, now: Millis, retry: Millis) -> Vec<i64> {
        if !self.leading {
            return Vec::new();
        }
        let mut due: Vec<i64> = self
            .expiring
            .iter()
            .filter(|(_, again)| **again <= now)
            .map(|(id, _)| *id)
            .take(EXPIRIES_PER_SWEEP)
            .collect();
        let fresh = (EXPIRIES_PER_SWEEP - due.len()).min(EXPIRIES_AT_ONCE.saturating_sub(self.expiring.len()));
        let expired = self.chunks.iter_mut().flatten().filter(|entry| entry.deadline <= now);
        for entry in expired.take(fresh) {
            entry.deadline = EXPIRED;
            due.push(entry.id);
        }
        self.expiring.extend(due.iter().map(|id| (*id, now + retry)));
        due
    }

    /// Index of the chunk that holds `id` or would take it. There is one.
    fn chunk_of(&self, id: i64) -> usize {
        self.chunks.partition_point(|chunk| chunk.first().is_some_and(|first| first.id <= id)).saturating_sub(1)
    }

    /// Where `id` is in the chunk at `at`, or would be.
    fn place(&self, at: usize, id: i64) -> Result<usize, usize> {
        self.chunks[at].binary_search_by_key(&id, |entry| entry.id)
    }

    fn find_mut(&mut self, id: i64) -> Option<&mut Entry> {
        if self.chunks.is_empty() {
            return None;
        }
        let at = self.chunk_of(id);
        let found = self.place(at, id).ok()?;
        Some(&mut self.chunks[at][found])
    }
}

fn deadline(now: Millis, ttl_seconds: u64) -> Millis {
    now.saturating_add(ttl_seconds.saturating_mul(1000)).min(EXPIRED - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leading() -> Lessor {
        let mut lessor = Lessor::default();
        lessor.lead(0, 0);
        lessor
    }

    #[test]
    fn a_lease_expires_after_its_time_and_not_before() {
        let mut lessor = leading();
        lessor.granted(7, 2, 1000);
        assert_eq!(lessor.time_to_live(7, 1500), Some((2, 1)));
        assert_eq!(lessor.sweep(2999, 500), [0i64; 0]);
        assert_eq!(lessor.renew(7, 2999), Renewal::Renewed { ttl_seconds: 2 });
        assert_eq!(lessor.sweep(4998, 500), [0i64; 0]);
        assert_eq!(lessor.renew(7, 4999), Renewal::Expiring, "expired, though no sweep has seen it");
        assert_eq!(lessor.sweep(4999, 500), [7]);
        assert_eq!(lessor.renew(7, 5000), Renewal::Expiring);
        assert_eq!(lessor.time_to_live(7, 5000), None);
        assert_eq!(lessor.deadlines().collect::<Vec<_>>(), [(0, 7)], "it is there until it is revoked");
        assert_eq!(lessor.sweep(5100, 500), [0i64; 0], "the proposal is on its way");
        assert_eq!(lessor.sweep(5499, 500), [7], "it was lost");
        lessor.revoked(7);
        assert_eq!((lessor.renew(7, 6000), lessor.count()), (Renewal::Unknown, 0));
        assert_eq!(lessor.sweep(9000, 500), [0i64; 0]);
    }

    #[test]
    fn a_new_leader_gives_everybody_the_full_time_again() {
        let mut lessor = Lessor::default();
        lessor.granted(1, 10, 0);
        assert_eq!(lessor.sweep(60_000, 500), [0i64; 0], "a follower proposes nothing");
        lessor.lead(60_000, 1000);
        assert_eq!(lessor.time_to_live(1, 60_000), Some((10, 11)));
        assert_eq!(lessor.sweep(71_000, 500), [1]);
        lessor.follow();
        assert_eq!(lessor.sweep(80_000, 500), [0i64; 0]);
    }

    #[test]
    fn many_leases_in_any_order_are_found_and_swept_in_portions() {
        let mut lessor = leading();
        let most = |lessor: &Lessor| lessor.count() as u64 * Lessor::BYTES_PER_LEASE + (10 << 10);
        let exact = |lessor: &Lessor| {
            let chunks: usize = lessor.chunks.iter().map(|chunk| chunk.capacity() * size_of::<Entry>()).sum();
            assert_eq!(lessor.chunk_bytes, chunks);
        };
        let id = |n: i64| (n * 7919) % 20_011 - 10_000;
        for n in 0..20_011 {
            lessor.granted(id(n), 5, 0);
            assert!(lessor.bytes() <= most(&lessor), "{} bytes for {}", lessor.bytes(), lessor.count());
        }
        exact(&lessor);
        assert_eq!(lessor.count(), 20_011);
        assert!(lessor.chunks.iter().flatten().is_sorted_by_key(|entry| entry.id));
        for n in (0..20_011).step_by(2) {
            lessor.revoked(id(n));
            assert!(lessor.bytes() <= most(&lessor), "{} bytes for {}", lessor.bytes(), lessor.count());
        }
        exact(&lessor);
        assert_eq!(lessor.count(), 10_005);
        let mut expired = 0;
        for sweep in 0.. {
            let due = lessor.sweep(5000 + sweep, 1_000_000);
            assert!(due.len() <= EXPIRIES_PER_SWEEP);
            assert!(lessor.bytes() <= most(&lessor) + 32 * EXPIRIES_PER_SWEEP as u64);
            expired += due.len();
            if due.is_empty() {
                break;
            }
            due.iter().for_each(|id| lessor.revoked(*id));
        }
        assert_eq!((expired, lessor.count()), (10_005, 0));
        assert!(lessor.chunks.is_empty());
        assert!(lessor.bytes() < 1 << 10, "{}", lessor.bytes());
    }

    #[test]
    fn leases_granted_in_order_and_revoked_sparsely_stay_packed() {
        let mut lessor = leading();
        for id in 1..=100_000 {
            lessor.granted(id, 5, 0);
        }
        assert!(lessor.bytes() <= 100_000 * Lessor::BYTES_PER_LEASE, "{}", lessor.bytes());
        (1..=100_000).filter(|id| id % 50 != 0).for_each(|id| lessor.revoked(id));
        assert_eq!(lessor.count(), 2000);
        assert!(lessor.bytes() <= 2000 * Lessor::BYTES_PER_LEASE + (10 << 10), "{}", lessor.bytes());
        assert_eq!(lessor.renew(50_000, 1), Renewal::Renewed { ttl_seconds: 5 });
        assert_eq!(lessor.renew(50_001, 1), Renewal::Unknown);
    }

    #[test]
    fn while_nothing_commits_only_so_many_expiries_are_remembered() {
        let mut lessor = leading();
        (1..=10_000).for_each(|id| lessor.granted(id, 1, 0));
        let named: usize = (0..20).map(|sweep| lessor.sweep(2000 + sweep, 1_000_000).len()).sum();
        assert_eq!(named, EXPIRIES_AT_ONCE);
        (1..=500).for_each(|id| lessor.revoked(id));
        assert_eq!(lessor.sweep(3000, 1_000_000).len(), 500);
    }

    #[test]
    fn the_longest_ttl_does_not_overflow() {
        let mut lessor = leading();
        lessor.granted(1, 9_000_000_000, u64::MAX - 5);
        assert_eq!(lessor.sweep(u64::MAX - 2, 500), [0i64; 0]);
    }
}
