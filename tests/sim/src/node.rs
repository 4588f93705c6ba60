//! One member's machine: its disk, its engine's files, its clock, and the process while it runs.

use std::{path::Path, sync::Arc, time::Duration};

use rand::{Rng, rngs::SmallRng};
use tidegate_base::{Budget, ByteSize, Limits, LogIndex, Profile};
use tidegate_engine::MapEngine;
use tidegate_member::{Boot, Config, Stepped};
use tidegate_raftlog::{Disk, sim::SimDisk};

use crate::plan::Plan;

/// The threads of a member, and what else of it wakes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Raft,
    Log,
    Apply,
    Io,
    Read,
    Tick,
}

impl Part {
    pub(crate) const ALL: [Self; 6] = [Self::Raft, Self::Log, Self::Apply, Self::Io, Self::Read, Self::Tick];
}

pub(crate) struct Node {
    pub(crate) id: u64,
    disk: SimDisk,
    pub(crate) engine: Arc<MapEngine>,
    pub(crate) process: Option<Stepped<MapEngine>>,
    /// Counts the starts of the process.
    pub(crate) life: u32,
    started: u64,
    /// Milliseconds by which the clock went forward by itself.
    ahead: u64,
    pub(crate) paused_until: u64,
    pub(crate) slow_disk_until: u64,
    pub(crate) slow_apply_until: u64,
    /// Up to here the oracle has seen what this process applied.
    pub(crate) checked: LogIndex,
    /// When each part has its next turn.
    pub(crate) due: [Option<u64>; Part::ALL.len()],
    /// When apply is due without a job.
    pub(crate) apply_again: u64,
    pub(crate) role_term: u64,
}

impl Node {
    pub(crate) fn new(id: u64, rng: &mut SmallRng) -> Self {
        Self {
            id,
            disk: SimDisk::new(rng.random()),
            engine: Arc::new(MapEngine::new()),
            process: None,
            life: 0,
            started: 0,
            ahead: 0,
            paused_until: 0,
            slow_disk_until: 0,
            slow_apply_until: 0,
            checked: LogIndex(0),
            due: Default::default(),
            apply_again: 0,
            role_term: 0,
        }
    }

    pub(crate) fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Starts the process. It may fail to begin a log on a disk that fails: then it ended again.
    pub(crate) fn start(&mut self, plan: &Plan, rng: &mut SmallRng, now: u64) {
        assert!(self.process.is_none(), "one process a machine");
        let limits = Limits::new(ByteSize::mib(256), Profile::Store).expect("the default budget");
        let config = Config {
            name: format!("member-{}", self.id),
            data_dir: "/data".into(),
            member_id: self.id,
            cluster_id: 1,
            peer_urls: Vec::new(),
            client_urls: Vec::new(),
            heartbeat: Duration::from_millis(100),
            election_ticks: 10,
            request_bytes_max: 1 << 20,
            txn_ops_max: 128,
            quota_bytes: 1 << 30,
            progress_every: Duration::from_secs(3),
            log_retention: ByteSize(plan.retention),
            pin_max: Config::PIN_MAX,
            limits,
            allocator: None,
        };
        let ticks = 10 + 3 * usize::try_from(self.id).expect("a small number");
        let boot = Boot {
            voters: (1..=plan.members as u64).collect(),
            // One value: the core draws from it with a source of its own.
            election_range: ticks..ticks + 1,
            seed: rng.random(),
            log: tidegate_raftlog::Config { segment_bytes: 32 << 10, salt: rng.random() },
            machine: tidegate_kv::Config {
                batch_bytes: plan.batch_bytes,
                live_bytes_max: plan.live_bytes,
                heads_bytes: plan.heads_bytes,
            },
            sweep_rows: plan.sweep_rows,
        };
        self.engine.flush_above(plan.flush_above);
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let engine = Arc::clone(&self.engine);
        let opened = Stepped::open(config, &boot, Budget::new(limits), &disk, Path::new("/log"), engine);
        let process = opened.unwrap_or_else(|error| panic!("member {} does not start: {error}", self.id));
        self.checked = process.applied();
        self.process = Some(process);
        self.life += 1;
        self.role_term = 0;
        (self.started, self.ahead, self.apply_again) = (now, 0, now);
        self.due = Default::default();
    }

    /// The process is gone. `power`: so is what the disk had not synced. What clients hold of it must be gone before.
    pub(crate) fn crash(&mut self, power: bool, rng: &mut SmallRng) {
        let Some(process) = self.process.take() else { return };
        let budget = process.budget().clone();
        drop(process);
        for usage in budget.usage() {
            assert_eq!(usage.used, 0, "a lease of {:?} outlives the member", usage.holder);
        }
        self.disk = if power { self.disk.crash(rng.random()) } else { self.disk.copy() };
        let kept = rng.random_range(0..=self.engine.unflushed_batches());
        self.engine.crash_keeping(kept);
    }

    /// The member's own clock.
    pub(crate) fn clock(&self, now: u64) -> u64 {
        now - self.started + self.ahead
    }

    pub(crate) fn jump(&mut self, by: u64) {
        self.ahead += by;
    }

    /// When the member's clock shows `at`.
    pub(crate) fn when(&self, at: u64) -> u64 {
        (at + self.started).saturating_sub(self.ahead)
    }
}
