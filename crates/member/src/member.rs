//! Starts a member from its disk, and stops it.

use std::{
    any::Any,
    cell::RefCell,
    io,
    path::PathBuf,
    rc::Rc,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use tidegate_api::pb::etcdserverpb::Member as MemberMessage;
use tidegate_base::{Budget, Holder, LogIndex, clock};
use tidegate_engine::Engine;
use tidegate_http::{grpc::Service, io as io_threads};
use tidegate_kv::Reader;
use tidegate_raftlog::{Disk, RealDisk};

use crate::{
    config::Config,
    data_dir::{DataDir, DataDirError},
    endpoints::Endpoints,
    local::{Local, guarded},
    mailbox::Inbox,
    memory::MemoryReport,
    parts::{Boot, Parts},
    shared::Shared,
    threads::{ApplyJob, LogJob, Logger, RaftInput, Work, panicked},
};

const WORK_THREADS: usize = 2;
/// Longest wait for the first leader and the first applied entries at start.
const READY_WITHIN: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] tidegate_kv::OpenError),
    #[error("the log and the store do not fit together: {0}")]
    Raft(#[from] tidegate_raft::StartError),
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
        let log_dir = data_dir.log();
        std::fs::create_dir_all(&log_dir)
            .map_err(|error| StartError::Io { action: "create the log's directory", error })?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let boot = Boot {
            voters: vec![config.member_id],
            election_range: config.election_ticks..2 * config.election_ticks,
            seed: random()?,
            log: tidegate_raftlog::Config::new(random()?),
            machine: tidegate_kv::Config {
                heads_bytes: usize::try_from(budget.limits().floor(Holder::Heads)).unwrap_or(usize::MAX),
                ..tidegate_kv::Config::default()
            },
            sweep_rows: Boot::SWEEP_ROWS,
        };
        let work = Work::idle(WORK_THREADS);
        let parts = Parts::open(config, &boot, budget, (&disk, &log_dir), engine, (io.count(), work.clone()))?;
        data_dir.sync()?;
        let work_threads = work.begin(WORK_THREADS);
        let Parts { shared, driver, logger, applier, log_jobs, apply_jobs, leases, .. } = parts;
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

        let epoch = clock::now();
        let logger = Arc::new(Mutex::new(logger));
        let threads = vec![
            thread("raft", {
                let logger = Arc::clone(&logger);
                move || driver.run(leases, epoch, &logger)
            })?,
            thread("apply", move || applier.run(epoch))?,
            thread("log", move || Logger::run(logger))?,
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

    /// Whether this member leads, as it was known a moment ago.
    pub fn leads(&self) -> bool {
        self.shared.consensus.leads()
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
