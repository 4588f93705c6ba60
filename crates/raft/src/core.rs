//! The step function.

use raft::{RawNode, ReadOnlyOption, StateRole, eraftpb};
use tidegate_base::{LogIndex, LogPosition, Term};

use crate::{LogView, Message, MessageKind};

/// How often the clock of the core moves is the driver's matter; everything here counts ticks.
#[derive(Debug, Clone)]
pub struct Config {
    pub id: u64,
    pub voters: Vec<u64>,
    pub heartbeat_ticks: usize,
    pub election_ticks: usize,
    /// Election timeouts are drawn from this half-open range by the wrapped core, with a random source of its own. One
    /// value in it (`n..n + 1`) makes a simulation repeatable.
    pub election_range: std::ops::Range<usize>,
    /// Messages in flight to one peer. Bytes in flight are the sender's matter.
    pub inflight_messages: usize,
}

/// What must survive a crash beside the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    pub term: Term,
    /// Member voted for in `term`; 0 is nobody.
    pub vote: u64,
    pub commit: LogIndex,
}

/// Names a linearizable read, or a batch of them, on the member that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadId(pub u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Leader,
    Candidate,
    Follower,
}

#[derive(Debug)]
pub enum Input {
    /// One tick of the driver's clock has passed.
    Tick,
    /// A message from a peer, whose entries' payloads already wait under their positions.
    Message(Message),
    /// As many entries as `count` want to be appended by this leader.
    Propose { count: u64 },
    /// What [`Command::Persist`] of this number asked for, and all before it, is durable.
    Persisted { number: u64 },
    /// Entries up to here are applied.
    Applied(LogIndex),
    /// Asks from which index on a read sees everything acknowledged before now.
    ReadIndex(ReadId),
    /// The last message to this peer was lost.
    Unreachable(u64),
    /// Hands leadership to a voter.
    Transfer(u64),
    /// Entries up to here are gone from the log.
    Purged(LogIndex),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// This member does not lead; `leader` is 0 when nobody does.
    NotLeader { leader: u64 },
    /// The leader is handing over.
    Transferring,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The proposed entries have these positions: the first of `count` in a row. Their payloads go to the log now.
    Accepted { first: LogPosition, count: u64 },
    /// None of the proposed entries was taken.
    Reject { count: u64, reason: Rejected },
    /// Makes durable: the entries `first..=last` (nothing when `last < first`), which replace everything from `first` on,
    /// and the hard state. [`Input::Persisted`] with `number` answers, in order.
    Persist { number: u64, first: LogIndex, last: LogIndex, hard_state: Option<HardState> },
    /// Leaves this member at once, or only once [`Command::Persist`] of number `after` is durable (Raft thesis, 3.8).
    Send { message: Message, after: Option<u64> },
    /// Entries up to and including `up_to` are committed and durable here.
    Apply { up_to: LogIndex },
    /// The read of this id may go on once `index` is applied.
    ReadAt { id: ReadId, index: LogIndex },
    /// The role, the term or the known leader changed.
    Changed(Status),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub role: Role,
    pub term: Term,
    /// 0 when unknown.
    pub leader: u64,
    pub commit: LogIndex,
}

/// A message that would make the wrapped core stop the process. It is dropped; the sender is wrong or its log is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("a heartbeat says commit {commit}, this log ends at {last}")]
    CommitAhead { commit: LogIndex, last: LogIndex },
    #[error("an append conflicts at {at}, which is at or below commit {commit}")]
    ConflictBelowCommit { at: LogIndex, commit: LogIndex },
    #[error("an append of member {from} is not one run of entries behind {at}")]
    NotConsecutive { from: u64, at: LogIndex },
    #[error("the core does not take this message: {0}")]
    Core(String),
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log lost entries that were committed.
    #[error("the log ends at {last}, but entries up to {needed} were committed")]
    LogTooShort { last: LogIndex, needed: LogIndex },
    /// The log begins behind what is applied: the entries between are nowhere.
    #[error("the log begins behind {before}, but only entries up to {applied} are applied")]
    LogTooLate { before: LogIndex, applied: LogIndex },
    #[error("raft: {0}")]
    Core(#[from] raft::Error),
}

/// One member's consensus.
pub struct Raft {
    node: RawNode<LogView>,
    /// What was last reported by [`Command::Changed`], without its commit.
    told: (Role, Term, u64),
    /// A change of the commit index alone waits for the next write.
    commit_pending: bool,
    /// Numbers of the last [`Command::Persist`], and of the last one that is durable.
    persisting: u64,
    persisted: u64,
    sole: bool,
}

impl Raft {
    /// Starts from what the disk holds: the log, the hard state, and the index up to which entries are applied. A single
    /// voter campaigns with the first [`Raft::start`].
    ///
    /// # Errors
    /// [`StartError::LogTooShort`] and [`StartError::LogTooLate`] when log and applied state do not fit together: that is
    /// damage, found before the core is made.
    pub fn new(
        config: &Config,
        mut view: LogView,
        mut hard_state: HardState,
        applied: LogIndex,
    ) -> Result<Self, StartError> {
        hard_state.commit = hard_state.commit.max(applied);
        if view.last() < hard_state.commit {
            return Err(StartError::LogTooShort { last: view.last(), needed: hard_state.commit });
        }
        if view.before().index > applied {
            return Err(StartError::LogTooLate { before: view.before().index, applied });
        }
        let core_state = eraftpb::HardState {
            term: hard_state.term.0,
            vote: hard_state.vote,
            commit: hard_state.commit.0,
            ..eraftpb::HardState::default()
        };
        view.set_initial(core_state, config.voters.clone());
        let core = raft::Config {
            id: config.id,
            election_tick: config.election_ticks,
            heartbeat_tick: config.heartbeat_ticks,
            applied: applied.0,
            max_size_per_msg: u64::MAX,
            max_inflight_msgs: config.inflight_messages,
            check_quorum: true,
            pre_vote: true,
            min_election_tick: config.election_range.start,
            max_election_tick: config.election_range.end,
            read_only_option: ReadOnlyOption::Safe,
            skip_bcast_commit: false,
            batch_append: true,
            priority: 0,
            max_uncommitted_size: raft::NO_LIMIT,
            max_committed_size_per_ready: raft::NO_LIMIT,
        };
        core.validate()?;
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&core, view, &logger)?;
        let told = (Role::Follower, hard_state.term, 0);
        let sole = config.voters == [config.id];
        Ok(Self { node, told, commit_pending: false, persisting: 0, persisted: 0, sole })
    }

    /// What must happen before the first input: committed entries to apply, and a single voter's election.
    pub fn start(&mut self) -> Vec<Command> {
        let mut out = Vec::new();
        if self.sole {
            // A single voter wins at once; an error means that it leads already, which it cannot before this.
            self.node.campaign().expect("a voter may campaign");
        }
        self.drain(&mut out);
        out
    }

    /// The same state and input give the same commands, in the order in which they must take effect.
    ///
    /// # Errors
    /// [`Refused`] for a message that no healthy peer sends; the state is unchanged.
    pub fn step(&mut self, input: Input) -> Result<Vec<Command>, Refused> {
        let mut out = Vec::new();
        match input {
            Input::Tick => {
                self.node.tick();
            }
            Input::Message(message) => self.message(message)?,
            Input::Propose { count } => self.propose(count, &mut out),
            Input::Persisted { number } => {
                self.persisted = number;
                self.node.on_persist_ready(number);
            }
            Input::Applied(index) => self.node.advance_apply_to(index.0),
            Input::ReadIndex(id) => self.node.read_index(id.0.to_be_bytes().to_vec()),
            Input::Unreachable(peer) => self.node.report_unreachable(peer),
            Input::Transfer(to) => self.node.transfer_leader(to),
            Input::Purged(index) => self.node.mut_store().purge(index),
        }
        self.drain(&mut out);
        Ok(out)
    }

    pub fn status(&self) -> Status {
        let raft = &self.node.raft;
        let role = match raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Follower => Role::Follower,
        };
        Status { role, term: Term(raft.term), leader: raft.leader_id, commit: LogIndex(raft.raft_log.committed) }
    }

    /// Whether a read may be answered from applied state without asking anybody: no other member can commit anything, and
    /// everything of earlier terms is committed.
    pub fn reads_alone(&self) -> bool {
        self.sole && self.node.raft.state == StateRole::Leader && self.node.raft.commit_to_current_term()
    }

    /// The last entry of the log, durable or not.
    pub fn last(&self) -> LogIndex {
        LogIndex(self.node.raft.raft_log.last_index())
    }

    pub fn view(&self) -> &LogView {
        self.node.store()
    }

    fn propose(&mut self, count: u64, out: &mut Vec<Command>) {
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Leader {
            let reason = Rejected::NotLeader { leader: raft.leader_id };
            out.push(Command::Reject { count, reason });
            return;
        }
        let first = raft.raft_log.last_index() + 1;
        let mut message = eraftpb::Message::default();
        message.set_msg_type(eraftpb::MessageType::MsgPropose);
        message.from = raft.id;
        message.set_entries((0..count).map(|_| eraftpb::Entry::default()).collect::<Vec<_>>().into());
        let term = raft.term;
        // The core drops a proposal of a leader only while it hands over.
        out.push(match raft.step(message) {
            Ok(()) => Command::Accepted { first: LogPosition::new(first, term), count },
            Err(_) => Command::Reject { count, reason: Rejected::Transferring },
        });
    }

    fn message(&mut self, message: Message) -> Result<(), Refused> {
        let log = &self.node.raft.raft_log;
        let (commit, last) = (LogIndex(log.committed), LogIndex(log.last_index()));
        if message.term.0 >= self.node.raft.term {
            match message.kind {
                MessageKind::Heartbeat if message.commit > last => {
                    return Err(Refused::CommitAhead { commit: message.commit, last });
                }
                MessageKind::Append => {
                    let mut expected = message.at.index;
                    for entry in message.entries() {
                        expected = expected.next();
                        if entry.index != expected {
                            return Err(Refused::NotConsecutive { from: message.from, at: message.at.index });
                        }
                        if entry.index <= commit && log.term(entry.index.0).is_ok_and(|term| term != entry.term.0) {
                            return Err(Refused::ConflictBelowCommit { at: entry.index, commit });
                        }
                    }
                }
                _ => {}
            }
        }
        self.node.step(message.into_core()).map_err(|error| Refused::Core(error.to_string()))
    }

    /// Takes everything that is ready. Afterwards nothing is unstable in the core, whatever is durable.
    fn drain(&mut self, out: &mut Vec<Command>) {
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            let number = ready.number();
            let entries = ready.take_entries();
            let hard_state =
                ready.hs().map(|hs| HardState { term: Term(hs.term), vote: hs.vote, commit: LogIndex(hs.commit) });
            self.note_change(out);
            for message in ready.take_messages() {
                out.extend(Message::from_core(&message).map(|message| Command::Send { message, after: None }));
            }
            if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
                // Runs of terms, in order, so that the view has them before the core may read them back.
                for run in entries.chunk_by(|a, b| a.term == b.term) {
                    self.node.mut_store().append(run[0].index, run.len() as u64, run[0].term);
                }
                let hard_state = hard_state.or_else(|| self.commit_pending.then(|| self.hard_state()));
                let (first, last) = (LogIndex(first.index), LogIndex(last.index));
                out.push(Command::Persist { number, first, last, hard_state });
                (self.commit_pending, self.persisting) = (false, number);
            } else if ready.must_sync() {
                out.push(Command::Persist { number, first: LogIndex(1), last: LogIndex(0), hard_state });
                (self.commit_pending, self.persisting) = (false, number);
            } else {
                self.commit_pending |= hard_state.is_some();
            }
            // With nothing to persist of its own, it still follows what was to be persisted before it.
            let after = (self.persisting > self.persisted).then_some(self.persisting);
            for message in ready.take_persisted_messages() {
                out.extend(Message::from_core(&message).map(|message| Command::Send { message, after }));
            }
            for read in ready.take_read_states() {
                let id = read.request_ctx.as_slice().try_into().map_or(0, u64::from_be_bytes);
                out.push(Command::ReadAt { id: ReadId(id), index: LogIndex(read.index) });
            }
            if let Some(entry) = ready.committed_entries().last() {
                out.push(Command::Apply { up_to: LogIndex(entry.index) });
            }
            self.node.advance_append_async(ready);
        }
    }

    fn hard_state(&self) -> HardState {
        let hs = self.node.raft.hard_state();
        HardState { term: Term(hs.term), vote: hs.vote, commit: LogIndex(hs.commit) }
    }

    fn note_change(&mut self, out: &mut Vec<Command>) {
        let status = self.status();
        let now = (status.role, status.term, status.leader);
        if std::mem::replace(&mut self.told, now) != now {
            out.push(Command::Changed(status));
        }
    }
}

#[cfg(test)]
mod tests;
