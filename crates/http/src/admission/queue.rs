use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

use futures_util::task::AtomicWaker;
use tidegate_base::{Budget, Holder, Lease};

use super::party::{Party, Share};

/// Most bytes of a small call, its decode allowance included: the lane of keep-alives, gets and ordinary puts.
pub const SMALL_MAX: u64 = 8 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Small,
    Large,
}

impl Lane {
    pub(super) const fn of(bytes: u64) -> Self {
        if bytes <= SMALL_MAX { Lane::Small } else { Lane::Large }
    }
}

/// The queue before one holder of the budget. Cheap to clone.
#[derive(Clone)]
pub struct Admission(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) budget: Budget,
    pub(super) holder: Holder,
    /// Room that large calls leave to small ones.
    reserve: u64,
    /// Most bytes of one connection, unless a single call needs more.
    pub(super) share_max: u64,
    /// More than this can never be granted.
    pub(super) call_max: u64,
    pub(super) waiting: [AtomicUsize; 2],
    queues: Mutex<[Queue; 2]>,
    next_party: AtomicU64,
    next_ticket: AtomicU64,
    kicked: AtomicBool,
    pump: AtomicWaker,
}

/// One lane.
#[derive(Default)]
pub(super) struct Queue {
    parties: BTreeMap<u64, Waiters>,
    /// Parties with a waiting call that their share allows.
    turns: VecDeque<u64>,
    granted: BTreeMap<u64, Lease>,
}

struct Waiters {
    share: Arc<Share>,
    in_turn: bool,
    calls: BTreeMap<u64, Waiter>,
}

struct Waiter {
    bytes: u64,
    waker: Option<Waker>,
}

/// What a waiting call finds when it looks.
pub(super) enum Look {
    Granted(Lease),
    Waits,
}

impl Admission {
    /// A queue before `holder`. Large calls leave an eighth of its floor free.
    ///
    /// # Panics
    /// When the holder has a hook for room already: there is one queue before a holder.
    pub fn new(budget: Budget, holder: Holder) -> Self {
        let floor = budget.limits().floor(holder);
        let reserve = floor / 8;
        let shared = Arc::new(Shared {
            reserve,
            share_max: floor / 4,
            call_max: (floor - reserve) + budget.limits().pool,
            waiting: [AtomicUsize::new(0), AtomicUsize::new(0)],
            queues: Mutex::default(),
            next_party: AtomicU64::new(0),
            next_ticket: AtomicU64::new(0),
            kicked: AtomicBool::new(false),
            pump: AtomicWaker::new(),
            budget: budget.clone(),
            holder,
        });
        let weak = Arc::downgrade(&shared); // the budget outlives the queue, and the queue holds the budget
        budget.on_room(holder, move || {
            if let Some(shared) = weak.upgrade() {
                shared.kick();
            }
        });
        Self(shared)
    }

    /// Grants what fits whenever bytes come back. Never ends; somebody must run it, once. Cancel safe.
    pub async fn run(&self) {
        poll_fn(|cx| {
            self.0.pump.register(cx.waker());
            while self.0.kicked.swap(false, Ordering::SeqCst) {
                self.0.pump();
            }
            Poll::Pending
        })
        .await
    }

    /// A new connection's part in the queue.
    pub fn party(&self) -> Party {
        let id = self.0.next_party.fetch_add(1, Ordering::Relaxed);
        Party(Arc::new(Share::new(Arc::clone(&self.0), id)))
    }

    /// Calls that wait now.
    pub fn waiting(&self) -> usize {
        self.0.waiting.iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }

    pub fn holder(&self) -> Holder {
        self.0.holder
    }
}

impl Shared {
    pub(super) fn kick(&self) {
        self.kicked.store(true, Ordering::SeqCst);
        self.pump.wake();
    }

    pub(super) fn anybody_waits(&self) -> bool {
        self.waiting.iter().any(|n| n.load(Ordering::SeqCst) > 0)
    }

    fn lock(&self) -> MutexGuard<'_, [Queue; 2]> {
        self.queues.lock().expect("no panic under the lock")
    }

    /// A lease without waiting, for a call that overtakes nobody.
    pub(super) fn lease_now(&self, lane: Lane, bytes: u64) -> Option<Lease> {
        if self.waiting[lane as usize].load(Ordering::SeqCst) > 0 {
            return None;
        }
        match lane {
            Lane::Small => self.lease(lane, bytes),
            Lane::Large => {
                let _one_at_a_time = self.lock(); // else two threads could both take the last room above the reserve
                self.lease(lane, bytes)
            }
        }
    }

    fn lease(&self, lane: Lane, bytes: u64) -> Option<Lease> {
        let needed = match lane {
            Lane::Small => bytes,
            Lane::Large => bytes.saturating_add(self.reserve),
        };
        // Looks before it tries, so that waiting does not count as refusals.
        let fits = self.budget.room(self.holder) >= needed;
        if fits { self.budget.try_lease(self.holder, bytes) } else { None }
    }

    /// The ticket under which the call waits.
    pub(super) fn enter(&self, lane: Lane, share: &Arc<Share>, bytes: u64, waker: &Waker) -> u64 {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let mut queues = self.lock();
        let queue = &mut queues[lane as usize];
        let new = || Waiters { share: Arc::clone(share), in_turn: false, calls: BTreeMap::new() };
        let waiters = queue.parties.entry(share.id).or_insert_with(new);
        waiters.calls.insert(ticket, Waiter { bytes, waker: Some(waker.clone()) });
        queue.queue_turn(share.id);
        self.waiting[lane as usize].fetch_add(1, Ordering::SeqCst);
        drop(queues);
        self.pump();
        ticket
    }

    pub(super) fn look(&self, lane: Lane, share: &Share, ticket: u64, waker: &Waker) -> Look {
        let mut queues = self.lock();
        let queue = &mut queues[lane as usize];
        if let Some(lease) = queue.granted.remove(&ticket) {
            return Look::Granted(lease);
        }
        let waiters = queue.parties.get_mut(&share.id);
        if let Some(waiter) = waiters.and_then(|waiters| waiters.calls.get_mut(&ticket)) {
            match &mut waiter.waker {
                Some(old) => old.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
        Look::Waits
    }

    /// Gives up a place. A lease that was granted meanwhile is returned, to be dropped outside of the lock.
    pub(super) fn leave(&self, lane: Lane, share: &Share, ticket: u64) -> Option<Lease> {
        let mut queues = self.lock();
        let queue = &mut queues[lane as usize];
        let granted = queue.granted.remove(&ticket);
        if let Some(waiters) = queue.parties.get_mut(&share.id)
            && waiters.calls.remove(&ticket).is_some()
        {
            self.waiting[lane as usize].fetch_sub(1, Ordering::SeqCst);
            if waiters.calls.is_empty() && !waiters.in_turn {
                queue.parties.remove(&share.id);
            }
        }
        drop(queues);
        self.kick(); // who stood behind it may fit
        granted
    }

    /// A party has given bytes back: its share may allow its next call.
    pub(super) fn returned(&self, id: u64) {
        let mut queues = self.lock();
        for queue in queues.iter_mut() {
            queue.queue_turn(id);
        }
        drop(queues);
        self.kick();
    }

    /// Grants what fits now. Wakes after the lock is gone: a wake-up may run foreign code.
    fn pump(&self) {
        let mut wakers = Vec::new();
        let mut queues = self.lock();
        for (lane, queue) in [Lane::Small, Lane::Large].into_iter().zip(queues.iter_mut()) {
            while let Some((ticket, bytes, share)) = queue.next_fitting(self.share_max) {
                let lease = self.lease(lane, bytes).or_else(|| {
                    self.budget.want_room(self.holder); // then once more: bytes may have come back in between
                    self.lease(lane, bytes)
                });
                let Some(lease) = lease else { break };
                share.add(bytes);
                wakers.extend(queue.grant(share.id, ticket, lease));
                self.waiting[lane as usize].fetch_sub(1, Ordering::SeqCst);
            }
        }
        drop(queues);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Queue {
    fn queue_turn(&mut self, id: u64) {
        if let Some(waiters) = self.parties.get_mut(&id)
            && !waiters.in_turn
        {
            waiters.in_turn = true;
            self.turns.push_back(id);
        }
    }

    /// The call whose turn it is. A party whose share is used up leaves the ring; its next return brings it back.
    fn next_fitting(&mut self, share_max: u64) -> Option<(u64, u64, Arc<Share>)> {
        while let Some(&id) = self.turns.front() {
            if let Some(waiters) = self.parties.get_mut(&id) {
                match waiters.calls.first_key_value() {
                    Some((&ticket, waiter)) if waiters.share.allows(waiter.bytes, share_max) => {
                        return Some((ticket, waiter.bytes, Arc::clone(&waiters.share)));
                    }
                    Some(_) => waiters.in_turn = false,
                    None => drop(self.parties.remove(&id)),
                }
            }
            self.turns.pop_front();
        }
        None
    }

    fn grant(&mut self, id: u64, ticket: u64, lease: Lease) -> Option<Waker> {
        self.granted.insert(ticket, lease);
        self.turns.rotate_left(1);
        self.parties.get_mut(&id)?.calls.remove(&ticket)?.waker
    }
}
