//! The `apply` thread: the only writer of the engine.

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError,
        atomic::{Ordering, fence},
    },
    time::{Duration, Instant},
};

use tidegate_api::Error;
use tidegate_base::{Holder, Lease, LogIndex, LogPosition, clock};
use tidegate_engine::Engine;
use tidegate_kv::{LeaseChange, Machine, Outcome, Step, Sweep, watch::RevisionEvents};
use tidegate_raftlog::{LogReader, TailCache};

use super::{Fatal, LogJob, RaftInput, Turn, fail, millis_since};
use crate::{
    core::{LeaseEvent, Millis},
    mailbox::Inbox,
    shared::Shared,
    ticket::{Notice, Reply, Ticket},
};

/// Entries read from the log at once.
const READ_BYTES: usize = 1 << 20;
/// Batch, overlay and outcomes together: with more, the batch ends.
const OPEN_BYTES_MAX: usize = 6 << 20;
/// A flush begins when so many bytes of log would have to be replayed.
const FLUSH_EVERY: u64 = 64 << 20;
/// Bytes written between two looks at the engine's unflushed memtables.
const PRESSURE_EVERY: u64 = 1 << 20;
/// A wait for memtables asks for the flush again after so many milliseconds.
const FLUSH_AGAIN_MS: u32 = 100;
const MAINTAIN_EVERY: Millis = 2000;
/// How long a sweep waits for a pin before it looks again.
const PINNED_PAUSE: Millis = 100;
/// What it is when a flush fails.
const FLUSH: &str = "the engine cannot be flushed";

pub(crate) enum ApplyJob {
    /// Entries up to `up_to` are committed; some have somebody who waits.
    Apply {
        up_to: LogIndex,
        origins: Vec<(LogPosition, Ticket)>,
    },
    Stop,
}

pub(crate) struct Applier<E: Engine> {
    shared: Arc<Shared<E>>,
    machine: Machine<E>,
    log: LogReader,
    tail: Arc<TailCache>,
    inbox: Arc<Inbox<ApplyJob>>,
    log_jobs: Arc<Inbox<LogJob>>,
    origins: VecDeque<(LogPosition, Ticket)>,
    /// Outcomes of entries that are not committed yet, and the bytes that they hold.
    outcomes: Vec<(Option<Ticket>, Box<Outcome>)>,
    outcome_bytes: usize,
    notices: Vec<Vec<Notice>>,
    /// Stands for the open batch and the entries that were read for it. Apply is never refused: who waits for it holds bytes
    /// that only it can give back.
    held: Lease,
    /// Stands for the newest versions that are kept.
    heads: Lease,
    unflushed_log: u64,
    /// What [`Machine::written`] was when the memtables were last looked at.
    looked_at: u64,
    flushed: LogIndex,
    sweeping: bool,
    sweep_rows: usize,
    maintained: Millis,
    pub(crate) pause: Millis,
}

impl<E: Engine> Applier<E> {
    pub(crate) fn new(
        shared: Arc<Shared<E>>,
        machine: Machine<E>,
        log: LogReader,
        tail: Arc<TailCache>,
        inbox: Arc<Inbox<ApplyJob>>,
        log_jobs: Arc<Inbox<LogJob>>,
        sweep_rows: usize,
    ) -> Self {
        let notices = shared.mailboxes.iter().map(|_| Vec::new()).collect();
        let held = shared.budget.empty(Holder::Apply);
        let heads = shared.budget.empty(Holder::Heads);
        Self {
            shared,
            machine,
            log,
            tail,
            inbox,
            log_jobs,
            origins: VecDeque::new(),
            outcomes: Vec::new(),
            outcome_bytes: 0,
            notices,
            held,
            heads,
            unflushed_log: 0,
            looked_at: 0,
            flushed: LogIndex(0),
            sweeping: true,
            sweep_rows,
            maintained: 0,
            pause: 0,
        }
    }

    /// Runs until told to stop. `epoch`: where the member's clock begins.
    pub(crate) fn run(mut self, epoch: Instant) {
        let mut jobs = Vec::new();
        let mut pause = 0;
        loop {
            self.inbox.take(&mut jobs, Duration::from_millis(pause));
            match self.turn(&mut jobs, millis_since(epoch)) {
                Ok(Turn::GoOn) => pause = self.pause,
                Ok(Turn::Stopped) => return,
                Err(fatal) => fail(&fatal),
            }
        }
    }

    /// Applies what `jobs` name, then one step of the sweep. Afterwards the next turn is due when there are jobs, or after
    /// [`Applier::pause`] milliseconds.
    ///
    /// # Errors
    /// [`Fatal`]: what is told already is true, and no more may be told.
    pub(crate) fn turn(&mut self, jobs: &mut Vec<ApplyJob>, now: Millis) -> Result<Turn, Fatal> {
        let (mut up_to, mut stop) = (LogIndex(0), false);
        for job in jobs.drain(..) {
            match job {
                ApplyJob::Apply { up_to: index, origins } => {
                    up_to = index;
                    self.origins.extend(origins);
                }
                ApplyJob::Stop => stop = true,
            }
        }
        if up_to > self.machine.applied().index {
            self.apply_through(up_to)?;
        }
        if stop {
            self.engine().flush(true).map_err(Fatal::of(FLUSH))?;
            return Ok(Turn::Stopped);
        }
        self.pause = self.sweep()?;
        self.maintain(now)?;
        Ok(Turn::GoOn)
    }

    fn apply_through(&mut self, up_to: LogIndex) -> Result<(), Fatal> {
        // A member that stops finishes what somebody waits for; what it was about to apply again it will at its next start.
        while self.machine.applied().index < up_to && !(self.origins.is_empty() && self.shared.is_stopping()) {
            self.machine.want_events(self.shared.watches.load(Ordering::SeqCst) > 0);
            let from = self.machine.applied().index.next();
            let entries =
                self.log.read_range(from, READ_BYTES).map_err(Fatal::of("a committed entry cannot be read"))?;
            let read: usize = entries.iter().map(|entry| entry.payload.len()).sum();
            for entry in entries {
                if entry.position.index > up_to {
                    break;
                }
                self.unflushed_log += entry.payload.len() as u64;
                let mut step = self.machine.apply(entry.position, &entry.payload);
                let outcome = loop {
                    match step.map_err(Fatal::of("an entry cannot be applied"))? {
                        Step::Done(outcome) => break outcome,
                        Step::More => {
                            self.held.force_to((read + self.machine.open_bytes()) as u64);
                            self.commit()?;
                            self.wait_for_flush()?;
                            step = self.machine.resume();
                        }
                    }
                };
                let origin = self.origin_of(entry.position);
                if origin.is_some() || outcome.concerns_others() {
                    self.outcome_bytes += outcome.bytes();
                    self.outcomes.push((origin, outcome));
                }
                let open = self.machine.open_bytes() + self.outcome_bytes;
                self.held.force_to((read + open) as u64);
                if self.machine.batch_is_full() || open >= OPEN_BYTES_MAX {
                    self.finish()?;
                }
            }
        }
        self.finish()
    }

    /// Who waits for the entry at `position`. One who proposed another entry for that index hears that it is lost.
    fn origin_of(&mut self, position: LogPosition) -> Option<Ticket> {
        let (at, ticket) = *self.origins.front().filter(|(at, _)| at.index <= position.index)?;
        self.origins.pop_front();
        if at == position {
            return Some(ticket);
        }
        self.notices[ticket.thread as usize].push(Notice::Reply(ticket, Reply::Rejected(Error::LeaderChanged)));
        None
    }

    fn commit(&mut self) -> Result<(), Fatal> {
        let begin = clock::now();
        self.machine.commit().map_err(Fatal::of("the store cannot be written"))?;
        self.shared.counts.commits.observe(clock::now().saturating_duration_since(begin));
        Ok(())
    }

    /// Commits what is open and tells everybody: watchers first, then who waits.
    fn finish(&mut self) -> Result<(), Fatal> {
        if !self.machine.has_uncommitted() {
            return Ok(());
        }
        self.commit()?;
        // A watch counts itself and then reads the visible revision; here it is the other way round: one sees the other.
        fence(Ordering::SeqCst);
        let watched = self.shared.watches.load(Ordering::Relaxed) > 0;
        let applied = self.machine.applied().index;
        let mut leases = Vec::new();
        let mut untold = None;
        for (ticket, mut outcome) in self.outcomes.drain(..) {
            self.shared.counts.applied(&outcome);
            leases.extend(outcome.leases.drain(..).map(|change| match change {
                LeaseChange::Granted { id, ttl_seconds } => {
                    LeaseEvent::Granted { id, ttl_seconds: u64::try_from(ttl_seconds).unwrap_or(0) }
                }
                LeaseChange::Revoked { id } => LeaseEvent::Revoked { id },
            }));
            if outcome.changed {
                match outcome.events.take() {
                    Some(events) => {
                        let events = events.publish(&self.shared.budget);
                        for notices in &mut self.notices {
                            notices.push(Notice::Events(Arc::clone(&events)));
                        }
                        untold = None;
                    }
                    None => untold = Some(outcome.revision),
                }
            }
            if let Some(revision) = outcome.compacted {
                self.sweeping = true;
                tell_unknown(&mut self.notices, untold.take().filter(|_| watched));
                for notices in &mut self.notices {
                    notices.push(Notice::Compacted(revision));
                }
            }
            if let Some(ticket) = ticket {
                self.notices[ticket.thread as usize].push(Notice::Reply(ticket, Reply::Applied(outcome)));
            }
        }
        self.outcome_bytes = 0;
        // A watch that was made since the events were not wanted must hear that something happened.
        tell_unknown(&mut self.notices, untold.filter(|_| watched));
        {
            let mut costs = self.shared.costs.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, bytes) in self.machine.take_costs() {
                costs.add(&key, bytes);
            }
        }
        self.held.force_to(self.machine.open_bytes() as u64);
        self.heads.force_to(self.shared.reader.heads_bytes());
        self.tail.release_through(applied);
        // Nothing waits for it where reads need no round: it goes with what comes next, a tick at the latest.
        let can_wait = leases.is_empty() && self.shared.consensus.reads_alone();
        let input = RaftInput::Applied { index: applied, leases };
        if can_wait {
            self.shared.raft.leave(input)
        } else {
            self.shared.raft.push(input)
        }
        for (mailbox, notices) in self.shared.mailboxes.iter().zip(&mut self.notices) {
            mailbox.append(notices);
        }
        self.wait_for_flush()
    }

    /// Back-pressure: with too much unflushed, everything behind apply waits here, under its leases.
    fn wait_for_flush(&mut self) -> Result<(), Fatal> {
        if self.unflushed_log >= FLUSH_EVERY {
            self.unflushed_log = 0;
            self.flush()?;
        }
        let written = self.machine.written();
        if written - self.looked_at < PRESSURE_EVERY {
            return Ok(());
        }
        self.looked_at = written;
        let mut waited = 0u32;
        while self.engine().unflushed() > self.engine().unflushed_limit() {
            // Asked again: a flush that was under way already does not take what was written since it began. And one that
            // failed never ends, which only the engine's own account tells.
            if waited.is_multiple_of(FLUSH_AGAIN_MS) {
                self.flush()?;
                self.check_engine()?;
            }
            waited = waited.wrapping_add(1);
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Ok(())
    }

    fn engine(&self) -> &E {
        self.shared.reader.engine()
    }

    fn check_engine(&self) -> Result<(), Fatal> {
        self.engine().maintain().map_err(Fatal::of("the engine failed in the background"))
    }

    fn flush(&self) -> Result<(), Fatal> {
        self.engine().flush(false).map_err(Fatal::of(FLUSH))
    }

    /// One step of the sweep, and how long the thread may wait for work afterwards.
    fn sweep(&mut self) -> Result<Millis, Fatal> {
        if !self.sweeping {
            return Ok(MAINTAIN_EVERY);
        }
        match self.machine.sweep(self.sweep_rows).map_err(Fatal::of("history cannot be compacted"))? {
            Sweep::More => {
                self.wait_for_flush()?;
                Ok(0)
            }
            Sweep::Done(swept) => {
                self.shared.swept.send_replace(swept);
                let compacted = self.shared.reader.compacted();
                if swept < compacted {
                    return Ok(PINNED_PAUSE);
                }
                self.sweeping = false;
                if compacted > 0 {
                    tracing::info!(compact_revision = compacted, "finished scheduled compaction");
                }
                Ok(MAINTAIN_EVERY)
            }
        }
    }

    fn maintain(&mut self, now: Millis) -> Result<(), Fatal> {
        if now < self.maintained + MAINTAIN_EVERY {
            return Ok(());
        }
        self.maintained = now;
        self.check_engine()?;
        let flushed = self.machine.flushed().map_err(Fatal::of("the store cannot be read"))?;
        if flushed > self.flushed {
            self.flushed = flushed;
            self.log_jobs.push(LogJob::Flushed { index: flushed });
        }
        Ok(())
    }
}

/// Tells every thread that `revision`, if there is one, happened: its watches go back to their cursors.
fn tell_unknown(threads: &mut [Vec<Notice>], revision: Option<i64>) {
    if let Some(revision) = revision {
        let unknown = Arc::new(RevisionEvents::unknown(revision));
        for notices in threads {
            notices.push(Notice::Events(Arc::clone(&unknown)));
        }
    }
}
