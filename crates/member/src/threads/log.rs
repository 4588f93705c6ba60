//! The `log` thread: append, fdatasync, one for all that waits.
//!
//! The raft thread of a member that is alone makes these turns itself: it has nobody else to talk to while the disk works, and
//! two wake-ups a batch are saved. Jobs are taken under the lock, so that they keep their order whoever does them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tidegate_base::{
    LogIndex, LogPosition, clock,
    planted::{Fault, is_planted},
};
use tidegate_engine::Engine;
use tidegate_raftlog::{Entry, HardState, Log, LogError, LogReader, TailCache};

use super::{Fatal, RaftInput, Turn, fail};
use crate::{
    mailbox::{Inbox, lock},
    shared::Shared,
};

/// Distance of two marks by which retention in bytes finds an index.
const MARK_EVERY: u64 = 16 << 20;

pub(crate) enum LogJob {
    /// Makes durable these entries and the hard state, then says so with `number`.
    Append {
        number: u64,
        positions: Vec<LogPosition>,
        hard_state: Option<tidegate_raft::HardState>,
    },
    /// Entries up to here are in what the engine has made durable.
    Flushed {
        index: LogIndex,
    },
    Stop,
}

pub(crate) struct Logger<E: Engine> {
    pub(crate) shared: Arc<Shared<E>>,
    pub(crate) log: Log,
    pub(crate) reader: LogReader,
    pub(crate) tail: Arc<TailCache>,
    pub(crate) inbox: Arc<Inbox<LogJob>>,
    /// Index of the last entry, and bytes appended until then, every [`MARK_EVERY`].
    pub(crate) marks: VecDeque<(LogIndex, u64)>,
    pub(crate) appended: u64,
    pub(crate) jobs: Vec<LogJob>,
}

impl<E: Engine> Logger<E> {
    /// Runs until told to stop. Meanwhile who holds the lock may make a turn, too.
    pub(crate) fn run(logger: Arc<Mutex<Self>>) {
        let inbox = Arc::clone(&lock(&logger).inbox);
        loop {
            inbox.wait(Duration::from_secs(3600));
            let mut logger = lock(&logger);
            match logger.turn().and_then(|turn| logger.prepare().map(|()| turn)) {
                Ok(Turn::GoOn) => {}
                Ok(Turn::Stopped) => break,
                Err(fatal) => fail(&fatal),
            }
        }
        let logger = Arc::into_inner(logger).expect("the raft thread ends before");
        if let Err(fatal) = logger.into_inner().unwrap_or_else(PoisonError::into_inner).close() {
            fail(&fatal);
        }
    }

    /// # Errors
    /// [`Fatal`].
    pub(crate) fn close(self) -> Result<(), Fatal> {
        let broken = self.broken("closed");
        self.log.close().map_err(broken)
    }

    /// Does what is in the inbox, all with one fdatasync.
    ///
    /// # Errors
    /// [`Fatal`]: nothing that waits may be acknowledged.
    pub(crate) fn turn(&mut self) -> Result<Turn, Fatal> {
        let mut jobs = std::mem::take(&mut self.jobs);
        self.inbox.take(&mut jobs, Duration::ZERO);
        let mut persisted = None;
        let mut turn = Turn::GoOn;
        let mut group: Vec<Entry> = Vec::new();
        let mut group_state = None;
        for job in jobs.drain(..) {
            match job {
                LogJob::Append { number, positions, hard_state } => {
                    let follows = group.last().is_none_or(|last: &Entry| {
                        positions.first().is_none_or(|first| first.index == last.position.index.next())
                    });
                    if !follows {
                        self.append(&mut group, group_state.take())?;
                    }
                    let waiting = |position| self.tail.get(position).expect("what is to be written waits in the tail");
                    group.extend(positions.into_iter().map(waiting));
                    let lost = is_planted(Fault::VoteNotPersisted) && group.is_empty();
                    group_state = hard_state.filter(|_| !lost).or(group_state);
                    persisted = Some(number);
                }
                LogJob::Flushed { index } => {
                    self.append(&mut group, group_state.take())?;
                    self.retain(index)?;
                }
                LogJob::Stop => turn = Turn::Stopped,
            }
        }
        self.append(&mut group, group_state)?;
        if let Some(number) = persisted {
            let begin = clock::now();
            if !is_planted(Fault::AcknowledgedBeforeFsync) {
                self.log.sync().map_err(self.broken("made durable"))?;
            }
            self.shared.counts.fsyncs.observe(clock::now().saturating_duration_since(begin));
            self.shared.raft.push(RaftInput::Persisted { number });
        }
        self.jobs = jobs;
        Ok(turn)
    }

    /// Makes the next segment, if it is due. Takes milliseconds then: to be called when nobody waits for a turn.
    ///
    /// # Errors
    /// [`Fatal`].
    pub(crate) fn prepare(&mut self) -> Result<(), Fatal> {
        match self.log.prepare_spare() {
            Ok(()) => {}
            Err(error @ LogError::NoSpace { .. }) => {
                tracing::warn!(error = %error, "no space for the next log segment");
            }
            Err(error) => return Err(self.broken("prepared")(error)),
        }
        Ok(())
    }

    /// The error names the file, this its directory.
    fn broken(&self, what: &str) -> impl FnOnce(LogError) -> Fatal + use<E> {
        let dir = self.shared.config.data_dir.join("log");
        Fatal::of(format!("the log cannot be {what} in {}", dir.display()))
    }

    fn append(&mut self, group: &mut Vec<Entry>, hard_state: Option<tidegate_raft::HardState>) -> Result<(), Fatal> {
        if group.is_empty() && hard_state.is_none() {
            return Ok(());
        }
        let last = group.last().map_or(self.log.last().index, |entry| entry.position.index);
        let hard_state = hard_state.map(|state| HardState {
            term: state.term,
            vote: state.vote,
            // A commit index may only name what is in the log.
            commit: state.commit.min(last),
        });
        self.log.append(group, hard_state).map_err(self.broken("written"))?;
        self.appended += group.iter().map(|entry| entry.payload.len() as u64).sum::<u64>();
        group.clear();
        if self.marks.back().is_none_or(|(_, bytes)| self.appended - bytes >= MARK_EVERY) {
            self.marks.push_back((last, self.appended));
        }
        Ok(())
    }

    /// Gives back segments beyond the retention, but none that a restart needs.
    fn retain(&mut self, flushed: LogIndex) -> Result<(), Fatal> {
        let retention = self.shared.config.log_retention.0;
        let mut up_to = LogIndex(0);
        while let Some((index, _)) = self.marks.front().filter(|(_, bytes)| self.appended - bytes > retention) {
            up_to = *index;
            self.marks.pop_front();
        }
        // The marks begin with the process: what an earlier one left is given back once it is twice too much.
        if self.log.usage().disk_bytes > 2 * retention {
            up_to = flushed;
        }
        let up_to = up_to.min(flushed);
        if up_to.0 > 0 {
            let purged = self.log.purge(up_to).map_err(self.broken("purged"))?;
            if purged > 0 {
                let index = self.reader.bounds().0.index;
                self.shared.raft.push(RaftInput::Purged { index });
            }
        }
        Ok(())
    }
}
