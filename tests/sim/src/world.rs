//! The event loop: who does what next, and what time it is.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tidegate_base::{LogIndex, Term};
use tidegate_kv::Command;
use tidegate_member::{PeerMessage, Reply, pieces};
use tidegate_raft::{Message, Role};
use tidegate_raftlog::sim::Call;

use crate::{
    Report,
    client::{self, Asked, Draw, LEASES, Wait},
    node::{Node, Part},
    oracle::{self, Oracle},
    plan::{Kind, Plan},
    watcher::Watcher,
};

/// A request that has no answer by then is given up.
const PATIENCE: u64 = 5000;
/// Within this time after the last fault everything must be well again.
const HEAL_WITHIN: u64 = 120_000;
/// Bytes of entries in one message.
const PIECE_BYTES: usize = 4 << 10;

enum Event {
    Turn { member: usize, life: u32, part: Part },
    Deliver { to: usize, message: Box<PeerMessage> },
    Client(usize),
    Watcher(usize),
    Strike,
    Restart(usize),
    Mend { from: usize, to: usize },
}

struct Queued(u64, u64, Event);

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

pub(crate) struct World {
    plan: Plan,
    rng: SmallRng,
    now: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    serial: u64,
    nodes: Vec<Node>,
    /// How many cuts lie on the way from one to the other.
    cuts: Vec<Vec<u32>>,
    oracle: Oracle,
    clients: Vec<Wait>,
    watchers: Vec<Watcher>,
    numbers: u32,
    values: u64,
    /// The greatest revision that a client was told.
    acknowledged: i64,
    leaders: BTreeMap<Term, u64>,
    /// Until when a lease was promised to live, and which life of it.
    promises: BTreeMap<i64, (u32, u64)>,
    /// Request ids of the revocations that clients asked for.
    revocations: BTreeSet<u64>,
    jumped: bool,
    healing: bool,
    report: Report,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let plan = Plan::new(seed);
        let mut rng = SmallRng::seed_from_u64(seed);
        let nodes: Vec<_> = (1..=plan.members as u64).map(|id| Node::new(id, &mut rng)).collect();
        let mut world = Self {
            now: 0,
            queue: BinaryHeap::new(),
            serial: 0,
            cuts: vec![vec![0; plan.members]; plan.members],
            nodes,
            oracle: Oracle::new(),
            clients: Vec::new(),
            watchers: Vec::new(),
            numbers: 0,
            values: 0,
            acknowledged: 0,
            leaders: BTreeMap::new(),
            promises: BTreeMap::new(),
            revocations: BTreeSet::new(),
            jumped: false,
            healing: false,
            report: Report::default(),
            plan,
            rng,
        };
        for member in 0..world.nodes.len() {
            world.start(member);
        }
        for client in 0..world.plan.clients {
            world.clients.push(Wait::Rest);
            world.push(1, Event::Client(client));
        }
        for watcher in 0..world.plan.watchers {
            let range = world.draw().range();
            let made = Watcher::new(range, &mut world.rng);
            world.watchers.push(made);
            world.push(1, Event::Watcher(watcher));
        }
        if !world.plan.strikes.is_empty() {
            world.push(world.plan.strike_every, Event::Strike);
        }
        world
    }

    pub(crate) fn run(mut self) -> Report {
        while self.now < self.plan.chaos_ms && self.oracle.committed().0 < self.plan.entries {
            self.step();
        }
        self.heal();
        self.finish();
        self.report.committed = self.oracle.committed().0;
        self.report.simulated_ms = self.now;
        self.report.changes = self.oracle.changes.len() as u64;
        self.report.watch_events = self.watchers.iter().map(|watcher| watcher.events).sum();
        for member in 0..self.nodes.len() {
            self.crash(member, false);
        }
        self.report
    }

    fn push(&mut self, after: u64, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse(Queued(self.now + after, self.serial, event)));
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.random_range(0..n.max(1))
    }

    fn chance(&mut self, of_thousand: u32) -> bool {
        !self.healing && of_thousand > 0 && self.rng.random_range(0..1000) < of_thousand
    }

    fn draw(&mut self) -> Draw<'_> {
        Draw { rng: &mut self.rng, plan: &self.plan, next_value: &mut self.values }
    }

    fn struck(&mut self, kind: Kind) {
        self.report.faults[kind as usize] += 1;
    }

    fn step(&mut self) {
        let Reverse(Queued(at, _, event)) = self.queue.pop().expect("members always have a next turn");
        self.now = self.now.max(at);
        self.report.events += 1;
        match event {
            Event::Turn { member, life, part } => {
                let node = &mut self.nodes[member];
                if node.life != life || node.process.is_none() || node.due[part as usize] != Some(at) {
                    return;
                }
                if node.paused_until > self.now {
                    let until = node.paused_until;
                    node.due[part as usize] = Some(until);
                    return self.push(until - self.now, Event::Turn { member, life, part });
                }
                node.due[part as usize] = None;
                self.turn(member, part);
                self.schedule(member);
            }
            Event::Deliver { to, message } => {
                if let Some(process) = &self.nodes[to].process {
                    process.receive(*message);
                    self.schedule(to);
                }
            }
            Event::Client(client) => self.client(client),
            Event::Watcher(watcher) => self.watcher(watcher),
            Event::Strike => self.strike(),
            Event::Restart(member) => self.start(member),
            Event::Mend { from, to } => self.cuts[from][to] = self.cuts[from][to].saturating_sub(1),
        }
    }

    fn start(&mut self, member: usize) {
        if self.nodes[member].process.is_none() {
            self.nodes[member].start(&self.plan, &mut self.rng, self.now);
            self.schedule(member);
        }
    }

    /// Ends a process, and what clients hold of it.
    fn crash(&mut self, member: usize, power: bool) {
        for wait in &mut self.clients {
            let here = match wait {
                Wait::Reading { member: at, .. } | Wait::Reply { member: at, .. } => *at == member,
                Wait::Rest => false,
            };
            if here {
                *wait = Wait::Rest;
            }
        }
        for watcher in &mut self.watchers {
            if watcher.stream.as_ref().is_some_and(|open| open.member == member) {
                watcher.stream = None;
            }
        }
        self.nodes[member].crash(power, &mut self.rng);
    }

    /// The process ends by itself, as it must after a failed write; the machine may fail with it.
    fn fail(&mut self, member: usize) {
        let power = self.rng.random();
        self.crash(member, power);
        let after = self.below(2000);
        self.push(after, Event::Restart(member));
    }

    /// Gives each part of a member that has something to do its next turn.
    fn schedule(&mut self, member: usize) {
        let Some(process) = &self.nodes[member].process else { return };
        let (now, node) = (self.now, &self.nodes[member]);
        let slow_disk = node.slow_disk_until > now;
        let slow_apply = node.slow_apply_until > now;
        let wake = node.when(process.raft_wakes_at()).max(now);
        let wanted = [
            (Part::Raft, process.raft_has_input(), Some(wake)),
            (Part::Log, process.log_has_input(), None),
            (Part::Apply, process.apply_has_input(), Some(node.apply_again.max(now))),
            (Part::Io, process.io_has_input(), None),
            (Part::Read, process.reads_wait(), None),
            (Part::Tick, false, Some(now + 100)),
        ];
        let life = node.life;
        for (part, has_input, otherwise) in wanted {
            let latency = match part {
                Part::Log if slow_disk => self.rng.random_range(100..3000),
                Part::Apply if slow_apply => self.rng.random_range(50..1000),
                Part::Read => self.rng.random_range(0..20),
                _ => self.rng.random_range(0..3),
            };
            let at = match (has_input, otherwise) {
                (true, otherwise) => otherwise.unwrap_or(u64::MAX).min(now + latency),
                (false, Some(at)) => at,
                (false, None) => continue,
            };
            let due = &mut self.nodes[member].due[part as usize];
            if due.is_none_or(|due| at < due && part != Part::Tick) {
                *due = Some(at);
                self.push(at - now, Event::Turn { member, life, part });
            }
        }
    }

    fn turn(&mut self, member: usize, part: Part) {
        let now = self.now;
        let node = &mut self.nodes[member];
        let clock = node.clock(now);
        let process = node.process.as_mut().expect("it was looked at above");
        match part {
            Part::Raft => {
                let messages = process.raft(clock);
                self.check_role(member);
                messages.into_iter().for_each(|message| self.send(member, message));
            }
            Part::Log => {
                if process.log().is_err() {
                    self.fail(member);
                }
            }
            Part::Apply => match process.apply(clock) {
                Ok(again) => {
                    node.apply_again = now + again.max(1);
                    self.check_applied(member);
                }
                Err(_) => {
                    // What was applied before is told already.
                    self.check_applied(member);
                    self.fail(member);
                }
            },
            Part::Io => {
                let replies = process.io();
                replies.into_iter().for_each(|(number, reply)| self.reply(member, number, reply));
            }
            Part::Read => {
                let (at, rows) = (self.rng.random_range(0..16), self.rng.random_range(1..40));
                process.read(at, rows);
            }
            Part::Tick => process.tick(clock),
        }
    }

    fn send(&mut self, from: usize, message: Message) {
        let to = usize::try_from(message.to).expect("a small id") - 1;
        let process = self.nodes[from].process.as_ref().expect("it sends");
        let sent: Vec<_> = pieces(message, process.log_reader(), PIECE_BYTES).collect();
        for message in sent {
            if self.cuts[from][to] > 0 {
                continue;
            }
            if self.chance(self.plan.loss) {
                self.struck(Kind::Loss);
                continue;
            }
            let copies = if self.chance(self.plan.duplicate) {
                self.struck(Kind::Duplicate);
                2
            } else {
                1
            };
            for _ in 0..copies {
                let mut delay = 1 + self.below(4);
                if self.chance(self.plan.late) {
                    self.struck(Kind::Delay);
                    delay += self.below(400);
                }
                self.push(delay, Event::Deliver { to, message: Box::new(message.clone()) });
            }
        }
    }

    /// Election safety, and leader completeness.
    fn check_role(&mut self, member: usize) {
        let node = &mut self.nodes[member];
        let process = node.process.as_ref().expect("it had a turn");
        let status = process.status();
        if status.role != Role::Leader || node.role_term == status.term.0 {
            return;
        }
        node.role_term = status.term.0;
        let known = *self.leaders.entry(status.term).or_insert(node.id);
        assert_eq!(known, node.id, "election safety: two leaders in term {}", status.term.0);
        // Votes may come late, when a later leader has committed more: what earlier terms committed counts.
        if let Some((committed, term)) = self.oracle.last_before(status.term) {
            assert_eq!(
                process.has(committed),
                Some(term),
                "leader completeness: the leader of term {} has not got entry {committed}",
                status.term.0
            );
        }
        self.report.elections += 1;
    }

    /// What a member has applied since: the same as everybody, with the same effect.
    fn check_applied(&mut self, member: usize) {
        let node = &self.nodes[member];
        let process = node.process.as_ref().expect("it had a turn");
        let (applied, from, log) = (process.applied(), node.checked.next(), process.log_reader().clone());
        for index in (from.0..=applied.0).map(LogIndex) {
            let entry = log.read(index);
            let entry = entry.unwrap_or_else(|error| panic!("applied entry {index} cannot be read: {error}"));
            if let Some((request, leases)) = self.oracle.applied(&entry) {
                leases.into_iter().for_each(|lease| self.ended(lease, request));
            }
        }
        self.nodes[member].checked = applied;
        let process = self.process(member);
        let reader = process.reader();
        let (revision, compacted) = self.oracle.after(applied);
        assert_eq!((reader.visible(), reader.compacted()), (revision, compacted), "revisions after entry {applied}");
        if self.rng.random_ratio(1, 400) && revision >= compacted && applied == self.oracle.committed() {
            assert_eq!(oracle::hash(&reader, revision), self.oracle.hash(revision), "HashKV at {revision}");
        }
    }

    /// A lease is gone. If no client wanted that, it must have had its time.
    fn ended(&mut self, lease: i64, request: u64) {
        let promise = self.promises.remove(&lease);
        if self.revocations.remove(&request) || self.jumped {
            return;
        }
        self.report.expired += 1;
        let until = promise.map_or(0, |(_, until)| until);
        assert!(self.now >= until, "lease {lease} was promised to live until {until}, it is {}", self.now);
    }

    fn client(&mut self, client: usize) {
        let mut again = 1 + self.below(self.plan.rest);
        match std::mem::replace(&mut self.clients[client], Wait::Rest) {
            Wait::Rest if self.healing => return,
            Wait::Rest => self.ask(client),
            Wait::Reply { since, .. } if since + PATIENCE <= self.now => {}
            wait @ Wait::Reply { .. } => {
                self.clients[client] = wait;
                again = 20;
            }
            Wait::Reading { member, life, mut reads } => {
                let node = &self.nodes[member];
                let process = node.process.as_ref().filter(|_| node.life == life);
                if let Some(process) = process
                    && reads.step(&process.reader(), &self.oracle)
                {
                    self.clients[client] = Wait::Reading { member, life, reads };
                    // Compaction goes on below a pin for as long as a client takes.
                    again = self.below(60);
                }
            }
        }
        self.push(again, Event::Client(client));
    }

    /// A member that runs, most often the leader.
    fn pick(&mut self) -> Option<usize> {
        let leads = |node: &Node| node.process.as_ref().is_some_and(|process| process.status().role == Role::Leader);
        let running: Vec<_> = (0..self.nodes.len()).filter(|at| self.nodes[*at].process.is_some()).collect();
        let leaders: Vec<_> = running.iter().copied().filter(|at| leads(&self.nodes[*at])).collect();
        let from = if leaders.is_empty() || self.rng.random_ratio(1, 5) { &running } else { &leaders };
        if from.is_empty() { None } else { Some(from[self.rng.random_range(0..from.len())]) }
    }

    fn ask(&mut self, client: usize) {
        let Some(member) = self.pick() else { return };
        self.numbers += 1;
        let number = self.numbers;
        let life = self.nodes[member].life;
        let reader = self.nodes[member].process.as_ref().expect("it was picked").reader();
        let asked = match self.rng.random_range(0..20) {
            0..=12 => {
                let mut draw = Draw { rng: &mut self.rng, plan: &self.plan, next_value: &mut self.values };
                let (command, message, asked) = draw.entry(&self.oracle);
                let process = self.nodes[member].process.as_ref().expect("it was picked");
                let request = process.propose(command, message, number);
                if command == Command::LeaseRevoke {
                    self.revocations.insert(request);
                }
                asked
            }
            13 | 14 => {
                let range = self.draw().range();
                self.process(member).ask_read(number);
                Asked::Read { acknowledged: self.acknowledged, range }
            }
            15 => {
                let lease = self.rng.random_range(1..=LEASES);
                self.process(member).keep_alive(lease, number);
                Asked::KeepAlive { lease, life: self.oracle.life(lease), committed: self.oracle.term() }
            }
            16 => {
                let lease = self.rng.random_range(1..=LEASES);
                self.process(member).time_to_live(lease, number);
                Asked::TimeToLive { lease, life: self.oracle.life(lease), committed: self.oracle.term() }
            }
            17 => {
                let key = self.draw().key();
                let revision = self.rng.random_range(0..=reader.visible());
                return client::point(&reader, &self.oracle, &key, revision);
            }
            _ => {
                let range = self.draw().range();
                let revision = self.rng.random_range(0..=reader.visible() + 1);
                if let Some(reads) = client::read_at(&reader, &self.oracle, revision, range) {
                    self.clients[client] = Wait::Reading { member, life, reads };
                }
                return;
            }
        };
        self.clients[client] = Wait::Reply { member, number, asked, since: self.now };
        self.schedule(member);
    }

    fn process(&self, member: usize) -> &tidegate_member::Stepped<tidegate_engine::MapEngine> {
        self.nodes[member].process.as_ref().expect("it runs")
    }

    fn reply(&mut self, member: usize, number: u32, reply: Reply) {
        let waits = |wait: &Wait| matches!(wait, Wait::Reply { number: waiting, .. } if *waiting == number);
        let Some(client) = self.clients.iter().position(waits) else {
            // Given up; what it says must be true all the same.
            if let Reply::Applied(outcome) = reply {
                self.oracle.answered(&outcome);
            }
            return;
        };
        let Wait::Reply { asked, since, .. } = std::mem::replace(&mut self.clients[client], Wait::Rest) else {
            unreachable!("it was found waiting")
        };
        let life = self.nodes[member].life;
        if let Some(lease) = client::lease_answer(&asked, &reply, self.process(member).status().term, &self.oracle) {
            self.promise(lease, since);
        }
        match (asked, reply) {
            (Asked::Entry { lease, .. }, Reply::Applied(outcome)) => {
                self.report.acknowledged += 1;
                self.acknowledged = self.acknowledged.max(outcome.revision);
                if let Some(lease) = lease.filter(|_| outcome.result.is_ok()) {
                    self.promise(lease, since);
                }
                let reads = client::applied(*outcome, &self.oracle);
                self.clients[client] = Wait::Reading { member, life, reads };
            }
            (Asked::Read { acknowledged, range }, Reply::ReadReady) => {
                let reader = self.process(member).reader();
                assert!(
                    reader.visible() >= acknowledged,
                    "a linearizable read at {} misses {acknowledged}",
                    reader.visible()
                );
                self.report.reads += 1;
                if let Some(reads) = client::read_at(&reader, &self.oracle, 0, range) {
                    self.clients[client] = Wait::Reading { member, life, reads };
                }
            }
            _ => {}
        }
    }

    /// A client was told that a lease lives, for its time from when it asked.
    fn promise(&mut self, lease: i64, since: u64) {
        let Some(life) = self.oracle.life(lease) else { return };
        let seconds = u64::try_from(self.oracle.leases[&lease]).expect("a time");
        let until = since + seconds * 1000;
        match self.promises.get_mut(&lease).filter(|(known, _)| *known == life) {
            Some((_, promised)) => *promised = until.max(*promised),
            None => drop(self.promises.insert(lease, (life, until))),
        }
    }

    fn watcher(&mut self, at: usize) {
        let pace = if self.healing { 20 } else { self.watchers[at].pace };
        let again = 1 + self.below(pace);
        let most = self.rng.random_range(1..8);
        let watcher = &mut self.watchers[at];
        match &watcher.stream {
            None => {
                if let Some(member) = self.pick() {
                    let node = &mut self.nodes[member];
                    let clock = node.clock(self.now);
                    let process = node.process.as_mut().expect("it was picked");
                    self.watchers[at].open(member, node.life, process, clock);
                    self.schedule(member);
                }
            }
            Some(open) => {
                let member = open.member;
                assert_eq!(open.life, self.nodes[member].life, "streams end with their member");
                let process = self.nodes[member].process.as_mut().expect("streams end with their member");
                let ended = watcher.take(process, &self.oracle, most);
                if ended || (!self.healing && self.rng.random_ratio(1, 300)) {
                    watcher.close(process);
                }
                self.schedule(member);
            }
        }
        self.push(again, Event::Watcher(at));
    }

    fn strike(&mut self) {
        if self.healing {
            return;
        }
        let again = 1 + self.below(2 * self.plan.strike_every);
        self.push(again, Event::Strike);
        let kind = self.plan.strikes[self.rng.random_range(0..self.plan.strikes.len())];
        let member = self.rng.random_range(0..self.nodes.len());
        if self.nodes[member].process.is_none() {
            return;
        }
        self.struck(kind);
        let (now, long) = (self.now, self.below(5000));
        match kind {
            Kind::Loss | Kind::Delay | Kind::Duplicate => unreachable!("they strike messages"),
            Kind::Cut | Kind::OneWayCut => {
                let (both, heard): (bool, bool) = (kind == Kind::Cut, self.rng.random());
                for other in (0..self.nodes.len()).filter(|other| *other != member) {
                    for (from, to, is_out) in [(member, other, true), (other, member, false)] {
                        if both || is_out == heard {
                            self.cuts[from][to] += 1;
                            self.push(long, Event::Mend { from, to });
                        }
                    }
                }
            }
            Kind::Kill | Kind::PowerCut => {
                self.crash(member, kind == Kind::PowerCut);
                let all = kind == Kind::PowerCut && self.rng.random_ratio(1, 4);
                self.push(long / 2, Event::Restart(member));
                for other in (0..self.nodes.len()).filter(|other| all && *other != member) {
                    self.crash(other, true);
                    self.push(long / 2, Event::Restart(other));
                }
            }
            Kind::FailedSync => self.nodes[member].disk().fail(Call::Sync, self.rng.random_range(0..3), EIO),
            Kind::FailedWrite => self.nodes[member].disk().fail(Call::Write, self.rng.random_range(0..3), EIO),
            Kind::FailedFlush => self.nodes[member].engine.flush_fail_next(),
            Kind::Pause => self.nodes[member].paused_until = now + long * 2,
            Kind::SlowDisk => self.nodes[member].slow_disk_until = now + long * 2,
            Kind::SlowApply => self.nodes[member].slow_apply_until = now + long * 2,
            Kind::ClockJump => {
                self.nodes[member].jump(long);
                self.jumped = true;
                self.schedule(member);
            }
        }
    }

    /// No more faults and no more requests: within a bounded time a leader is there, everybody has everything, and what a
    /// lease held is gone.
    fn heal(&mut self) {
        self.healing = true;
        self.cuts.iter_mut().flatten().for_each(|cut| *cut = 0);
        for member in 0..self.nodes.len() {
            let node = &mut self.nodes[member];
            (node.paused_until, node.slow_disk_until, node.slow_apply_until) = (0, 0, 0);
            // A fault that waits for its call: the process goes, and a sound disk comes back.
            self.crash(member, false);
            self.push(1, Event::Restart(member));
        }
        let until = self.now + HEAL_WITHIN;
        let mut last_try = 0;
        let mut put = None;
        while !self.is_well(put) {
            assert!(self.now < until, "liveness: {}", self.state());
            self.step();
            // One write that must be acknowledged: everything before it is committed then.
            if put.is_none_or(|number: (u32, bool)| !number.1) && self.now > last_try + 3000 {
                last_try = self.now;
                put = self.probe();
            }
            if let Some((number, done)) = &mut put {
                let waits = |wait: &Wait| matches!(wait, Wait::Reply { number: waiting, .. } if waiting == number);
                *done = *done || !self.clients.iter().any(waits) && self.probed(*number);
            }
        }
    }

    fn probed(&self, number: u32) -> bool {
        number == self.numbers && self.acknowledged == self.oracle.revision()
    }

    fn probe(&mut self) -> Option<(u32, bool)> {
        let member = (0..self.nodes.len())
            .find(|at| self.nodes[*at].process.as_ref().is_some_and(|process| process.status().role == Role::Leader))?;
        self.numbers += 1;
        let put = tidegate_api::pb::etcdserverpb::PutRequest { key: "probe".into(), ..Default::default() };
        self.process(member).propose(Command::Put, prost::Message::encode_to_vec(&put).into(), self.numbers);
        let asked = Asked::Entry { lease: None };
        self.clients[0] = Wait::Reply { member, number: self.numbers, asked, since: self.now };
        self.schedule(member);
        Some((self.numbers, false))
    }

    fn is_well(&self, put: Option<(u32, bool)>) -> bool {
        put.is_some_and(|(_, done)| done)
            && self.oracle.leases.is_empty()
            && self
                .nodes
                .iter()
                .all(|node| node.process.as_ref().is_some_and(|process| process.applied() == self.oracle.committed()))
            && self.watchers.iter().all(|watcher| watcher.is_done(&self.oracle))
    }

    fn state(&self) -> String {
        let members: Vec<_> = self
            .nodes
            .iter()
            .map(|node| node.process.as_ref().map(|process| (process.status(), process.applied(), process.last())))
            .collect();
        let watchers: Vec<_> =
            self.watchers.iter().map(|watcher| (watcher.next, watcher.is_done(&self.oracle))).collect();
        let (committed, revision) = (self.oracle.committed(), self.oracle.revision());
        format!(
            "committed {committed}, revision {revision}, leases {:?}, members {members:?}, watchers {watchers:?}",
            self.oracle.leases
        )
    }

    /// Everybody has the same, physically too once all that nobody needs is swept.
    fn finish(&mut self) {
        let revision = self.oracle.revision();
        let expected = self.oracle.hash(revision);
        for member in 0..self.nodes.len() {
            assert_eq!(self.nodes[member].checked, self.oracle.committed());
            let reader = self.process(member).reader();
            assert_eq!(oracle::hash(&reader, revision), expected, "HashKV of member {member} at {revision}");
            for at in self.oracle.compacted.max(1)..=revision {
                if at % 7 == revision % 7 {
                    for n in 0..self.plan.keys.min(8) {
                        let key = [format!("k{n}"), format!("k{n}/")][usize::from(at % 2 == 0)].clone();
                        client::point(&reader, &self.oracle, key.as_bytes(), at);
                    }
                }
            }
        }
    }
}

const EIO: std::io::ErrorKind = std::io::ErrorKind::Other;
