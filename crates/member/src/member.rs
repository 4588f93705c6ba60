//! Starts a member from its disk, and stops it.

use std::{
    any::Any, cell::RefCell, collections::VecDeque, io, path::PathBuf, rc::Rc, sync::Arc, thread::JoinHandle,
    time::Duration,
};

use tidegate_api::pb::etcdserverpb::Member as MemberMessage;
use tidegate_base::{Budget, Holder, LogIndex, LogPosition, clock};
use tidegate_engine::Engine;
use tidegate_http::{grpc::Service, io as io_threads};
use tidegate_kv::{Machine, Reader};
use tidegate_raft::{HardState, LogView, TermRun};
use tidegate_raftlog::{Disk, Expect, Log, RealDisk, TailCache};

use crate::{
    config::Config,
    core,
    data_dir::{DataDir, DataDirError},
    endpoints::Endpoints,
    local::{Local, guarded},
    mailbox::Inbox,
    memory::MemoryReport,
    shared::Shared,
    threads::{Applier, ApplyJob, Driver, LogJob, Logger, RaftInput, Work, panicked, start_core},
    ticket::Notice,
};

/// Evictable part of the log's tail cache: for peers, of which there are none yet.
const TAIL_EVICTABLE: u64 = 1 << 20;
/// Longest wait for the first leader and the first applied entries at start.
const READY_WITHIN: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] tidegate_kv::OpenError),
    #[error("{}: {error}", dir.display())]
    Log { dir: PathBuf, error: tidegate_raftlog::OpenError },
    #[error("{action}: {error}")]
    Io { action: &'static str, error: io::Error },
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("{0}")]
    Spawn(#[from] io_threads::SpawnError),
}

thread_local! {
    /// The member on this I/O thread.
    static LOCAL: RefCell<Option<Rc<dyn Any>>> = const { RefCell::new(None) };
}

/// A running member.
pub struct Member<E: Engine> {
    shared: Arc<Shared<E>>,
    log: Arc<Inbox<LogJob>>,
    apply: Arc<Inbox<ApplyJob>>,
    threads: Vec<JoinHandle<()>>,
    work: Vec<JoinHandle<()>>,
    _data_dir: DataDir,
}

impl<E: Engine> Member<E> {
    /// Opens log and store, which must fit together, and starts the threads. Returns before the member has a leader: see
    /// [`Handle::ready`].
    ///
    /// # Errors
    /// [`StartError`]: damage is named by file and offset, and nothing was changed.
    pub fn start(
        config: Config,
        budget: Budget,
        data_dir: DataDir,
        engine: Arc<E>,
        io: &io_threads::Handle,
    ) -> Result<(Self, Handle<E>), StartError> {
        let machine = Machine::open(Arc::clone(&engine), tidegate_kv::Config::default())?;
        let log_dir = data_dir.log();
        std::fs::create_dir_all(&log_dir)
            .map_err(|error| StartError::Io { action: "create the log's directory", error })?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let tail = Arc::new(TailCache::new(TAIL_EVICTABLE));
        let applied = machine.applied();
        let needed = machine.pending().unwrap_or(applied.index).max(applied.index);
        let expect = Expect { applied: applied.index, last_least: needed };
        let seed = random()?;
        let (log, log_reader, recovered) =
            Log::open(&disk, &log_dir, tidegate_raftlog::Config::new(random()?), expect, &tail)
                .map_err(|error| StartError::Log { dir: log_dir.clone(), error })?;
        data_dir.sync()?;
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
                voters: vec![config.member_id],
                heartbeat_ticks: 1,
                election_ticks: config.election_ticks,
                election_range: config.election_ticks..2 * config.election_ticks,
                inflight_messages: 256,
            },
            tick: u64::try_from(config.heartbeat.as_millis()).unwrap_or(100).max(1),
        };
        let core = start_core(core_config, view, hard_state, applied.index);

        let mut leases = Vec::new();
        machine.reader().each_lease(|id, ttl| leases.push((id, u64::try_from(ttl).unwrap_or(0)))).map_err(|error| {
            StartError::Io { action: "read the leases", error: io::Error::other(error.to_string()) }
        })?;
        let (work, work_threads) = Work::start(2);
        let shared = Shared::new(config, budget, machine.reader(), io.count(), work, seed);
        let hook = Arc::clone(&shared);
        shared.budget.on_room(Holder::Log, move || hook.raft.push(RaftInput::Room));
        let hook = Arc::clone(&shared);
        shared.budget.on_room(Holder::Watches, move || {
            hook.mailboxes.iter().for_each(|mailbox| mailbox.push(Notice::WatchRoom));
        });
        for thread in 0..io.count() {
            let shared = Arc::clone(&shared);
            let index = u32::try_from(thread).expect("there are few threads");
            io.spawn(thread, move || async move {
                let local = Local::new(shared, index);
                LOCAL.set(Some(local.clone() as Rc<dyn Any>));
                tokio::task::spawn_local(guarded(Rc::clone(&local).tick()));
                guarded(local.run()).await;
            })?;
        }

        let (log_jobs, apply_jobs) = (Arc::new(Inbox::new()), Arc::new(Inbox::new()));
        let logger = Logger {
            shared: Arc::clone(&shared),
            log,
            reader: log_reader.clone(),
            tail: Arc::clone(&tail),
            inbox: Arc::clone(&log_jobs),
            marks: VecDeque::new(),
            appended: 0,
        };
        let applier = Applier::new(
            Arc::clone(&shared),
            machine,
            log_reader,
            Arc::clone(&tail),
            Arc::clone(&apply_jobs),
            Arc::clone(&log_jobs),
        );
        let driver = Driver {
            shared: Arc::clone(&shared),
            core,
            tail,
            log: Arc::clone(&log_jobs),
            apply: Arc::clone(&apply_jobs),
            epoch: clock::now(),
            waiting: VecDeque::new(),
            revocations: 0,
            origins: VecDeque::<(LogPosition, _)>::new(),
            replies: shared.mailboxes.iter().map(|_| Vec::new()).collect(),
            deadlines: shared.budget.empty(tidegate_base::Holder::Leases),
        };
        let threads = vec![
            thread("raft", move || driver.run(leases))?,
            thread("apply", move || applier.run())?,
            thread("log", move || logger.run())?,
        ];
        let handle = Handle { shared: Arc::clone(&shared), io: io.clone() };
        let member =
            Self { shared, log: log_jobs, apply: apply_jobs, threads, work: work_threads, _data_dir: data_dir };
        Ok((member, handle))
    }

    /// From now on nothing new is taken and streams end, while calls in flight get their answers.
    pub fn refuse(&self) {
        self.shared.stop();
    }

    /// Stops in order: what is accepted is finished, what is applied is flushed. Blocks.
    pub fn stop(self) {
        self.shared.stop();
        self.shared.raft.push(RaftInput::Stop);
        let mut threads = self.threads.into_iter();
        join(threads.next());
        self.apply.push(ApplyJob::Stop);
        join(threads.next());
        self.log.push(LogJob::Stop);
        join(threads.next());
        self.shared.work.stop();
        self.work.into_iter().for_each(|thread| join(Some(thread)));
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread
        && thread.join().is_err()
    {
        tracing::error!("a thread of the member ended by a panic");
    }
}

/// A thread whose panic ends the process: half a member is worse than none.
fn thread(name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let guarded = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            panicked(&format!("the {name} thread"));
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
        .map_err(|error| StartError::Io { action: "start a thread", error })
}

fn random() -> Result<u64, StartError> {
    getrandom::u64().map_err(StartError::Random)
}

/// Reaches a member from anywhere in its process. Cheap to clone.
pub struct Handle<E: Engine> {
    pub(crate) shared: Arc<Shared<E>>,
    pub(crate) io: io_threads::Handle,
}

impl<E: Engine> Clone for Handle<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), io: self.io.clone() }
    }
}

impl<E: Engine> Handle<E> {
    /// The gRPC services, for the I/O thread that this is called on.
    ///
    /// # Panics
    /// On a thread that is no I/O thread of the member's.
    pub fn grpc(&self) -> Rc<dyn Service> {
        local::<E>()
    }

    /// `/health`, `/version`, `/metrics` and the like, for the I/O thread that this is called on.
    ///
    /// # Panics
    /// As [`Handle::grpc`].
    pub fn endpoints(&self) -> Endpoints<E> {
        Endpoints::new(local::<E>())
    }

    pub fn reader(&self) -> &Reader<E> {
        &self.shared.reader
    }

    pub fn memory(&self) -> MemoryReport {
        self.shared.memory()
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        crate::metrics::text(&self.shared)
    }

    /// Waits until the member leads, has applied what its log holds, and has published its name and URLs. On an I/O thread.
    ///
    /// # Errors
    /// The text of what went wrong.
    pub async fn ready(&self) -> Result<(), String> {
        let local = local::<E>();
        let patience = tokio::time::timeout(READY_WITHIN, async {
            while !self.shared.consensus.reads_alone() || self.shared.reader.applied() < self.shared.consensus.commit()
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        patience.await.map_err(|_| "no leader, or the log could not be applied in time".to_owned())?;
        let config = &self.shared.config;
        let reader = self.shared.reader.clone();
        let id = config.member_id;
        let members = self.shared.work.run(crate::threads::Lane::Read, move || reader.members()).await;
        let members = members.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let stored = members.into_iter().find(|member| member.id == id);
        let own = MemberMessage {
            id,
            name: config.name.clone(),
            // Only a change of the membership moves a member to other peer URLs.
            peer_urls: stored.as_ref().map_or_else(|| config.peer_urls.clone(), |stored| stored.peer_urls.clone()),
            client_urls: config.client_urls.clone(),
            is_learner: false,
        };
        if stored.as_ref() != Some(&own) {
            let message = prost::Message::encode_to_vec(&own).into();
            let outcome = local.propose(tidegate_kv::Command::Member, message, None).await;
            outcome.map_err(|error| error.to_string())?.result.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The last applied entry.
    pub fn applied(&self) -> LogIndex {
        self.shared.reader.applied()
    }
}

pub(crate) fn local<E: Engine>() -> Rc<Local<E>> {
    let local = LOCAL.with_borrow(Clone::clone).expect("an I/O thread of a member");
    local.downcast().unwrap_or_else(|_| panic!("the member of another engine"))
}
