//! Totals and distributions of one target of requests, a backend or a pool: what its metrics are made of.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Counted, Histogram, PerThread, Quantiles, Sample, add};

/// Upper bounds of the places, ms. Source: the reference.
pub const MILLIS: [f64; 10] = [10.0, 50.0, 100.0, 200.0, 400.0, 800.0, 1000.0, 2000.0, 4000.0, 8000.0];
/// From 200 to 400,000 bytes in ten steps of one factor. Source: the reference.
pub const SIZES: [f64; 10] = [
    200.0,
    465.235_147,
    1_082.218_71,
    2_517.430_7,
    5_855.954_4,
    13_621.978_9,
    31_687.116_4,
    73_710.119_2,
    171_462.69,
    400_000.0,
];

/// Written by one thread. What is beyond the last bound is in the total only.
#[derive(Debug, Default)]
struct Places {
    counts: [AtomicU64; 10],
    sum: AtomicU64,
}

impl Places {
    fn record(&self, bounds: &[f64; 10], value: f64, exact: u64) {
        if let Some(place) = bounds.iter().position(|bound| value <= *bound) {
            add(&self.counts[place], 1);
        }
        add(&self.sum, exact);
    }
}

/// Times from 64 µs to 17 s, sizes from 64 bytes to 64 MiB.
type Times = Histogram<54, 3, 6>;
type Sizes = Histogram<20, 1, 6>;

/// The numbers of one thread. Written by it, read by any.
#[derive(Debug, Default)]
pub struct Traffic {
    count: AtomicU64,
    errors: AtomicU64,
    /// Sums in µs and bytes.
    took: Places,
    received: Places,
    sent: Places,
    times: Times,
    requests: Sizes,
    responses: Sizes,
    /// Requests since the quantiles were halved.
    recent: AtomicU64,
}

impl Counted for Traffic {
    const BYTES: u64 = 512;
}

/// Requests after which the older half of those that quantiles tell of weighs half.
const RECENT: u64 = 4096;

impl Traffic {
    /// Only for the thread whose it is.
    pub fn record(&self, sample: &Sample) {
        let micros = u64::try_from(sample.took.as_micros()).unwrap_or(u64::MAX);
        add(&self.count, 1);
        if sample.is_error() {
            add(&self.errors, 1);
        }
        self.took.record(&MILLIS, micros as f64 / 1e3, micros);
        self.received.record(&SIZES, sample.received as f64, sample.received);
        self.sent.record(&SIZES, sample.sent as f64, sample.sent);
        add(&self.recent, 1);
        if self.recent.load(Relaxed) >= RECENT {
            self.recent.store(0, Relaxed);
            self.times.halve(1);
            self.requests.halve(1);
            self.responses.halve(1);
        }
        self.times.record(micros);
        self.requests.record(sample.received);
        self.responses.record(sample.sent);
    }
}

/// One distribution, summed over the threads.
#[derive(Debug, Default)]
pub struct Distribution {
    /// Counts up to each bound, of that bound alone.
    pub places: [u64; 10],
    pub sum: u64,
    pub quantiles: Quantiles,
}

/// The numbers of all threads.
#[derive(Debug, Default)]
pub struct TrafficSum {
    pub count: u64,
    pub errors: u64,
    /// µs
    pub took: Distribution,
    /// Bytes of requests and answers.
    pub received: Distribution,
    pub sent: Distribution,
}

impl TrafficSum {
    pub fn of(threads: &PerThread<Traffic>) -> Self {
        let mut sum = Self::default();
        threads.each(|own| {
            sum.count += own.count.load(Relaxed);
            sum.errors += own.errors.load(Relaxed);
            for (sum, own) in
                [(&mut sum.took, &own.took), (&mut sum.received, &own.received), (&mut sum.sent, &own.sent)]
            {
                sum.sum += own.sum.load(Relaxed);
                sum.places.iter_mut().zip(&own.counts).for_each(|(sum, count)| *sum += count.load(Relaxed));
            }
            own.times.add_to(&mut sum.took.quantiles, 0);
            own.requests.add_to(&mut sum.received.quantiles, 0);
            own.responses.add_to(&mut sum.sent.quantiles, 0);
        });
        sum
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_base::{Budget, ByteSize, Limits, Profile};

    use super::*;

    #[test]
    fn traffic_is_counted_by_bounds_and_by_quantiles() {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        let threads = PerThread::<Traffic>::default();
        let other = std::thread::scope(|scope| scope.spawn(|| threads.enter(&budget).unwrap()).join().unwrap());
        let own = [threads.enter(&budget).unwrap(), other];
        for (number, own) in (0..20_000u64).zip(own.iter().cycle()) {
            let status = if number % 100 == 0 { 503 } else { 200 };
            let sample = Sample { status, took: Duration::from_millis(number % 100), received: 300, sent: number };
            own.record(&sample);
        }
        let sum = TrafficSum::of(&threads);
        assert_eq!((sum.count, sum.errors), (20_000, 200));
        // 0 to 10, 11 to 50, 51 to 100
        assert_eq!(sum.took.places[..4], [2200, 8000, 9800, 0]);
        assert_eq!((sum.received.places[1], sum.received.sum), (20_000, 6_000_000));
        assert_eq!(sum.sent.places.iter().sum::<u64>(), 20_000);
        let median = sum.took.quantiles.at(0.5) / 1e3;
        assert!((45.0..55.0).contains(&median), "{median}");
    }
}
