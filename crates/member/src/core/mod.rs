//! The member's decisions, pure: consensus, linearizable reads, and the expiry of leases.
//!
//! The driver (`threads::raft`) owns it and decides nothing.

mod lessor;
mod rounds;

pub use lessor::{Lessor, Millis, Renewal};
use tidegate_base::{
    LogIndex, LogPosition,
    planted::{Fault, is_planted},
};
use tidegate_raft::{self as raft, HardState, Message, Raft, Refused, Rejected, Role, Status};

use self::rounds::Rounds;

/// Expired leases are looked for this often.
const SWEEP_EVERY: Millis = 500;
/// A revocation that was not applied by then is proposed again.
const REVOKE_AGAIN: Millis = 5000;

/// What happened to a lease, in the order of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEvent {
    Granted { id: i64, ttl_seconds: u64 },
    Revoked { id: i64 },
}

#[derive(Debug)]
pub enum Input<T> {
    /// Time has passed; raft's clock moves by as many ticks as are due.
    Time,
    Propose {
        count: u64,
    },
    Persisted {
        number: u64,
    },
    Applied {
        index: LogIndex,
        leases: Vec<LeaseEvent>,
    },
    /// From a peer; the payloads of its entries wait under their positions.
    Message(Message),
    /// A linearizable read waits. `ticket` comes back with [`Command::ReadReady`].
    Read {
        ticket: T,
    },
    KeepAlive {
        lease: i64,
        ticket: T,
    },
    TimeToLive {
        lease: i64,
        ticket: T,
    },
    Leases {
        ticket: T,
    },
    Purged {
        index: LogIndex,
    },
}

#[derive(Debug, PartialEq)]
pub enum Command<T> {
    Accepted {
        first: LogPosition,
        count: u64,
    },
    Reject {
        count: u64,
        reason: Rejected,
    },
    Persist {
        number: u64,
        first: LogIndex,
        last: LogIndex,
        hard_state: Option<HardState>,
    },
    Apply {
        up_to: LogIndex,
    },
    /// Leaves this member at once, or only once [`Command::Persist`] of number `after` is durable.
    Send {
        message: Message,
        after: Option<u64>,
    },
    /// A peer's message that no healthy peer sends. Nothing has changed.
    Refused(Refused),
    /// A question about a lease that only the leader can answer, and this member does not lead; or anything that waited for a
    /// leader for long.
    NoLeader {
        ticket: T,
    },
    /// Everything acknowledged before the read came is applied.
    ReadReady {
        tickets: Vec<T>,
    },
    /// Answer to a keep-alive; `None` when the lease is unknown.
    Renewed {
        ticket: T,
        ttl_seconds: Option<u64>,
    },
    /// Granted and remaining seconds; `None` when the lease is unknown or has expired.
    Remaining {
        ticket: T,
        seconds: Option<(u64, u64)>,
    },
    /// All leases with their deadlines, by id.
    Leases {
        ticket: T,
        deadlines: Vec<(Millis, i64)>,
    },
    /// These leases have expired: propose their revocation.
    Revoke {
        leases: Vec<i64>,
    },
    Changed(Status),
}

#[derive(Debug, Clone)]
pub struct Config {
    pub raft: raft::Config,
    /// One raft tick.
    pub tick: Millis,
}

/// What waits for the proof that this member led, or knew who did, after the question came.
enum Asked<T> {
    Read(T),
    KeepAlive { lease: i64, ticket: T },
    TimeToLive { lease: i64, ticket: T },
}

impl<T> Asked<T> {
    fn into_ticket(self) -> T {
        match self {
            Asked::Read(ticket) | Asked::KeepAlive { ticket, .. } | Asked::TimeToLive { ticket, .. } => ticket,
        }
    }
}

pub struct Core<T> {
    raft: Raft,
    lessor: Lessor,
    /// Deadlines begin to count when this entry is applied, the first of the own term: until then no client could have kept
    /// its lease alive, since a member that applies what its log holds answers nobody.
    lead_behind: Option<LogIndex>,
    config: Config,
    applied: LogIndex,
    next_tick: Millis,
    next_sweep: Millis,
    rounds: Rounds<Asked<T>>,
    /// Keep-alives of leases that are being revoked.
    expiring: Vec<(i64, T)>,
}

impl<T> Core<T> {
    pub fn new(
        config: Config,
        view: raft::LogView,
        hard_state: HardState,
        applied: LogIndex,
        now: Millis,
    ) -> Result<Self, raft::StartError> {
        let raft = Raft::new(&config.raft, view, hard_state, applied)?;
        Ok(Self {
            raft,
            lessor: Lessor::default(),
            lead_behind: None,
            applied,
            next_tick: now + config.tick,
            next_sweep: now + SWEEP_EVERY,
            config,
            rounds: Rounds::default(),
            expiring: Vec::new(),
        })
    }

    /// To be called once, after the leases that the store holds were reported.
    pub fn start(&mut self, leases: impl IntoIterator<Item = (i64, u64)>, now: Millis) -> Vec<Command<T>> {
        for (id, ttl_seconds) in leases {
            self.lessor.granted(id, ttl_seconds, now);
        }
        let commands = self.raft.start();
        let mut out = Vec::new();
        self.translate(commands, now, &mut out);
        out
    }

    pub fn step(&mut self, input: Input<T>, now: Millis) -> Vec<Command<T>> {
        let mut out = Vec::new();
        match input {
            Input::Time => self.time(now, &mut out),
            Input::Propose { count } => self.raft(raft::Input::Propose { count }, now, &mut out),
            Input::Persisted { number } => self.raft(raft::Input::Persisted { number }, now, &mut out),
            Input::Applied { index, leases } => self.applied(index, leases, now, &mut out),
            Input::Purged { index } => self.raft(raft::Input::Purged(index), now, &mut out),
            Input::Message(message) => match self.raft.step(raft::Input::Message(message)) {
                Ok(commands) => self.translate(commands, now, &mut out),
                Err(refused) => out.push(Command::Refused(refused)),
            },
            Input::Read { ticket } => self.ask(Asked::Read(ticket), now, &mut out),
            Input::KeepAlive { lease, ticket } => self.lease(Asked::KeepAlive { lease, ticket }, now, &mut out),
            Input::TimeToLive { lease, ticket } => self.lease(Asked::TimeToLive { lease, ticket }, now, &mut out),
            Input::Leases { ticket } => {
                out.push(Command::Leases { ticket, deadlines: self.lessor.deadlines().collect() });
            }
        }
        out
    }

    /// When [`Input::Time`] is due.
    pub fn wake_at(&self) -> Millis {
        self.next_tick.min(self.next_sweep)
    }

    pub fn status(&self) -> Status {
        self.raft.status()
    }

    /// Whether reads need no round at all: see [`Raft::reads_alone`]. What is acknowledged is applied, for a sole member
    /// answers after it applies; but not what an earlier life of it acknowledged, until its log is applied again.
    pub fn reads_alone(&self) -> bool {
        self.raft.reads_alone() && self.lead_behind.is_none()
    }

    /// Positions of the entries `first..=last`, which the log holds or is about to hold.
    pub fn positions(&self, first: LogIndex, last: LogIndex) -> Vec<LogPosition> {
        let position = |index| {
            let index = LogIndex(index);
            let term = self.raft.view().term_at(index).expect("an entry that is persisted is in the view");
            LogPosition { index, term }
        };
        (first.0..=last.0).map(position).collect()
    }

    /// What this member knows of leases is as of this entry.
    pub fn applied_index(&self) -> LogIndex {
        self.applied
    }

    pub fn view(&self) -> &raft::LogView {
        self.raft.view()
    }

    pub fn leases(&self) -> usize {
        self.lessor.count()
    }

    /// Bytes that the deadlines of leases take.
    pub fn lease_bytes(&self) -> u64 {
        self.lessor.bytes()
    }

    fn time(&mut self, now: Millis, out: &mut Vec<Command<T>>) {
        // A process that was stopped for long does not make up for every tick: that would be an election at once.
        let behind = now.saturating_sub(self.next_tick) / self.config.tick;
        if behind > 2 {
            self.next_tick += (behind - 2) * self.config.tick;
        }
        while self.next_tick <= now {
            self.next_tick += self.config.tick;
            self.raft(raft::Input::Tick, now, out);
        }
        if self.next_sweep <= now {
            self.next_sweep = now + SWEEP_EVERY;
            let leases = self.lessor.sweep(now, REVOKE_AGAIN);
            if !leases.is_empty() {
                out.push(Command::Revoke { leases });
            }
        }
        out.extend(self.rounds.give_up(now).into_iter().map(|asked| Command::NoLeader { ticket: asked.into_ticket() }));
        self.ask_due(now, out);
    }

    /// Only a leader knows deadlines, and only one that leads still: another may have been elected meanwhile, which has
    /// renewed what expired here, or expires what would be renewed here.
    fn lease(&mut self, asked: Asked<T>, now: Millis, out: &mut Vec<Command<T>>) {
        if self.reads_alone() || is_planted(Fault::LeaseAnsweredWithoutQuorum) {
            self.answer(asked, now, out);
        } else {
            self.ask(asked, now, out);
        }
    }

    fn ask(&mut self, asked: Asked<T>, now: Millis, out: &mut Vec<Command<T>>) {
        self.rounds.join(asked);
        self.ask_due(now, out);
    }

    fn ask_due(&mut self, now: Millis, out: &mut Vec<Command<T>>) {
        if let Some(id) = self.rounds.due(now) {
            self.raft(raft::Input::ReadIndex(id), now, out);
        }
    }

    /// Answers what was asked, now that it may be; reads go together.
    fn answer(&mut self, asked: Asked<T>, now: Millis, out: &mut Vec<Command<T>>) {
        let leads = self.raft.status().role == Role::Leader;
        let answer = match asked {
            Asked::Read(ticket) => match out.last_mut() {
                Some(Command::ReadReady { tickets }) => return tickets.push(ticket),
                _ => Command::ReadReady { tickets: vec![ticket] },
            },
            Asked::KeepAlive { ticket, .. } | Asked::TimeToLive { ticket, .. } if !leads => {
                Command::NoLeader { ticket }
            }
            Asked::KeepAlive { lease, ticket } => match self.lessor.renew(lease, now) {
                Renewal::Renewed { ttl_seconds } => Command::Renewed { ticket, ttl_seconds: Some(ttl_seconds) },
                Renewal::Unknown => Command::Renewed { ticket, ttl_seconds: None },
                Renewal::Expiring => return self.expiring.push((lease, ticket)),
            },
            Asked::TimeToLive { lease, ticket } => {
                Command::Remaining { ticket, seconds: self.lessor.time_to_live(lease, now) }
            }
        };
        out.push(answer);
    }

    fn applied(&mut self, index: LogIndex, leases: Vec<LeaseEvent>, now: Millis, out: &mut Vec<Command<T>>) {
        self.applied = index;
        for event in leases {
            match event {
                LeaseEvent::Granted { id, ttl_seconds } => self.lessor.granted(id, ttl_seconds, now),
                LeaseEvent::Revoked { id } => {
                    self.lessor.revoked(id);
                    for (_, ticket) in self.expiring.extract_if(.., |(lease, _)| *lease == id) {
                        out.push(Command::Renewed { ticket, ttl_seconds: None });
                    }
                }
            }
        }
        if self.lead_behind.is_some_and(|behind| behind <= index) {
            self.lead_behind = None;
            self.lessor.lead(now, self.config.tick * self.config.raft.election_ticks as u64);
        }
        self.raft(raft::Input::Applied(index), now, out);
        self.release(now, out);
    }

    /// Answers what waited for apply to come as far as the read index.
    fn release(&mut self, now: Millis, out: &mut Vec<Command<T>>) {
        for asked in self.rounds.take_ready(self.applied) {
            self.answer(asked, now, out);
        }
    }

    fn raft(&mut self, input: raft::Input, now: Millis, out: &mut Vec<Command<T>>) {
        let commands = self.raft.step(input).expect("only a message from outside is refused");
        self.translate(commands, now, out);
    }

    fn translate(&mut self, commands: Vec<raft::Command>, now: Millis, out: &mut Vec<Command<T>>) {
        for command in commands {
            match command {
                raft::Command::Accepted { first, count } => out.push(Command::Accepted { first, count }),
                raft::Command::Reject { count, reason } => out.push(Command::Reject { count, reason }),
                raft::Command::Persist { number, first, last, hard_state } => {
                    out.push(Command::Persist { number, first, last, hard_state });
                }
                raft::Command::Apply { up_to } => out.push(Command::Apply { up_to }),
                raft::Command::Send { message, after } => out.push(Command::Send { message, after }),
                raft::Command::ReadAt { id, index } => {
                    self.rounds.confirm(id, index);
                    self.release(now, out);
                    self.ask_due(now, out);
                }
                raft::Command::Changed(status) => {
                    self.lessor.follow();
                    let orphans = std::mem::take(&mut self.expiring);
                    out.extend(orphans.into_iter().map(|(_, ticket)| Command::NoLeader { ticket }));
                    self.lead_behind = (status.role == Role::Leader).then(|| self.raft.last());
                    out.push(Command::Changed(status));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
