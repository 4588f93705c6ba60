use std::time::{Duration, Instant};

use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile, clock};

use super::*;

fn sample(status: u16, millis: u64) -> Sample {
    Sample { status, took: Duration::from_millis(millis), received: 10, sent: 20 }
}

/// A moment at the beginning of a tick.
fn start() -> Instant {
    let now = clock::now();
    let mut start = now;
    while tick(start) == tick(now) {
        start += Duration::from_millis(100);
    }
    start
}

fn near(value: f64, expected: f64, part: f64) -> bool {
    (value - expected).abs() <= expected.abs() * part + 1e-9
}

fn number(snapshot: &Snapshot, name: &str) -> f64 {
    snapshot.numbers().find(|(known, _)| *known == name).unwrap().1
}

#[test]
fn a_window_tells_times_and_statuses() {
    let (stats, start) = (PerThread::<Stat>::default(), start());
    let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
    let other = std::thread::scope(|scope| scope.spawn(|| stats.enter(&budget).unwrap()).join().unwrap());
    let threads = [stats.enter(&budget).unwrap(), other];
    assert!(std::sync::Arc::ptr_eq(&threads[0], &stats.enter(&budget).unwrap()), "one a thread");
    for (millis, thread) in (1..=1000).zip(threads.iter().cycle()) {
        let status = if millis % 10 == 0 { 500 } else { 200 };
        thread.record(start, &sample(status, millis));
    }
    let sum = stats.sum(start + TICK);
    assert_eq!((sum.count, sum.errors, sum.received, sum.sent), (1000, 100, 10_000, 20_000));
    for (name, expected) in [("p25", 250.0), ("p50", 500.0), ("p95", 950.0), ("p99", 990.0), ("mean", 500.5)] {
        assert!(near(number(&sum, name), expected, 0.03), "{name} {}", number(&sum, name));
    }
    assert_eq!([number(&sum, "min"), number(&sum, "max")], [1.0, 1000.0]);
    // 1000 in 5 s; the first tick sets the averages.
    for (name, expected) in [("m1", 200.0), ("m5", 200.0), ("m15", 200.0), ("m1Err", 20.0), ("m5ErrPercent", 0.1)] {
        assert!(near(number(&sum, name), expected, 1e-6), "{name} {}", number(&sum, name));
    }
    let map = sum.to_map();
    assert_eq!(map["codes"], serde_json::json!({"200": 900, "500": 100}));
    assert_eq!((map["count"].clone(), map["respSize"].clone()), (1000.into(), 20_000.into()));
    drop(stats);
    assert_eq!(budget.used(Holder::Gateway), 0);
}

#[test]
fn what_is_quiet_decays_without_a_tick() {
    let (stat, start) = (Stat::default(), start());
    (0..500).for_each(|_| stat.record(start, &sample(200, 8)));
    let at = |ticks: u32| {
        let mut sum = Snapshot::default();
        stat.add_to(&mut sum, start + TICK * ticks);
        sum
    };
    assert!(at(0).codes.is_empty() && at(0).rates == [0.0; 3], "the first window is not whole");
    assert_eq!(at(1).codes.get(&200), Some(&500));
    assert!(at(2).codes.is_empty());
    // A minute later the average of a minute is e times less.
    assert!(near(at(13).rates[0], 100.0 / std::f64::consts::E, 1e-6), "{:?}", at(13).rates);
    assert!(near(at(1).millis(0.5), 8.0, 1e-9) && at(18).times.at(0.5) == 0.0);
    assert_eq!(at(100).count, 500);

    // The same, when requests come between.
    stat.record(start + TICK * 13, &sample(200, 8));
    let later = at(13);
    assert!(near(later.rates[0], 100.0 / std::f64::consts::E, 1e-6), "{:?}", later.rates);
    assert!(later.codes.is_empty());
    assert_eq!(at(14).codes.get(&200), Some(&1));
}

#[test]
fn a_full_count_keeps_the_shape() {
    let histogram = Histogram::<16, 1, 0>::default();
    (0..200_000).for_each(|number| histogram.record(if number % 4 == 0 { 1000 } else { 2 }));
    let mut sum = Quantiles::default();
    histogram.add_to(&mut sum, 0);
    assert!(sum.at(0.7) < 4.0 && sum.at(0.8) > 500.0, "{sum:?}");
    let sizes = [0, 1, 2, 3, u64::MAX].map(|value| {
        let histogram = Histogram::<16, 1, 0>::default();
        histogram.record(value);
        let mut sum = Quantiles::default();
        histogram.add_to(&mut sum, 0);
        sum.at(1.0)
    });
    assert_eq!(sizes, [2.0, 2.0, 4.0, 4.0, 65536.0]);
}

#[test]
fn statuses_beyond_the_list_are_in_the_totals() {
    let (stat, start) = (Stat::default(), start());
    (400..450).for_each(|status| stat.record(start, &sample(status, 1)));
    let mut sum = Snapshot::default();
    stat.add_to(&mut sum, start + TICK);
    assert_eq!((sum.codes.len(), sum.errors), (12, 50));
}
