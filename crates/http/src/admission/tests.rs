use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
};

use futures_util::FutureExt;
use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};

use super::*;

const KIB: u64 = 1 << 10;

/// 800 KiB of requests: a share is 200, the reserve 100. No pool.
fn admission() -> (Budget, Admission) {
    let mut limits = Limits::new(ByteSize::mib(256), Profile::Store).unwrap();
    (limits.floors, limits.pool) = ([800 * KIB; Holder::COUNT], 0);
    let budget = Budget::new(limits);
    (budget.clone(), Admission::new(budget, Holder::Requests))
}

fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match future.poll_unpin(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Lets the task run that grants.
fn pump(admission: &Admission) {
    assert!(pin!(admission.run()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[test]
fn room_is_given_at_once_while_nobody_waits() {
    let (budget, admission) = admission();
    let party = admission.party();
    let small = party.try_take(5 * KIB).unwrap();
    let large = party.try_take(100 * KIB).unwrap();
    assert_eq!((budget.used(Holder::Requests), party.used()), (105 * KIB, 105 * KIB));
    assert!(party.try_take(96 * KIB).is_none(), "over its quarter");
    drop((small, large));
    assert_eq!((budget.used(Holder::Requests), party.used()), (0, 0));
    assert!(party.take(701 * KIB).is_err(), "more than large calls can ever have");
}

#[test]
fn connections_take_turns() {
    let (_, admission) = admission();
    let (a, b, full) = (admission.party(), admission.party(), admission.party());
    let mut held = Some(full.try_take(700 * KIB).unwrap());
    let take = |party: &Party| party.take(60 * KIB).unwrap();
    let mut calls = [take(&a), take(&a), take(&a), take(&b), take(&b)];
    assert!(calls.iter_mut().all(|call| poll(call).is_none()));
    assert_eq!(admission.waiting(), 5);
    // Room for three: one of each in turn, not all of the first.
    held.as_mut().unwrap().shrink_to(510 * KIB);
    pump(&admission);
    let granted: Vec<_> = calls.iter_mut().map(poll).collect();
    assert_eq!(granted.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true, false]);
    held = None;
    pump(&admission);
    assert_eq!(admission.waiting(), 0);
    drop((held, granted));
}

#[test]
fn a_share_is_a_quarter_and_one_larger_call_goes_alone() {
    let (budget, admission) = admission();
    let party = admission.party();
    let mut large = party.take(300 * KIB).unwrap();
    let large = poll(&mut large).unwrap();
    let mut next = party.take(20 * KIB).unwrap();
    assert!(poll(&mut next).is_none(), "beside a call that is larger than the share");
    assert!(admission.party().try_take(20 * KIB).is_none(), "one waits: nobody overtakes it by the short way");
    let mut other = admission.party().take(20 * KIB).unwrap();
    let other = poll(&mut other).expect("but its own share keeps it, not the room");
    drop(large);
    pump(&admission);
    let next = poll(&mut next).unwrap();
    drop((next, other));
    assert_eq!(budget.used(Holder::Requests), 0);
}

#[test]
fn small_calls_have_room_of_their_own() {
    let (_, admission) = admission();
    let large: Vec<_> = (0..7).map(|_| admission.party().try_take(100 * KIB).unwrap()).collect();
    let mut waiting = admission.party().take(9 * KIB).unwrap();
    assert!(poll(&mut waiting).is_none());
    let party = admission.party();
    let small: Vec<_> = (0..12).map(|_| party.try_take(8 * KIB).expect("the reserve is for them")).collect();
    let mut next = party.take(8 * KIB).unwrap();
    assert!(poll(&mut next).is_none(), "the reserve has an end");
    drop(small);
    pump(&admission);
    assert!(poll(&mut next).is_some());
    assert!(poll(&mut waiting).is_none(), "their room is not for large calls");
    drop(large);
    pump(&admission);
    assert!(poll(&mut waiting).is_some());
}

#[test]
fn who_gives_up_gives_its_place_and_its_grant_back() {
    let (budget, admission) = admission();
    let (a, b) = (admission.party(), admission.party());
    let full = admission.party().try_take(700 * KIB).unwrap();
    let (mut first, mut second) = (a.take(650 * KIB).unwrap(), b.take(100 * KIB).unwrap());
    assert!(poll(&mut first).is_none() && poll(&mut second).is_none());
    drop(full);
    pump(&admission); // grants the first, which never looks
    assert_eq!(budget.used(Holder::Requests), 650 * KIB);
    drop(first);
    assert_eq!((budget.used(Holder::Requests), a.used()), (0, 0));
    pump(&admission);
    assert!(poll(&mut second).is_some());
    let mut third = b.take(10 * KIB).unwrap();
    drop(poll(&mut third).unwrap());
    assert_eq!(admission.waiting(), 0);
}

#[test]
fn transferred_bytes_leave_the_share() {
    let (budget, admission) = admission();
    let party = admission.party();
    let moved = party.try_take(150 * KIB).unwrap().transfer(Holder::Log).unwrap();
    assert_eq!((party.used(), budget.used(Holder::Requests), budget.used(Holder::Log)), (0, 0, 150 * KIB));
    let stays = party.try_take(150 * KIB).unwrap();
    let full = budget.try_lease(Holder::Log, 650 * KIB).unwrap();
    let stays = stays.transfer(Holder::Log).unwrap_err();
    assert_eq!((stays.bytes(), party.used()), (150 * KIB, 150 * KIB));
    drop((stays, moved, full));
    assert_eq!((party.used(), budget.used(Holder::Requests)), (0, 0));
}

#[test]
fn calls_of_many_threads_all_get_their_turn() {
    let (budget, admission) = admission();
    let done = Arc::new(AtomicBool::new(false));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pump = thread::spawn({
        let (admission, done) = (admission.clone(), Arc::clone(&done));
        move || {
            runtime().block_on(async {
                tokio::select! {
                    () = admission.run() => {}
                    () = async { while !done.load(Ordering::SeqCst) { tokio::task::yield_now().await } } => {}
                }
            });
        }
    });
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let (admission, budget) = (admission.clone(), budget.clone());
            thread::spawn(move || {
                runtime().block_on(async {
                    let local = tokio::task::LocalSet::new();
                    for task in 0..8 {
                        let (party, budget) = (admission.party(), budget.clone());
                        local.spawn_local(async move {
                            for round in 0..200 {
                                let bytes = [700, 3000, 40_000, 150_000, 500_000][(worker + task + round) % 5];
                                let lease = match party.try_take(bytes) {
                                    Some(lease) => lease,
                                    None => party.take(bytes).unwrap().await,
                                };
                                assert!(budget.used(Holder::Requests) <= 800 * KIB);
                                tokio::task::yield_now().await;
                                drop(lease);
                            }
                        });
                    }
                    local.await;
                });
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    done.store(true, Ordering::SeqCst);
    pump.join().unwrap();
    assert_eq!((budget.used(Holder::Requests), admission.waiting()), (0, 0));
}
