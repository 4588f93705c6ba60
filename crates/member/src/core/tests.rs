use tidegate_base::Term;

use super::*;

type Sut = Core<u32>;

fn config() -> Config {
    Config {
        raft: raft::Config {
            id: 1,
            voters: vec![1],
            heartbeat_ticks: 1,
            election_ticks: 10,
            election_range: 10..11,
            inflight_messages: 16,
        },
        tick: 100,
    }
}

fn fresh() -> Sut {
    let view = raft::LogView::new(LogPosition::default(), LogIndex(0), Vec::new());
    Core::new(config(), view, HardState::default(), LogIndex(0), 0).unwrap()
}

/// Leads, with the entry of its election applied.
fn leader(leases: &[(i64, u64)]) -> Sut {
    let mut core = fresh();
    let commands = core.start(leases.iter().copied(), 0);
    let number = commands
        .iter()
        .filter_map(|c| if let Command::Persist { number, .. } = c { Some(*number) } else { None })
        .max()
        .unwrap();
    assert_eq!(core.step(Input::Persisted { number }, 0), [Command::Apply { up_to: LogIndex(1) }]);
    core.step(Input::Applied { index: LogIndex(1), leases: Vec::new() }, 0);
    core
}

/// One more entry is proposed, made durable and applied, with these effects.
fn applied(core: &mut Sut, leases: Vec<LeaseEvent>, now: Millis) -> Vec<Command<u32>> {
    let commands = core.step(Input::Propose { count: 1 }, now);
    let (index, number) = commands
        .iter()
        .find_map(|c| if let Command::Persist { number, last, .. } = c { Some((*last, *number)) } else { None })
        .unwrap();
    assert_eq!(core.step(Input::Persisted { number }, now), [Command::Apply { up_to: index }]);
    core.step(Input::Applied { index, leases }, now)
}

#[test]
fn a_read_before_the_first_commit_is_asked_again_and_waits_for_apply() {
    let mut core = fresh();
    let commands = core.start([], 0);
    assert!(!core.reads_alone());
    assert_eq!(core.step(Input::Read { ticket: 5 }, 10), [], "the leader drops it");
    for command in commands {
        if let Command::Persist { number, .. } = command {
            core.step(Input::Persisted { number }, 20);
        }
    }
    assert!(!core.reads_alone(), "what an earlier life acknowledged may wait in the log");
    assert_eq!(core.step(Input::Time, 400), []);
    assert_eq!(core.step(Input::Time, 510), [], "asked again, but the entry is not applied");
    let commands = core.step(Input::Applied { index: LogIndex(1), leases: Vec::new() }, 520);
    assert_eq!(commands, [Command::ReadReady { tickets: vec![5] }]);
    assert!(core.reads_alone());
}

/// A member that is alone answered for leases before its log was applied again: it did not know the one that the log grants,
/// and renewed the one that the log revokes. Found by an hour of simulation.
#[test]
fn leases_are_not_answered_for_until_the_log_is_applied_again() {
    let mut core = fresh();
    let commands = core.start([(9, 20)], 0);
    for command in commands {
        if let Command::Persist { number, .. } = command {
            core.step(Input::Persisted { number }, 0);
        }
    }
    assert_eq!(core.step(Input::KeepAlive { lease: 9, ticket: 1 }, 10), []);
    assert_eq!(core.step(Input::TimeToLive { lease: 8, ticket: 2 }, 10), []);
    core.step(Input::Time, 600);
    let leases = vec![LeaseEvent::Revoked { id: 9 }, LeaseEvent::Granted { id: 8, ttl_seconds: 5 }];
    let mut answers = core.step(Input::Applied { index: LogIndex(1), leases }, 700);
    answers.extend(core.step(Input::Time, 1300));
    let gone = Command::Renewed { ticket: 1, ttl_seconds: None };
    let known = |answer: &Command<u32>| matches!(answer, Command::Remaining { ticket: 2, seconds: Some((5, _)) });
    assert!(answers.contains(&gone) && answers.iter().any(known), "{answers:?}");
}

#[test]
fn leases_of_before_the_start_get_their_time_again_and_expire() {
    let mut core = leader(&[(9, 2)]);
    assert_eq!(
        core.step(Input::TimeToLive { lease: 9, ticket: 1 }, 0),
        [Command::Remaining { ticket: 1, seconds: Some((2, 3)) }]
    );
    assert_eq!(core.step(Input::Time, 2900), []);
    assert_eq!(core.step(Input::Time, 3500), [Command::Revoke { leases: vec![9] }]);
    assert_eq!(core.step(Input::KeepAlive { lease: 9, ticket: 2 }, 3600), [], "waits for the revocation");
    let events = vec![LeaseEvent::Revoked { id: 9 }];
    let commands = applied(&mut core, events, 3700);
    assert_eq!(commands, [Command::Renewed { ticket: 2, ttl_seconds: None }]);
}

#[test]
fn deadlines_do_not_count_while_the_log_is_applied_again() {
    let mut core = fresh();
    let commands = core.start([(9, 2)], 0);
    let number = commands
        .iter()
        .filter_map(|c| if let Command::Persist { number, .. } = c { Some(*number) } else { None })
        .max()
        .unwrap();
    core.step(Input::Persisted { number }, 0);
    assert_eq!(core.step(Input::Time, 60_000), [], "nobody could have kept it alive");
    core.step(Input::Applied { index: LogIndex(1), leases: Vec::new() }, 60_000);
    assert_eq!(core.step(Input::Time, 62_500), [], "its time, and an election timeout");
    assert_eq!(core.step(Input::Time, 63_500), [Command::Revoke { leases: vec![9] }]);
}

#[test]
fn keep_alive_renews_a_granted_lease_and_says_zero_of_an_unknown_one() {
    let mut core = leader(&[]);
    let events = vec![LeaseEvent::Granted { id: 4, ttl_seconds: 5 }];
    assert_eq!(applied(&mut core, events, 1000), []);
    assert_eq!(
        core.step(Input::KeepAlive { lease: 4, ticket: 1 }, 4000),
        [Command::Renewed { ticket: 1, ttl_seconds: Some(5) }]
    );
    assert_eq!(core.step(Input::Time, 8900), []);
    assert_eq!(core.step(Input::Time, 9500), [Command::Revoke { leases: vec![4] }]);
    assert_eq!(
        core.step(Input::KeepAlive { lease: 77, ticket: 3 }, 9500),
        [Command::Renewed { ticket: 3, ttl_seconds: None }]
    );
}

#[test]
fn a_long_pause_is_not_made_up_for_tick_by_tick() {
    let mut core = leader(&[]);
    assert_eq!(core.step(Input::Time, 3_600_000), []);
    assert!(core.wake_at() > 3_600_000 && core.wake_at() <= 3_600_500);
    assert_eq!(core.status().role, Role::Leader);
    assert_eq!(core.status().term, Term(1));
}

#[test]
fn a_leader_that_hears_from_nobody_answers_for_no_lease() {
    let mut config = config();
    config.raft.voters = vec![1, 2, 3];
    let view = raft::LogView::new(LogPosition::default(), LogIndex(0), Vec::new());
    let mut core: Sut = Core::new(config, view, HardState::default(), LogIndex(0), 0).unwrap();
    core.start([(9, 2)], 0);
    assert_eq!(
        core.step(Input::KeepAlive { lease: 9, ticket: 1 }, 0),
        [],
        "it must not be answered from what is known here"
    );
    let mut now = 0;
    let answers = loop {
        now += 100;
        let commands = core.step(Input::Time, now);
        let answers: Vec<_> =
            commands.into_iter().filter(|c| matches!(c, Command::NoLeader { .. } | Command::Renewed { .. })).collect();
        if !answers.is_empty() {
            break answers;
        }
    };
    assert_eq!(answers, [Command::NoLeader { ticket: 1 }]);
    assert!((10_000..11_000).contains(&now));
}
