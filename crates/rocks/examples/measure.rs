//! Measures the engine as the store uses it: `cargo run --release -p tidegate-rocks --example measure -- DIRECTORY`.
//!
//! Runs with the allocator and the settings of the binary. Gets count the CPU of the thread that
//! reads, puts also that of the whole process. Values do not compress.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tidegate_base::clock;
use tidegate_engine::{Batch, Cursor, Engine, Error, Lookup, Order, Scan, Space, Tier};
use tidegate_rocks::{RocksEngine, Settings};
use tikv_jemalloc_ctl::{epoch, stats};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[expect(unsafe_code, reason = "jemalloc reads its settings from a symbol of this name, a pointer to a C string")]
#[unsafe(export_name = "malloc_conf")]
static MALLOC_CONF: &[u8; 70] = b"narenas:2,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

const CACHE: u64 = 40 << 20;
const META: &[u8] = b"\0";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: measure DIRECTORY")?);
    allocator().map_err(|error| error.to_string())?;
    let part = |name: &str| directory.join(name);
    gets(&part("gets"))?;
    for batch in [1, 16, 128] {
        puts(&part(&format!("puts{batch}")), batch)?;
    }
    large(&part("large"))?;
    Ok(())
}

/// The settings that are in force, asked of jemalloc itself.
fn allocator() -> tikv_jemalloc_ctl::Result<()> {
    #[expect(unsafe_code, reason = "the types are those of jemalloc's manual: unsigned, bool, ssize_t")]
    // SAFETY: the names end with a nul and are read with the types that the manual gives them.
    let (narenas, background, dirty, muzzy) = unsafe {
        (
            tikv_jemalloc_ctl::raw::read::<u32>(b"opt.narenas\0")?,
            tikv_jemalloc_ctl::raw::read::<bool>(b"background_thread\0")?,
            tikv_jemalloc_ctl::raw::read::<isize>(b"arenas.dirty_decay_ms\0")?,
            tikv_jemalloc_ctl::raw::read::<isize>(b"arenas.muzzy_decay_ms\0")?,
        )
    };
    println!("jemalloc: arenas {narenas}, background thread {background}, decay dirty {dirty} ms, muzzy {muzzy} ms");
    Ok(())
}

fn allocated() -> u64 {
    let read = || -> tikv_jemalloc_ctl::Result<usize> {
        epoch::advance()?;
        stats::allocated::read()
    };
    read().map_or(0, |bytes| bytes as u64)
}

/// Point reads of `head`, by where the row is; on the way, what filling the cache adds to the allocator's account.
fn gets(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    const KEYS: u32 = 40_000;
    let engine = RocksEngine::open(path, Settings::new(CACHE))?;
    let mut batch = engine.batch();
    for n in 0..KEYS {
        batch.put(Space::Head, &key(n), &noise(300, n));
        engine.write(&mut batch)?;
    }
    engine.flush(true)?;
    let memtable_and_more = engine.usage().cache;
    drop((batch, engine));

    let engine = RocksEngine::open(path, Settings::new(CACHE))?;
    let before = (allocated(), engine.usage().cache);
    let scan = Scan { lower: b"k", upper: b"l", order: Order::Ascending, fill_cache: true };
    let mut cursor = engine.scan(Space::Head, scan)?;
    while cursor.next()?.is_some() {}
    drop(cursor);
    let after = (allocated(), engine.usage().cache);
    println!(
        "one allocator: reading {KEYS} rows put {} KiB into the cache, and {} KiB onto jemalloc's `allocated` ({} KiB held while loading)",
        (after.1 - before.1) >> 10,
        after.0.saturating_sub(before.0) >> 10,
        memtable_and_more >> 10,
    );

    let read = |what: &str, keys: u32, absent: bool, tier: Tier| -> Result<(), Error> {
        let mut found = 0;
        let cpu = thread_cpu();
        for n in 0..keys {
            let n = n.wrapping_mul(7919) % KEYS;
            let key = if absent { [&key(n)[..], b"?"].concat() } else { key(n).to_vec() };
            found += u32::from(matches!(engine.get(Space::Head, &key, tier)?, Lookup::Found(_)));
        }
        println!("get of a head, {what}: {:.2} µs, {found} of {keys} found", micros(thread_cpu() - cpu, keys));
        Ok(())
    };
    read("block in cache, row not", 20_000, false, Tier::Cached)?;
    read("row in cache", 20_000, false, Tier::Cached)?;
    read("no such key", 20_000, true, Tier::Cached)?;
    engine.set_cache(256 << 10);
    engine.set_cache(CACHE);
    read("cold cache, told so", 1000, false, Tier::Cached)?;
    read("from a cold cache that fills", 20_000, false, Tier::All)?;
    Ok(())
}

/// New keys of 256 bytes: head, event, version, and the meta row in each family.
fn puts(path: &Path, size: u32) -> Result<(), Box<dyn std::error::Error>> {
    const PUTS: u32 = 200_000;
    let engine = RocksEngine::open(path, Settings::new(CACHE))?;
    let value = noise(256, 3);
    let mut batch = engine.batch();
    let (thread, process, begin) = (thread_cpu(), process_cpu(), clock::now());
    for n in 0..PUTS {
        rows(&mut batch, n, &value);
        if (n + 1) % size == 0 {
            meta(&mut batch, n);
            hold(&engine);
            engine.write(&mut batch)?;
        }
    }
    let wall = begin.elapsed();
    let (thread, process) = (thread_cpu() - thread, process_cpu() - process);
    println!(
        "put of 3 rows, batches of {size}: {:.2} µs CPU on the writer, {:.2} in the process, {:.0} puts/s",
        micros(thread, PUTS),
        micros(process, PUTS),
        f64::from(PUTS) / wall.as_secs_f64(),
    );
    Ok(())
}

/// 6000 revisions of 2 MiB, of which the last 100 are kept.
fn large(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    const PUTS: u32 = 6000;
    const KEPT: u32 = 100;
    let engine = Arc::new(RocksEngine::open(path, Settings::new(CACHE))?);
    let mut value = noise(2 << 20, 9);
    let watch = Watch::start(Arc::clone(&engine));
    let mut batch = engine.batch();
    let (process, begin) = (process_cpu(), clock::now());
    for n in 0..PUTS {
        value[..4].copy_from_slice(&n.to_be_bytes());
        batch.put(Space::Events, &revision(b'v', n), &value);
        rows(&mut batch, n, b"");
        if n >= KEPT {
            batch.delete(Space::Events, &revision(b'v', n - KEPT));
            batch.delete(Space::Events, &revision(b'e', n - KEPT));
            batch.delete(Space::Versions, &key(n - KEPT));
            batch.delete(Space::Head, &key(n - KEPT));
        }
        meta(&mut batch, n);
        hold(&engine);
        engine.write(&mut batch)?;
    }
    engine.flush(true)?;
    let wall = begin.elapsed();
    println!(
        "{PUTS} values of 2 MiB, {KEPT} kept: {:.0} MiB/s, {:.1} ms CPU a put; {}",
        f64::from(PUTS) * 2.0 / wall.as_secs_f64(),
        micros(process_cpu() - process, PUTS) / 1000.0,
        watch.stop(),
    );
    Ok(())
}

fn rows(batch: &mut impl Batch, n: u32, value: &[u8]) {
    batch.put(Space::Head, &key(n), value);
    batch.put(Space::Events, &revision(b'e', n), value);
    batch.put(Space::Versions, &key(n), &[1; 12]);
}

fn meta(batch: &mut impl Batch, n: u32) {
    for space in Space::ALL {
        batch.put(space, META, &n.to_be_bytes());
    }
}

/// As apply does: waits while more is unflushed than the limit.
fn hold(engine: &RocksEngine) {
    while engine.unflushed() > engine.unflushed_limit() {
        thread::park_timeout(Duration::from_millis(1));
    }
}

fn key(n: u32) -> [u8; 12] {
    let mut key = *b"key.........";
    // Not in the order of writing.
    key[4..8].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

fn revision(prefix: u8, n: u32) -> [u8; 13] {
    let mut key = [0; 13];
    key[0] = prefix;
    key[5..9].copy_from_slice(&n.to_be_bytes());
    key
}

fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) << 20 | 1;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut word).take(len.div_ceil(8)).flatten().collect();
    bytes.truncate(len);
    bytes
}

/// Samples memory every 20 ms and does the engine's housekeeping every two seconds.
struct Watch {
    done: Arc<AtomicBool>,
    thread: thread::JoinHandle<String>,
}

impl Watch {
    fn start(engine: Arc<RocksEngine>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&done);
        let thread = thread::spawn(move || {
            let mut peaks = ["VmRSS", "RssAnon"].map(|name| (name, 0));
            let (heap, cache, disk) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
            let mut samples = 0u32;
            while !stop.load(Ordering::Acquire) {
                thread::park_timeout(Duration::from_millis(20));
                for (name, peak) in &mut peaks {
                    *peak = (*peak).max(status(name));
                }
                let usage = engine.usage();
                heap.fetch_max(allocated(), Ordering::Relaxed);
                cache.fetch_max(usage.cache, Ordering::Relaxed);
                disk.fetch_max(usage.disk, Ordering::Relaxed);
                samples += 1;
                if samples.is_multiple_of(100)
                    && let Err(error) = engine.maintain()
                {
                    return error.to_string();
                }
            }
            let mut text = String::from("peaks in MiB:");
            let figures = [("allocated", heap), ("cache", cache), ("disk", disk)];
            let figures = figures.map(|(name, peak)| (name, peak.into_inner() >> 20));
            for (name, mib) in peaks.map(|(name, kib)| (name, kib >> 10)).into_iter().chain(figures) {
                write!(text, " {name} {mib}").expect("a string takes all");
            }
            text
        });
        Self { done, thread }
    }

    fn stop(self) -> String {
        self.done.store(true, Ordering::Release);
        self.thread.join().unwrap_or_else(|_| "the watch failed".into())
    }
}

/// A line of `/proc/self/status`, in KiB.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

fn cpu(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "the standard library has no clock of CPU time")]
    // SAFETY: the kernel writes one timespec to the address of one.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(failed, 0, "these clocks exist on every Linux");
    Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_nanos(time.tv_nsec.unsigned_abs())
}

fn thread_cpu() -> Duration {
    cpu(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn process_cpu() -> Duration {
    cpu(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn micros(time: Duration, calls: u32) -> f64 {
    time.as_secs_f64() * 1e6 / f64::from(calls)
}
