//! The busiest paths of a server.

use std::{
    sync::{Mutex, PoisonError, TryLockError},
    time::Instant,
};

use tidegate_pipeline::stats::{Counted, PerThread, STAT_BYTES, Sample, Snapshot, Stat};

use super::pattern::{Learner, PATTERN_MAX, hash};

/// Paths that one thread counts at a time, and that a status lists at most. Source: the reference.
const PATHS: usize = 10;

/// One thread's busiest paths. A path that is new takes the place of the least busy one, whose weight it inherits: so one
/// that is asked for often gets a place whatever else comes (Metwally's space saving).
#[derive(Default)]
pub(crate) struct Top(Mutex<Paths>);

#[derive(Default)]
struct Paths {
    learner: Learner,
    all: Vec<Path>,
}

struct Path {
    hash: u64,
    pattern: Box<[u8]>,
    weight: u64,
    stat: Box<Stat>,
}

impl Counted for Top {
    const BYTES: u64 = 512 + Learner::BYTES + PATHS as u64 * (STAT_BYTES + PATTERN_MAX as u64 + 64);
}

impl Top {
    /// Only for the thread whose it is. While somebody reads, nothing is counted: a request does not wait for that.
    pub(super) fn record(&self, path: &[u8], now: Instant, sample: &Sample) {
        let mut paths = match self.0.try_lock() {
            Ok(paths) => paths,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let Paths { learner, all } = &mut *paths;
        let mut text = [0; PATTERN_MAX];
        let pattern = learner.pattern(path, &mut text);
        let hash = hash(0, pattern);
        let place = match all.iter().position(|path| path.hash == hash && *path.pattern == *pattern) {
            Some(place) => place,
            None => {
                let least = all
                    .iter()
                    .enumerate()
                    .min_by_key(|(_, path)| path.weight)
                    .map(|(place, path)| (place, path.weight));
                let new = |weight| Path { hash, pattern: pattern.into(), weight, stat: Box::default() };
                match least {
                    Some((place, weight)) if all.len() >= PATHS => {
                        all[place] = new(weight);
                        place
                    }
                    _ => {
                        all.push(new(0));
                        all.len() - 1
                    }
                }
            }
        };
        all[place].weight += 1;
        all[place].stat.record(now, sample);
    }
}

/// The busiest paths of all threads, busiest first.
pub(super) fn busiest(threads: &PerThread<Top>, now: Instant) -> Vec<(Box<[u8]>, Snapshot)> {
    let mut sums: Vec<(Box<[u8]>, Snapshot)> = Vec::new();
    threads.each(|own| {
        for path in &own.0.lock().unwrap_or_else(PoisonError::into_inner).all {
            let place = sums.iter().position(|(pattern, _)| *pattern == path.pattern).unwrap_or_else(|| {
                sums.push((path.pattern.clone(), Snapshot::default()));
                sums.len() - 1
            });
            path.stat.add_to(&mut sums[place].1, now);
        }
    });
    sums.sort_by(|(a, one), (b, other)| other.count.cmp(&one.count).then_with(|| a.cmp(b)));
    sums.truncate(PATHS);
    sums
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_base::{Budget, ByteSize, Limits, Profile, clock};

    use super::*;

    #[test]
    fn a_busy_path_is_found_among_many() {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        let threads = PerThread::<Top>::default();
        let other = std::thread::scope(|scope| scope.spawn(|| threads.enter(&budget).unwrap()).join().unwrap());
        let own = [threads.enter(&budget).unwrap(), other];
        let (now, sample) = (clock::now(), Sample { status: 200, took: Duration::ZERO, received: 1, sent: 1 });
        for number in 0..10_000 {
            let own = &own[number % 2];
            own.record(format!("/{}/{}", ["a", "b", "c", "d"][number % 4], number % 7).as_bytes(), now, &sample);
            own.record(format!("/rare/x{}/y{number}", number % 19).as_bytes(), now, &sample);
            own.record(b"/busy", now, &sample);
        }
        let list = busiest(&threads, now);
        assert_eq!((&*list[0].0, list[0].1.count), (&b"/busy"[..], 10_000));
        assert!(list.len() <= PATHS && list.iter().any(|(path, sum)| **path == *b"/a/*" && sum.count == 2500));
    }
}
