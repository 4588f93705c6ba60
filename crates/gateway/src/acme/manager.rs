//! The thread that orders certificates.

use std::{
    io,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use futures_util::FutureExt;
use tidegate_base::{Budget, Holder, clock};
use tidegate_pipeline::Follower;
use tokio::sync::watch;

use super::{
    AutoCert, Book, Settings,
    book::Told,
    order::{Desk, OrderError, within},
    rows,
    schedule::{Next, Schedule},
    store::Rows,
};

/// Longest sleep: whether this node leads is looked at as often, and what found no memory is asked for again.
const TICK: Duration = Duration::from_secs(60);
/// Longest order, from the account to the chain.
const ORDER_MAX: Duration = Duration::from_secs(300);
/// What an order holds: an answer of the authority and what is read of it, buffers, keys, and a copy of the chain.
const ORDER_BYTES: u64 = 1 << 20;
/// Until the thread has let go of former settings. It may be looking up a name.
const LET_GO_MAX: Duration = Duration::from_secs(5);

/// Starts its thread with the first settings; both live as long as the data plane.
pub(crate) struct Manager {
    auto_cert: Option<AutoCert>,
    book: Arc<Book>,
    budget: Budget,
    running: Option<watch::Sender<Work>>,
}

/// What the thread is to do, and whom to tell that it does.
#[derive(Clone, Default)]
struct Work {
    settings: Option<Arc<Settings>>,
    begun: Option<SyncSender<()>>,
}

impl Manager {
    pub(crate) fn new(auto_cert: Option<AutoCert>, book: Arc<Book>, budget: Budget) -> Self {
        Self { auto_cert, book, budget, running: None }
    }

    /// Has these settings followed from now on, or none. When it returns, no order of the ones before goes on; it waits for
    /// that, at most 5 s. Not for an I/O thread.
    ///
    /// # Errors
    /// When the node has no store, or the system no thread.
    pub(crate) fn set(&mut self, settings: Option<Settings>) -> io::Result<()> {
        let settings = settings.map(Arc::new);
        let Some(auto_cert) = &self.auto_cert else {
            return match settings {
                Some(_) => Err(io::Error::other("this node has no store to keep certificates in")),
                None => Ok(()),
            };
        };
        if self.running.is_none() && settings.is_none() {
            return Ok(());
        }
        self.book.set(settings.clone());
        let running = match &self.running {
            Some(running) => running,
            None => {
                let desk =
                    Thread { auto_cert: auto_cert.clone(), book: Arc::clone(&self.book), budget: self.budget.clone() };
                self.running.insert(desk.start()?)
            }
        };
        let (begun, told) = sync_channel(1);
        running.send_replace(Work { settings, begun: Some(begun) });
        if told.recv_timeout(LET_GO_MAX).is_err() {
            tracing::warn!("an order of certificates was not given up in time");
        }
        Ok(())
    }
}

struct Thread {
    auto_cert: AutoCert,
    book: Arc<Book>,
    budget: Budget,
}

impl Thread {
    fn start(self) -> io::Result<watch::Sender<Work>> {
        let (sender, work) = watch::channel(Work::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || runtime.block_on(self.run(work));
        thread::Builder::new().name("auto-cert".to_owned()).spawn(run)?;
        Ok(sender)
    }

    /// Ends with the sender.
    async fn run(self, mut work: watch::Receiver<Work>) {
        loop {
            let Work { settings, begun } = work.borrow_and_update().clone();
            if let Some(begun) = begun {
                // Who does not wait any more need not be told.
                begun.try_send(()).ok();
            }
            let follow = async {
                match settings {
                    Some(settings) => self.follow(&settings).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = work.changed() => if changed.is_err() { return },
                () = follow => {}
            }
        }
    }

    /// Never ends.
    async fn follow(&self, settings: &Settings) {
        let mut schedule = Schedule::default();
        loop {
            let feed = self.book.feed();
            let follower: Arc<dyn Follower> = feed;
            let _following = self.auto_cert.data.follow_below(rows::PREFIX, &follower);
            self.order(settings, &mut schedule).await;
            // Something found no memory: it is told again.
        }
    }

    /// Orders what is due, one after another, until the store is to tell of everything again.
    async fn order(&self, settings: &Settings, schedule: &mut Schedule) {
        let mut changes = self.book.changes();
        loop {
            let next = match self.book.told() {
                // What is there and found no memory must not be ordered again.
                Told::Partly | Told::Short => Next::Wait(TICK),
                Told::Whole if !(self.auto_cert.leads)() => Next::Wait(TICK),
                Told::Whole => {
                    let life = |domain: &str| self.book.life(domain);
                    schedule.next(&settings.domains, settings.renew_before, clock::now(), clock::wall(), life)
                }
            };
            match next {
                Next::Order { domain, failed } => self.one(settings, schedule, domain, failed).await,
                Next::Wait(wait) => {
                    // Woken by what the store tells, too, such as a certificate that the leader has got.
                    let woken = within(wait.min(TICK), changes.changed()).await.is_some();
                    if !woken && self.book.told() == Told::Short {
                        return;
                    }
                }
            }
        }
    }

    async fn one(&self, settings: &Settings, schedule: &mut Schedule, domain: &str, failed: u32) {
        let done = self.guarded(settings, domain, failed).await;
        // Without randomness there is no certificate either.
        let random = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
        match done {
            Ok(()) => {
                self.book.note(domain, None);
                let life = self.book.life(domain);
                let expires = life.map_or(0, |life| life.until.as_secs());
                tracing::info!(domain, expires, "a certificate was issued");
                let renewed_at = life.map(|life| life.renewed_at(settings.renew_before));
                if let Some(wait) = schedule.issued(domain, renewed_at, clock::now(), clock::wall(), random) {
                    tracing::warn!(domain, seconds = wait.as_secs(), "it is to be renewed already: not at once");
                }
            }
            Err(error) => {
                let wait = schedule.failed(domain, clock::now(), random);
                let error = short(&error.to_string());
                self.book.note(domain, Some(&error));
                tracing::warn!(
                    domain,
                    error,
                    seconds = wait.as_secs(),
                    "a certificate was not issued: it is tried again"
                );
            }
        }
    }

    /// An order within its time and its memory. A panic in it is a bug, and no reason to order nothing any more.
    async fn guarded(&self, settings: &Settings, domain: &str, failed: u32) -> Result<(), OrderError> {
        let _lease = self.budget.try_lease(Holder::Gateway, ORDER_BYTES).ok_or(OrderError::NoMemory)?;
        let rows = Rows(self.auto_cert.data.kv());
        let desk = Desk { settings, book: &self.book, rows };
        let work = AssertUnwindSafe(desk.order(domain, failed)).catch_unwind();
        match Box::pin(within(ORDER_MAX, work)).await {
            Some(Ok(done)) => done,
            Some(Err(_)) => Err(OrderError::Panicked),
            None => Err(OrderError::Timeout),
        }
    }
}

/// What an authority says may be long.
fn short(text: &str) -> String {
    text.chars().take(256).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
