//! Speed and memory of the log on the machine's disk: `cargo run --release -p tidegate-raftlog --example log_bench [DIR]`.
//!
//! 1. 6000 entries of 2 MiB, a sync after each, purged behind so that 64 MiB stay.
//! 2. Entries of 256 bytes, 1, 64 and 512 of them for each sync, two seconds each.
//! 3. Opening what is left.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tidegate_base::{LogIndex, LogPosition, Payload, clock};
use tidegate_raftlog::{Config, Disk, Entry, Expect, HardState, Log, LogReader, RealDisk, Recovered, TailCache};

const LARGE: usize = 2 << 20;
const LARGE_COUNT: u64 = 6000;
const KEPT: u64 = 32;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let dir = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from).join("tidegate-log-bench");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    large(&fresh(&dir.join("large"))?)?;
    for group in [1, 64, 512] {
        small(&fresh(&dir.join(format!("small-{group}")))?, group)?;
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn fresh(dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    Ok(dir.to_owned())
}

fn open(dir: &Path, expect: Expect) -> Result<(Log, LogReader, Recovered)> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    Ok(Log::open(&disk, dir, Config::new(1), expect, &Arc::new(TailCache::new(0)))?)
}

fn entry(index: u64, head: &Bytes, body: &Bytes) -> Entry {
    let payload = Payload::new(head.clone(), body.clone());
    Entry { position: LogPosition::new(index, 1), entry_type: 0, payload }
}

fn large(dir: &Path) -> Result<()> {
    let (mut log, _, _) = open(dir, Expect::default())?;
    let (head, body) = (Bytes::from(vec![1; 64]), Bytes::from(vec![7; LARGE - 64]));
    let started = clock::now();
    for index in 1..=LARGE_COUNT {
        log.append(&[entry(index, &head, &body)], None)?;
        log.sync()?;
        log.prepare_spare()?;
        log.purge(LogIndex(index.saturating_sub(KEPT)))?;
    }
    let took = started.elapsed();
    let usage = log.usage();
    log.close()?;
    let bytes = LARGE_COUNT * LARGE as u64;
    println!(
        "{LARGE_COUNT} x 2 MiB: {} MB/s, {} MiB on disk, {}",
        rate(bytes, took) / 1_000_000,
        usage.disk_bytes >> 20,
        peak()?
    );
    let started = clock::now();
    let (_, reader, recovered) = open(dir, Expect::applied(LogIndex(LARGE_COUNT)))?;
    println!("opened from entry {} in {:?}, {}", recovered.first(), started.elapsed(), peak()?);
    let started = clock::now();
    let mut read = 0;
    for index in recovered.first().0..=LARGE_COUNT {
        read += reader.read(LogIndex(index))?.payload.len() as u64;
    }
    println!("read back: {} MB/s", rate(read, started.elapsed()) / 1_000_000);
    Ok(())
}

fn small(dir: &Path, group: u64) -> Result<()> {
    let (mut log, reader, _) = open(dir, Expect::default())?;
    let (head, body) = (Bytes::from(vec![1; 24]), Bytes::from(vec![7; 232]));
    let (started, mut last, mut worst) = (clock::now(), 0, Duration::ZERO);
    while started.elapsed() < Duration::from_secs(2) {
        let entries: Vec<_> = (1..=group).map(|n| entry(last + n, &head, &body)).collect();
        let begun = clock::now();
        last += group;
        log.append(&entries, Some(HardState { commit: LogIndex(last - group), ..HardState::default() }))?;
        log.sync()?;
        worst = worst.max(begun.elapsed());
        log.prepare_spare()?;
        log.purge(LogIndex(last.saturating_sub(200_000)))?;
    }
    let took = started.elapsed();
    let usage = log.usage();
    println!(
        "256 B, {group} a sync: {} entries/s, worst {worst:?}, index {} KiB for {} segments, {}",
        rate(last, took),
        usage.index_bytes >> 10,
        usage.segments,
        peak()?
    );
    let (started, first) = (clock::now(), reader.bounds().0.index.next());
    let mut at = first;
    while at.0 <= last {
        at = LogIndex(at.0 + reader.read_range(at, 256 << 10)?.len() as u64);
    }
    println!("  read in ranges of 256 KiB: {} entries/s", rate(last - first.0 + 1, started.elapsed()));
    log.close()?;
    let started = clock::now();
    open(dir, Expect::applied(LogIndex(last)))?;
    println!("  opened in {:?}", started.elapsed());
    Ok(())
}

fn rate(count: u64, took: Duration) -> u128 {
    u128::from(count) * 1_000_000 / took.as_micros().max(1)
}

fn peak() -> Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    Ok(status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or("VmHWM unknown")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" "))
}
