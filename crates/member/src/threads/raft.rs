//! The `raft` thread: owns the core and decides nothing.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use tidegate_api::Error;
use tidegate_base::{Holder, Lease, LogIndex, LogPosition, Payload};
use tidegate_engine::Engine;
use tidegate_http::admission::Admitted;
use tidegate_raft::{Message, Rejected, Role};
use tidegate_raftlog::{Entry, TailCache};

use super::{ApplyJob, Fatal, LogJob, Logger, Turn, fail, millis_since};
use crate::{
    core::{Command, Core, Input, LeaseEvent, Millis},
    mailbox::{Inbox, lock},
    peers::PeerMessage,
    shared::Shared,
    ticket::{Notice, Reply, Ticket},
};

/// What an entry is charged besides its bytes: its places in tables and queues.
const ENTRY_BYTES: u64 = 512;
/// Most revocations of expired leases that wait at a time.
const REVOCATIONS_MAX: usize = 1000;
/// At the end, what was accepted has this long to become durable, in milliseconds.
const STOP_WITHIN: Millis = 300;
/// Type of an ordinary entry in the log.
const NORMAL: u8 = 0;

/// A request that wants to be an entry.
pub(crate) struct Proposal {
    pub(crate) payload: Payload,
    /// What the message was admitted under: given back when the log's lease is there.
    pub(crate) admitted: Option<Admitted>,
    pub(crate) origin: Origin,
}

/// Who waits for an entry's outcome; nobody for what the member proposes itself.
pub(crate) type Origin = Option<Ticket>;

pub(crate) enum RaftInput {
    Propose(Proposal),
    /// From a peer, with what its message says.
    Peer(PeerMessage),
    Persisted {
        number: u64,
    },
    Applied {
        index: LogIndex,
        leases: Vec<LeaseEvent>,
    },
    Read(Ticket),
    KeepAlive {
        lease: i64,
        ticket: Ticket,
    },
    TimeToLive {
        lease: i64,
        ticket: Ticket,
    },
    /// Who asks has leased the room for the list.
    Leases(Ticket),
    Purged {
        index: LogIndex,
    },
    /// The log's holder has room again.
    Room,
    Stop,
}

pub(crate) struct Driver<E: Engine> {
    pub(crate) shared: Arc<Shared<E>>,
    pub(crate) core: Core<Ticket>,
    pub(crate) tail: Arc<TailCache>,
    pub(crate) log: Arc<Inbox<LogJob>>,
    pub(crate) apply: Arc<Inbox<ApplyJob>>,
    pub(crate) waiting: VecDeque<Proposal>,
    /// How many of them nobody else asked for: the expired leases. They hold no lease of the budget.
    pub(crate) revocations: usize,
    /// Entries under way, in the order of the log: who waits for them.
    pub(crate) origins: VecDeque<(LogPosition, Ticket)>,
    pub(crate) replies: Vec<Vec<Notice>>,
    /// Messages that wait for the log: they leave once what was persisted under their number is durable.
    pub(crate) held: VecDeque<(u64, Message)>,
    /// Messages that may leave. Who sends them takes them out after each turn.
    pub(crate) outgoing: Vec<Message>,
    /// When to stop at the latest, once told to.
    pub(crate) stop_by: Option<Millis>,
    /// This member is alone, and the log thread was not woken for what is in its inbox: it is written here.
    pub(crate) writes: bool,
    /// Stands for the table of deadlines, whose size is checked before a lease is proposed.
    pub(crate) deadlines: Lease,
}

impl<E: Engine> Driver<E> {
    /// Runs until told to stop. `leases` are those that the store holds, `epoch` is where the member's clock begins, `logger` is
    /// for what is left to the log by [`Driver::writes`].
    pub(crate) fn run(mut self, leases: Vec<(i64, u64)>, epoch: Instant, logger: &Mutex<Logger<E>>) {
        self.begin(leases, millis_since(epoch));
        let mut inputs = Vec::new();
        let mut wrote = false;
        loop {
            let patience = self.core.wake_at().saturating_sub(millis_since(epoch));
            self.shared.raft.take(&mut inputs, Duration::from_millis(patience));
            if self.turn(&mut inputs, millis_since(epoch)) == Turn::Stopped {
                return;
            }
            wrote = self.write(logger, wrote).unwrap_or_else(|fatal| fail(&fatal));
        }
    }

    /// Writes what was left to the log, and says whether there was any. What came `before` is told already: now is the time to
    /// prepare for more.
    fn write(&mut self, logger: &Mutex<Logger<E>>, before: bool) -> Result<bool, Fatal> {
        let writes = std::mem::take(&mut self.writes);
        if writes || before {
            let mut logger = lock(logger);
            if before {
                logger.prepare()?;
            }
            logger.turn()?;
        }
        Ok(writes)
    }

    /// To be called once, before the first turn.
    pub(crate) fn begin(&mut self, leases: Vec<(i64, u64)>, now: Millis) {
        let commands = self.core.start(leases, now);
        self.carry_out(commands, &mut VecDeque::new());
    }

    /// Takes `inputs`, and what time brings, and publishes what came of it. Due when there are inputs, or when the core's clock says.
    pub(crate) fn turn(&mut self, inputs: &mut Vec<RaftInput>, now: Millis) -> Turn {
        if now >= self.core.wake_at() {
            self.step(Input::Time, now);
        }
        for input in inputs.drain(..) {
            match input {
                RaftInput::Propose(proposal) if self.stop_by.is_some() => self.refuse(&proposal, Error::Stopped),
                RaftInput::Propose(proposal) => self.waiting.push_back(proposal),
                RaftInput::Peer(message) => self.receive(message, now),
                RaftInput::Persisted { number } => {
                    let durable = self.held.partition_point(|(after, _)| *after <= number);
                    self.outgoing.extend(self.held.drain(..durable).map(|(_, message)| message));
                    self.step(Input::Persisted { number }, now);
                }
                RaftInput::Applied { index, leases } => self.step(Input::Applied { index, leases }, now),
                RaftInput::Read(ticket) => self.step(Input::Read { ticket }, now),
                RaftInput::KeepAlive { lease, ticket } => self.step(Input::KeepAlive { lease, ticket }, now),
                RaftInput::TimeToLive { lease, ticket } => self.step(Input::TimeToLive { lease, ticket }, now),
                RaftInput::Leases(ticket) => self.step(Input::Leases { ticket }, now),
                RaftInput::Purged { index } => self.step(Input::Purged { index }, now),
                RaftInput::Room => {}
                RaftInput::Stop => self.stop_by = Some(now + STOP_WITHIN),
            }
        }
        self.propose(now);
        self.publish();
        // What was accepted is finished: it may be durable already, and its clients wait.
        let idle = self.waiting.is_empty() && self.origins.is_empty();
        if self.stop_by.is_none_or(|by| !idle && now < by) {
            return Turn::GoOn;
        }
        for proposal in std::mem::take(&mut self.waiting) {
            self.refuse(&proposal, Error::Stopped);
        }
        self.publish();
        Turn::Stopped
    }

    /// Takes a peer's message. Its entries wait in the tail until the core says what becomes of them; without room for them the
    /// message counts as lost, and the peer sends again.
    fn receive(&mut self, received: PeerMessage, now: Millis) {
        let PeerMessage { message, entries } = received;
        let mut fresh = Vec::new();
        for entry in entries {
            let (position, bytes) = (entry.position, entry.payload.len() as u64 + ENTRY_BYTES);
            let Some(lease) = self.lease(bytes, fresh.is_empty()) else {
                fresh.into_iter().for_each(|position| self.tail.drop_position(position));
                return;
            };
            if self.tail.insert(entry, lease) {
                fresh.push(position);
            }
        }
        let commands = self.core.step(Input::Message(message), now);
        let taken = commands.iter().find_map(|command| match command {
            Command::Persist { first, last, .. } => Some((*first, *last)),
            _ => None,
        });
        // Those that the log has already, and those of a message that came too late.
        let in_vain =
            |position: &LogPosition| taken.is_none_or(|(first, last)| position.index < first || position.index > last);
        fresh.into_iter().filter(in_vain).for_each(|position| self.tail.drop_position(position));
        self.carry_out(commands, &mut VecDeque::new());
    }

    /// A lease of the log for an entry. One that is larger than what is free goes alone.
    fn lease(&self, bytes: u64, first: bool) -> Option<Lease> {
        let budget = &self.shared.budget;
        let lease = budget.try_lease(Holder::Log, bytes).or_else(|| {
            // What is kept for a slow reader of the log goes first; then it is apply's turn to give back.
            self.tail.evict(bytes);
            budget.want_room(Holder::Log);
            budget.try_lease(Holder::Log, bytes)
        });
        let alone = first && self.origins.is_empty() && budget.used(Holder::Log) == 0;
        lease.or_else(|| alone.then(|| budget.force_lease(Holder::Log, bytes)))
    }

    fn step(&mut self, input: Input<Ticket>, now: Millis) {
        let commands = self.core.step(input, now);
        self.carry_out(commands, &mut VecDeque::new());
    }

    /// Proposes what waits and has its lease of the log, all at once.
    fn propose(&mut self, now: Millis) {
        let mut leased = VecDeque::new();
        while let Some(next) = self.waiting.front() {
            let bytes = next.payload.len() as u64 + ENTRY_BYTES;
            let Some(lease) = self.lease(bytes, leased.is_empty()) else { break };
            let mut proposal = self.waiting.pop_front().expect("it was looked at above");
            proposal.admitted = None;
            self.revocations -= usize::from(proposal.origin.is_none());
            leased.push_back((proposal, lease));
        }
        self.shared.counts.proposals_pending.store(self.waiting.len() as u64, Ordering::Relaxed);
        if leased.is_empty() {
            return;
        }
        let commands = self.core.step(Input::Propose { count: leased.len() as u64 }, now);
        self.carry_out(commands, &mut leased);
    }

    fn carry_out(&mut self, commands: Vec<Command<Ticket>>, leased: &mut VecDeque<(Proposal, Lease)>) {
        let mut accepted = false;
        for command in commands {
            match command {
                Command::Accepted { first, count } => {
                    accepted = true;
                    for (offset, (proposal, lease)) in (0..count).zip(leased.drain(..)) {
                        let position = LogPosition { index: LogIndex(first.index.0 + offset), term: first.term };
                        let entry = Entry { position, entry_type: NORMAL, payload: proposal.payload };
                        let fresh = self.tail.insert(entry, lease);
                        assert!(fresh, "a position is given once");
                        self.origins.extend(proposal.origin.map(|ticket| (position, ticket)));
                    }
                }
                Command::Reject { reason, .. } => {
                    let error = match reason {
                        Rejected::NotLeader { .. } => Error::NoLeader,
                        Rejected::Transferring => Error::LeaderChanged,
                    };
                    for (proposal, _) in leased.drain(..) {
                        self.refuse(&proposal, error.clone());
                    }
                }
                Command::Persist { number, first, last, hard_state } => {
                    let positions = self.core.positions(first, last);
                    if !accepted && !positions.is_empty() {
                        self.forget_replaced(first);
                        // A follower's entries came with the message that named them.
                        if self.core.status().role == Role::Leader {
                            self.own_entry(&positions);
                        }
                    }
                    let job = LogJob::Append { number, positions, hard_state };
                    if self.core.reads_alone() {
                        self.writes = true;
                        self.log.leave(job);
                    } else {
                        self.log.push(job);
                    }
                }
                Command::Apply { up_to } => {
                    let due = self.origins.partition_point(|(position, _)| position.index <= up_to);
                    let origins = self.origins.drain(..due).collect();
                    self.apply.push(ApplyJob::Apply { up_to, origins });
                }
                Command::Send { message, after: None } => self.outgoing.push(message),
                Command::Send { message, after: Some(number) } => self.held.push_back((number, message)),
                Command::Refused(refused) => tracing::warn!(error = %refused, "a peer's message is refused"),
                Command::NoLeader { ticket } => self.reply(ticket, Reply::Rejected(Error::NoLeader)),
                Command::ReadReady { tickets } => {
                    for ticket in tickets {
                        self.reply(ticket, Reply::ReadReady);
                    }
                }
                Command::Renewed { ticket, ttl_seconds } => self.reply(ticket, Reply::Renewed(ttl_seconds)),
                Command::Remaining { ticket, seconds } => self.reply(ticket, Reply::Remaining(seconds)),
                Command::Leases { ticket, deadlines } => self.reply(ticket, Reply::Leases(deadlines)),
                Command::Revoke { leases } => {
                    // Those that wait already stay few: what is left out is named again.
                    for id in leases.into_iter().take(REVOCATIONS_MAX - self.revocations) {
                        let proposal = self.revocation(id);
                        self.waiting.push_back(proposal);
                        self.revocations += 1;
                    }
                }
                Command::Changed(status) => {
                    tracing::info!(
                        role = ?status.role, term = status.term.0, leader = format_args!("{:x}", status.leader),
                        "raft state changed"
                    );
                    for notices in &mut self.replies {
                        notices.push(Notice::Term(status.term.0));
                    }
                }
            }
        }
    }

    /// The entry with which a new leader begins its term has no payload, and nobody brought it here.
    fn own_entry(&self, positions: &[LogPosition]) {
        if let [position] = *positions {
            let entry = Entry { position, entry_type: NORMAL, payload: Payload::default() };
            self.tail.insert(entry, self.shared.budget.force_lease(Holder::Log, ENTRY_BYTES));
        }
    }

    /// Whoever waits for an entry that another leader's takes the place of hears that it is lost: it was not committed.
    fn forget_replaced(&mut self, first: LogIndex) {
        let view = self.core.view();
        let (kept, replaced) = self.origins.drain(..).partition(|(position, _): &(LogPosition, Ticket)| {
            position.index < first || view.term_at(position.index) == Some(position.term)
        });
        self.origins = kept;
        let replaced: VecDeque<_> = replaced;
        replaced.into_iter().for_each(|(_, ticket)| self.reply(ticket, Reply::Rejected(Error::LeaderChanged)));
    }

    fn revocation(&self, id: i64) -> Proposal {
        let request = tidegate_api::pb::etcdserverpb::LeaseRevokeRequest { id };
        let message = prost::Message::encode_to_vec(&request).into();
        let payload =
            self.shared.envelope(tidegate_kv::Command::LeaseExpire { behind: self.core.applied_index() }).seal(message);
        Proposal { payload, admitted: None, origin: None }
    }

    fn refuse(&mut self, proposal: &Proposal, error: Error) {
        self.shared.counts.proposals_failed.fetch_add(1, Ordering::Relaxed);
        if let Some(ticket) = proposal.origin {
            self.reply(ticket, Reply::Rejected(error));
        }
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.replies[ticket.thread as usize].push(Notice::Reply(ticket, reply));
    }

    /// What changed becomes visible to the other threads, and the answers go out.
    fn publish(&mut self) {
        self.deadlines.force_to(self.core.lease_bytes());
        self.shared.consensus.publish(self.core.status(), self.core.reads_alone(), self.core.leases());
        for (mailbox, replies) in self.shared.mailboxes.iter().zip(&mut self.replies) {
            mailbox.append(replies);
        }
    }
}
