//! The `raft` thread: owns the core and decides nothing.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tidegate_api::Error;
use tidegate_base::{Holder, Lease, LogIndex, LogPosition, Payload, clock};
use tidegate_engine::Engine;
use tidegate_http::admission::Admitted;
use tidegate_raft::Rejected;
use tidegate_raftlog::{Entry, TailCache};

use super::{ApplyJob, LogJob, fail};
use crate::{
    core::{Command, Core, Input, LeaseEvent, Lessor, Millis},
    mailbox::Inbox,
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
    pub(crate) epoch: Instant,
    pub(crate) waiting: VecDeque<Proposal>,
    /// How many of them nobody else asked for: the expired leases. They hold no lease of the budget.
    pub(crate) revocations: usize,
    /// Entries under way, in the order of the log: who waits for them.
    pub(crate) origins: VecDeque<(LogPosition, Ticket)>,
    pub(crate) replies: Vec<Vec<Notice>>,
    /// Stands for the table of deadlines, whose size is checked before a lease is proposed.
    pub(crate) deadlines: Lease,
}

impl<E: Engine> Driver<E> {
    /// Runs until told to stop. `leases` are those that the store holds.
    pub(crate) fn run(mut self, leases: Vec<(i64, u64)>) {
        let now = self.now();
        let commands = self.core.start(leases, now);
        let mut leased = VecDeque::new();
        self.carry_out(commands, &mut leased);
        let mut inputs = Vec::new();
        let mut stop_by = None;
        loop {
            let patience = self.core.wake_at().saturating_sub(self.now());
            self.shared.raft.take(&mut inputs, Duration::from_millis(patience));
            let now = self.now();
            if now >= self.core.wake_at() {
                self.step(Input::Time, now);
            }
            for input in inputs.drain(..) {
                match input {
                    RaftInput::Propose(proposal) if stop_by.is_some() => self.refuse(&proposal, Error::Stopped),
                    RaftInput::Propose(proposal) => self.waiting.push_back(proposal),
                    RaftInput::Persisted { number } => self.step(Input::Persisted { number }, now),
                    RaftInput::Applied { index, leases } => self.step(Input::Applied { index, leases }, now),
                    RaftInput::Read(ticket) => self.step(Input::Read { ticket }, now),
                    RaftInput::KeepAlive { lease, ticket } => self.step(Input::KeepAlive { lease, ticket }, now),
                    RaftInput::TimeToLive { lease, ticket } => self.step(Input::TimeToLive { lease, ticket }, now),
                    RaftInput::Leases(ticket) => self.step(Input::Leases { ticket }, now),
                    RaftInput::Purged { index } => self.step(Input::Purged { index }, now),
                    RaftInput::Room => {}
                    RaftInput::Stop => stop_by = Some(now + STOP_WITHIN),
                }
            }
            self.propose(now);
            self.publish();
            // What was accepted is finished: it may be durable already, and its clients wait.
            let idle = self.waiting.is_empty() && self.origins.is_empty();
            if stop_by.is_some_and(|by| idle || by <= now) {
                for proposal in std::mem::take(&mut self.waiting) {
                    self.refuse(&proposal, Error::Stopped);
                }
                self.publish();
                return;
            }
        }
    }

    fn now(&self) -> Millis {
        u64::try_from(clock::now().saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }

    fn step(&mut self, input: Input<Ticket>, now: Millis) {
        let commands = self.core.step(input, now);
        self.carry_out(commands, &mut VecDeque::new());
    }

    /// Proposes what waits and has its lease of the log, all at once.
    fn propose(&mut self, now: Millis) {
        let mut leased = VecDeque::new();
        let budget = &self.shared.budget;
        while let Some(next) = self.waiting.front() {
            let bytes = next.payload.len() as u64 + ENTRY_BYTES;
            let lease = budget.try_lease(Holder::Log, bytes).or_else(|| {
                // What is kept for a slow reader of the log goes first; then it is apply's turn to give back.
                self.tail.evict(bytes);
                budget.want_room(Holder::Log);
                budget.try_lease(Holder::Log, bytes)
            });
            let lease = match lease {
                Some(lease) => lease,
                // Larger than what is free when nothing else is there: it goes alone.
                None if self.origins.is_empty() && leased.is_empty() && budget.used(Holder::Log) == 0 => {
                    budget.force_lease(Holder::Log, bytes)
                }
                None => break,
            };
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
        for command in commands {
            match command {
                Command::Accepted { first, count } => {
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
                    let view = self.core.positions(first, last);
                    self.log.push(LogJob::Append { number, positions: view, hard_state });
                }
                Command::Apply { up_to } => {
                    let due = self.origins.partition_point(|(position, _)| position.index <= up_to);
                    let origins = self.origins.drain(..due).collect();
                    self.apply.push(ApplyJob::Apply { up_to, origins });
                }
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

    fn revocation(&self, id: i64) -> Proposal {
        let request = tidegate_api::pb::etcdserverpb::LeaseRevokeRequest { id };
        let message = prost::Message::encode_to_vec(&request).into();
        let payload = self.shared.envelope(tidegate_kv::Command::LeaseRevoke).seal(message);
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
        self.deadlines.force_to(self.core.leases() as u64 * Lessor::BYTES_PER_LEASE);
        self.shared.consensus.publish(self.core.status(), self.core.reads_alone(), self.core.leases());
        for (mailbox, replies) in self.shared.mailboxes.iter().zip(&mut self.replies) {
            mailbox.append(replies);
        }
    }
}

/// Starts the core from what the disk holds.
pub(crate) fn start_core(
    config: crate::core::Config,
    view: tidegate_raft::LogView,
    hard_state: tidegate_raft::HardState,
    applied: LogIndex,
) -> Core<Ticket> {
    match Core::new(config, view, hard_state, applied, 0) {
        Ok(core) => core,
        Err(error) => fail("the log and the store do not fit together", &error),
    }
}
