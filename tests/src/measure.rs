//! Memory and processor time of another process, as the kernel counts them.

use std::{
    fs,
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};

/// Time between two looks at the memory.
const PERIOD: Duration = Duration::from_millis(50);

/// Memory of a process in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident: anonymous, files and shared.
    pub rss: u64,
    pub anon: u64,
    /// Highest `rss` of the process so far; the kernel never misses one.
    pub high: u64,
}

impl Memory {
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib << 10)
        };
        // A process that has ended and is not yet waited for has no such fields.
        let field = |name: &str| field(name).with_context(|| format!("{name} of process {pid}"));
        Ok(Self { rss: field("VmRSS")?, anon: field("RssAnon")?, high: field("VmHWM")? })
    }

    fn max(self, other: Self) -> Self {
        Self { rss: self.rss.max(other.rss), anon: self.anon.max(other.anon), high: self.high.max(other.high) }
    }
}

/// Processor time that a process has taken, its ended threads included, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CpuTime {
    pub user: f64,
    pub system: f64,
}

impl CpuTime {
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        // The name, in brackets, may contain anything; the numbers follow its last bracket, user time is the 12th.
        let after = text.rsplit_once(')').map(|(_, after)| after).context("process without a name")?;
        let mut times = after.split_whitespace().skip(11).map(str::parse::<u64>);
        let (user, system) = (times.next().context("no user time")??, times.next().context("no system time")??);
        #[expect(clippy::cast_precision_loss, reason = "ticks of a test run")]
        let seconds = |ticks: u64| ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        Ok(Self { user: seconds(user), system: seconds(system) })
    }

    pub fn sum(self) -> f64 {
        self.user + self.system
    }
}

/// User and system time that a process has taken, its ended threads included.
///
/// # Errors
/// When there is no such process.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    CpuTime::of(pid).map(CpuTime::sum)
}

/// Memory of a process in bytes, where a page that several processes have counts in parts.
///
/// # Errors
/// When there is no such process.
pub fn proportional_memory(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    let kib: u64 = line.trim().strip_suffix(" kB").context("Pss without a unit")?.parse()?;
    Ok(kib << 10)
}

/// What a [`Sampler`] saw.
#[derive(Debug, Clone, Default)]
pub struct Peaks {
    pub peak: Memory,
    /// The last look before the end.
    pub last: Memory,
    pub looks: usize,
}

/// Looks at the memory of a process every 50 ms.
pub struct Sampler {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<Peaks>>,
}

impl Sampler {
    pub fn start(pid: u32) -> Self {
        let stop: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let signal = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut peaks = Peaks::default();
            let mut stopped = signal.0.lock().expect("no panic under the lock");
            loop {
                let done = *stopped;
                if let Ok(memory) = Memory::of(pid) {
                    peaks = Peaks { peak: peaks.peak.max(memory), last: memory, looks: peaks.looks + 1 };
                }
                if done {
                    return peaks;
                }
                stopped = signal.1.wait_timeout(stopped, PERIOD).expect("no panic under the lock").0;
            }
        });
        Self { stop, thread: Some(thread) }
    }

    /// Takes a last look and tells what was seen.
    pub fn finish(mut self) -> Peaks {
        self.end().unwrap_or_default()
    }

    fn end(&mut self) -> Option<Peaks> {
        *self.stop.0.lock().expect("no panic under the lock") = true;
        self.stop.1.notify_all();
        self.thread.take()?.join().ok()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_and_time_are_read() {
        let pid = std::process::id();
        let sampler = Sampler::start(pid);
        let block = vec![1u8; 32 << 20];
        assert!(block.iter().map(|byte| u64::from(*byte)).sum::<u64>() > 0);
        let peaks = sampler.finish();
        assert!(peaks.looks > 0);
        assert!(peaks.peak.rss >= 32 << 20, "{peaks:?}");
        assert!(peaks.peak.high >= peaks.peak.rss);
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        assert!(proportional_memory(pid).unwrap() > 0);
        assert!(Memory::of(u32::MAX).is_err());
    }
}
