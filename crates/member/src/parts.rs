//! A member that is opened and does not run yet: what its threads will own.

use std::{collections::VecDeque, io, ops::Range, path::Path, sync::Arc};

use tidegate_base::{Budget, Holder};
use tidegate_engine::Engine;
use tidegate_kv::Machine;
use tidegate_raft::{HardState, LogView, TermRun};
use tidegate_raftlog::{Disk, Expect, Log, LogReader, TailCache};

use crate::{
    config::Config,
    core,
    mailbox::Inbox,
    member::StartError,
    shared::Shared,
    threads::{Applier, ApplyJob, Driver, LogJob, Logger, RaftInput, Work},
    ticket::Notice,
};

/// Evictable part of the log's tail cache: for peers, of which there are none yet.
const TAIL_EVICTABLE: u64 = 1 << 20;

/// What a member is besides its settings.
#[derive(Debug, Clone)]
pub struct Boot {
    /// Ids of all voters, this member's among them.
    pub voters: Vec<u64>,
    /// Ticks of an election timeout, drawn anew each time.
    pub election_range: Range<usize>,
    /// Where the ids of requests and leases begin.
    pub seed: u64,
    pub log: tidegate_raftlog::Config,
    pub machine: tidegate_kv::Config,
    /// Events that a step of the sweep looks at.
    pub sweep_rows: usize,
}

impl Boot {
    /// What [`Boot::sweep_rows`] should be: a step is a few milliseconds.
    pub const SWEEP_ROWS: usize = 500;
}

pub(crate) struct Parts<E: Engine> {
    pub(crate) shared: Arc<Shared<E>>,
    pub(crate) driver: Driver<E>,
    pub(crate) logger: Logger<E>,
    pub(crate) applier: Applier<E>,
    pub(crate) log_jobs: Arc<Inbox<LogJob>>,
    pub(crate) apply_jobs: Arc<Inbox<ApplyJob>>,
    pub(crate) log_reader: LogReader,
    /// Leases that the store holds, with their seconds.
    pub(crate) leases: Vec<(i64, u64)>,
}

impl<E: Engine> Parts<E> {
    /// Opens log and store, which must fit together.
    ///
    /// # Errors
    /// [`StartError`]: damage is named by file and offset, and nothing was changed.
    pub(crate) fn open(
        config: Config,
        boot: &Boot,
        budget: Budget,
        (disk, log_dir): (&Arc<dyn Disk>, &Path),
        engine: Arc<E>,
        (io_threads, work): (usize, Work),
    ) -> Result<Self, StartError> {
        let machine = Machine::open(engine, boot.machine)?;
        let tail = Arc::new(TailCache::new(TAIL_EVICTABLE));
        let applied = machine.applied();
        let needed = machine.pending().unwrap_or(applied.index).max(applied.index);
        let expect = Expect { applied: applied.index, last_least: needed };
        let (log, log_reader, recovered) = Log::open(disk, log_dir, boot.log, expect, &tail)
            .map_err(|error| StartError::Log { dir: log_dir.to_owned(), error })?;
        if let Some(cut) = &recovered.cut {
            tracing::warn!(file = %cut.file, offset = cut.offset, "the log's torn tail was cut: it was never acknowledged");
        }
        let runs = recovered.runs.iter().map(|run| TermRun { first: run.first, term: run.term }).collect();
        let view = LogView::new(recovered.base, recovered.last.index, runs);
        let hard_state = HardState {
            term: recovered.hard_state.term,
            vote: recovered.hard_state.vote,
            commit: recovered.hard_state.commit.max(needed),
        };
        let core_config = core::Config {
            raft: tidegate_raft::Config {
                id: config.member_id,
                voters: boot.voters.clone(),
                heartbeat_ticks: 1,
                election_ticks: config.election_ticks,
                election_range: boot.election_range.clone(),
                inflight_messages: 256,
            },
            tick: u64::try_from(config.heartbeat.as_millis()).unwrap_or(100).max(1),
        };
        let core = core::Core::new(core_config, view, hard_state, applied.index, 0)?;
        let mut leases = Vec::new();
        machine.reader().each_lease(|id, ttl| leases.push((id, u64::try_from(ttl).unwrap_or(0)))).map_err(|error| {
            StartError::Io { action: "read the leases", error: io::Error::other(error.to_string()) }
        })?;
        let shared = Shared::new(config, budget, machine.reader(), io_threads, work, boot.seed);
        // Weak: the hooks stand in the budget, which `shared` holds.
        let hook = Arc::downgrade(&shared);
        shared.budget.on_room(Holder::Log, move || {
            if let Some(shared) = hook.upgrade() {
                shared.raft.push(RaftInput::Room);
            }
        });
        let hook = Arc::downgrade(&shared);
        shared.budget.on_room(Holder::Watches, move || {
            if let Some(shared) = hook.upgrade() {
                shared.mailboxes.iter().for_each(|mailbox| mailbox.push(Notice::WatchRoom));
            }
        });
        let (log_jobs, apply_jobs) = (Arc::new(Inbox::new()), Arc::new(Inbox::new()));
        let logger = Logger {
            shared: Arc::clone(&shared),
            log,
            reader: log_reader.clone(),
            tail: Arc::clone(&tail),
            inbox: Arc::clone(&log_jobs),
            marks: VecDeque::new(),
            appended: 0,
            jobs: Vec::new(),
        };
        let applier = Applier::new(
            Arc::clone(&shared),
            machine,
            log_reader.clone(),
            Arc::clone(&tail),
            Arc::clone(&apply_jobs),
            Arc::clone(&log_jobs),
            boot.sweep_rows,
        );
        let driver = Driver {
            shared: Arc::clone(&shared),
            core,
            tail,
            log: Arc::clone(&log_jobs),
            apply: Arc::clone(&apply_jobs),
            waiting: VecDeque::new(),
            revocations: 0,
            origins: VecDeque::new(),
            replies: shared.mailboxes.iter().map(|_| Vec::new()).collect(),
            held: VecDeque::new(),
            outgoing: Vec::new(),
            stop_by: None,
            writes: false,
            deadlines: shared.budget.empty(Holder::Leases),
        };
        Ok(Self { shared, driver, logger, applier, log_jobs, apply_jobs, log_reader, leases })
    }
}
