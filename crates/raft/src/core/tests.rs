use std::collections::VecDeque;

use super::*;
use crate::TermRun;

fn config(id: u64, voters: &[u64]) -> Config {
    let range = 10 + usize::try_from(id).unwrap()..11 + usize::try_from(id).unwrap();
    Config {
        id,
        voters: voters.to_vec(),
        heartbeat_ticks: 1,
        election_ticks: 10,
        election_range: range,
        inflight_messages: 16,
    }
}

fn fresh(id: u64, voters: &[u64]) -> Raft {
    let view = LogView::new(LogPosition::default(), LogIndex(0), Vec::new());
    Raft::new(&config(id, voters), view, HardState::default(), LogIndex(0)).unwrap()
}

fn persisted(commands: &[Command]) -> u64 {
    commands
        .iter()
        .filter_map(|c| match c {
            Command::Persist { number, .. } => Some(*number),
            _ => None,
        })
        .max()
        .unwrap()
}

/// A single voter that leads and has applied the entry of its election.
fn leader() -> Raft {
    let mut raft = fresh(7, &[7]);
    let commands = raft.start();
    let number = persisted(&commands);
    let applied = raft.step(Input::Persisted { number }).unwrap();
    assert_eq!(applied, [Command::Apply { up_to: LogIndex(1) }]);
    raft.step(Input::Applied(LogIndex(1))).unwrap();
    raft
}

#[test]
fn single_voter_leads_at_once_and_persists_before_it_applies() {
    let mut raft = fresh(7, &[7]);
    let commands = raft.start();
    assert_eq!(raft.status().role, Role::Leader);
    assert!(!commands.iter().any(|c| matches!(c, Command::Apply { .. })), "{commands:?}");
    let vote = commands.iter().find_map(|c| match c {
        Command::Persist { hard_state: Some(hs), first, last, .. } => Some((*hs, *first, *last)),
        _ => None,
    });
    let hard_state = HardState { term: Term(1), vote: 7, commit: LogIndex(0) };
    assert_eq!(vote, Some((hard_state, LogIndex(1), LogIndex(1))));
    assert!(!raft.reads_alone(), "nothing of this term is committed");
}

#[test]
fn proposals_get_consecutive_positions_and_apply_once_durable() {
    let mut raft = leader();
    assert!(raft.reads_alone());
    let commands = raft.step(Input::Propose { count: 3 }).unwrap();
    assert_eq!(commands[0], Command::Accepted { first: LogPosition::new(2, 1), count: 3 });
    let Command::Persist { number, first, last, hard_state } = &commands[1] else { panic!("{commands:?}") };
    assert_eq!((*first, *last), (LogIndex(2), LogIndex(4)));
    // The commit of the entry before travels with this write.
    assert_eq!(hard_state.unwrap().commit, LogIndex(1));
    assert_eq!(commands.len(), 2, "{commands:?}");
    let more = raft.step(Input::Propose { count: 1 }).unwrap();
    assert_eq!(more[0], Command::Accepted { first: LogPosition::new(5, 1), count: 1 });
    let applied = raft.step(Input::Persisted { number: *number }).unwrap();
    assert_eq!(applied, [Command::Apply { up_to: LogIndex(4) }], "the fifth is not durable");
}

#[test]
fn restart_applies_what_was_committed_and_not_applied() {
    let runs = vec![TermRun { first: LogIndex(4), term: Term(2) }];
    let view = LogView::new(LogPosition::new(3, 1), LogIndex(9), runs);
    let hard_state = HardState { term: Term(2), vote: 7, commit: LogIndex(8) };
    let mut raft = Raft::new(&config(7, &[7]), view, hard_state, LogIndex(5)).unwrap();
    let commands = raft.start();
    assert!(commands.contains(&Command::Apply { up_to: LogIndex(8) }), "{commands:?}");
    // The entry of the new term commits the ninth too.
    let number = persisted(&commands);
    let later = raft.step(Input::Persisted { number }).unwrap();
    assert_eq!(later, [Command::Apply { up_to: LogIndex(10) }]);
}

#[test]
fn a_log_that_lost_committed_entries_is_damage() {
    let view =
        || LogView::new(LogPosition::new(3, 1), LogIndex(5), vec![TermRun { first: LogIndex(4), term: Term(1) }]);
    let start = |commit, applied| {
        let hard_state = HardState { term: Term(1), vote: 7, commit: LogIndex(commit) };
        Raft::new(&config(7, &[7]), view(), hard_state, LogIndex(applied)).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(start(5, 4), Ok(()));
    assert!(start(6, 4).unwrap_err().contains("ends at 5"));
    assert!(start(4, 6).unwrap_err().contains("ends at 5"), "applied counts as committed");
    assert!(start(4, 2).unwrap_err().contains("begins behind 3"));
}

#[test]
fn a_follower_takes_no_proposal() {
    let mut raft = fresh(1, &[1, 2, 3]);
    raft.start();
    let commands = raft.step(Input::Propose { count: 2 }).unwrap();
    assert_eq!(commands, [Command::Reject { count: 2, reason: Rejected::NotLeader { leader: 0 } }]);
}

/// Three members over a perfect network and disks that are durable at once.
struct Cluster {
    members: Vec<Raft>,
    mail: VecDeque<Message>,
    applied: Vec<LogIndex>,
    reads: Vec<(u64, ReadId, LogIndex)>,
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Self {
            members: (1..=3).map(|id| fresh(id, &[1, 2, 3])).collect(),
            mail: VecDeque::new(),
            applied: vec![LogIndex(0); 3],
            reads: Vec::new(),
        };
        for at in 0..3 {
            let commands = cluster.members[at].start();
            cluster.run(at, commands);
        }
        cluster
    }

    fn run(&mut self, at: usize, commands: Vec<Command>) {
        let mut todo = VecDeque::from(commands);
        let mut held: Vec<(u64, Message)> = Vec::new();
        while let Some(command) = todo.pop_front() {
            match command {
                Command::Persist { number, .. } => {
                    todo.extend(self.members[at].step(Input::Persisted { number }).unwrap());
                }
                Command::Send { message, after: None } => self.mail.push_back(message),
                Command::Send { message, after: Some(number) } => held.push((number, message)),
                Command::Apply { up_to } => {
                    assert!(up_to > self.applied[at]);
                    self.applied[at] = up_to;
                    todo.extend(self.members[at].step(Input::Applied(up_to)).unwrap());
                }
                Command::ReadAt { id, index } => self.reads.push((at as u64 + 1, id, index)),
                Command::Accepted { .. } | Command::Reject { .. } | Command::Changed(_) => {}
            }
        }
        self.mail.extend(held.into_iter().map(|(_, message)| message));
    }

    fn input(&mut self, at: usize, input: Input) {
        let commands = self.members[at].step(input).unwrap();
        self.run(at, commands);
        while let Some(message) = self.mail.pop_front() {
            let to = usize::try_from(message.to).unwrap() - 1;
            // Through the core's own form and back: nothing may be lost on the way.
            let commands = self.members[to].step(Input::Message(message)).unwrap();
            self.run(to, commands);
        }
    }

    fn elect(&mut self) -> usize {
        for _ in 0..40 {
            for at in 0..3 {
                self.input(at, Input::Tick);
            }
            if let Some(leader) = self.members.iter().position(|m| m.status().role == Role::Leader) {
                return leader;
            }
        }
        panic!("no leader");
    }
}

#[test]
fn three_members_elect_replicate_and_read() {
    let mut cluster = Cluster::new();
    let leader = cluster.elect();
    cluster.input(leader, Input::Propose { count: 100 });
    cluster.input(leader, Input::Tick);
    assert_eq!(cluster.applied, [LogIndex(101); 3]);
    let follower = (leader + 1) % 3;
    cluster.input(follower, Input::ReadIndex(ReadId(9)));
    assert_eq!(cluster.reads, [(follower as u64 + 1, ReadId(9), LogIndex(101))]);
    assert!(!cluster.members[leader].reads_alone());
}

#[test]
fn messages_that_stop_the_core_are_refused() {
    let mut cluster = Cluster::new();
    let leader = cluster.elect();
    cluster.input(leader, Input::Propose { count: 5 });
    cluster.input(leader, Input::Tick);
    let follower = (leader + 1) % 3;
    let term = cluster.members[leader].status().term;
    let base = Message {
        kind: MessageKind::Heartbeat,
        from: leader as u64 + 1,
        to: follower as u64 + 1,
        term,
        at: LogPosition::default(),
        runs: Vec::new(),
        last: LogIndex(0),
        commit: LogIndex(99),
        commit_term: Term(0),
        reject: false,
        reject_hint: LogIndex(0),
        context: 0,
    };
    let member = &mut cluster.members[follower];
    let refused = member.step(Input::Message(base.clone())).unwrap_err();
    assert!(matches!(refused, Refused::CommitAhead { .. }));
    let run = |first, term| vec![TermRun { first: LogIndex(first), term: Term(term) }];
    let conflict = Message {
        kind: MessageKind::Append,
        at: LogPosition { index: LogIndex(2), term },
        runs: run(3, term.0 + 7),
        last: LogIndex(3),
        commit: LogIndex(6),
        ..base.clone()
    };
    let refused = member.step(Input::Message(conflict.clone())).unwrap_err();
    assert!(matches!(refused, Refused::ConflictBelowCommit { .. }));
    let hole = Message { runs: run(9, term.0), last: LogIndex(9), ..conflict };
    assert!(matches!(member.step(Input::Message(hole)).unwrap_err(), Refused::NotConsecutive { .. }));
    assert_eq!(member.status().commit, LogIndex(6), "the member goes on");
}

#[test]
fn what_has_nothing_to_persist_waits_for_nothing_and_else_for_what_was_persisted_last() {
    let mut member = fresh(1, &[1, 2, 3]);
    member.start();
    let mut commands = Vec::new();
    while commands.is_empty() {
        commands = member.step(Input::Tick).unwrap();
    }
    // A pre-vote changes nothing on disk: it leaves at once, for no answer of the disk will come.
    let sent: Vec<_> = commands
        .iter()
        .filter_map(|c| if let Command::Send { message, after } = c { Some((message.kind, *after)) } else { None })
        .collect();
    assert_eq!(sent, [(MessageKind::RequestPreVote, None); 2], "{commands:?}");
    let ask = Message {
        kind: MessageKind::RequestVote,
        from: 2,
        to: 1,
        term: Term(3),
        at: LogPosition::default(),
        runs: Vec::new(),
        last: LogIndex(0),
        commit: LogIndex(0),
        commit_term: Term(0),
        reject: false,
        reject_hint: LogIndex(0),
        context: 0,
    };
    let commands = member.step(Input::Message(ask)).unwrap();
    let number = persisted(&commands);
    let vote = commands
        .iter()
        .find_map(|c| if let Command::Send { message, after } = c { Some((message.kind, *after)) } else { None });
    assert_eq!(vote, Some((MessageKind::RequestVoteResponse, Some(number))), "a vote waits for its hard state");
}
