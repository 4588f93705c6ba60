//! A watch, a stream, and what waits in a stream's queue.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tidegate_base::Lease;

use super::{
    config::{ANSWERS_MAX, CHUNK_BYTES, ITEM_BYTES},
    event::RevisionEvents,
    hub::StreamId,
    job::{Ask, Size},
    span::KeySpan,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Every revision the thread was told is delivered, queued, or of no interest.
    Live,
    /// `next` is yet to be read.
    Behind,
    /// A read for it is under way.
    Reading,
    /// Compaction overtook it. It stays until the client cancels it or the stream ends.
    Dead,
}

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) stream: StreamId,
    pub(super) id: i64,
    pub(super) span: KeySpan,
    /// No event below it is due.
    pub(super) next: i64,
    /// Changes when the watch goes back to its cursor: what was queued or read for it before is void.
    pub(super) epoch: u64,
    pub(super) state: State,
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
    pub(super) prev_kv: bool,
    pub(super) notify: bool,
    pub(super) fragment: bool,
    /// The thread was not told `quiet_until` yet.
    pub(super) future: bool,
    /// No progress is told below it: its start, and the revision its creation was answered with.
    pub(super) quiet_until: i64,
    /// It was sent events since the last tick.
    pub(super) active: bool,
}

/// A watch as it was when something was queued for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatchRef {
    pub(super) slot: u32,
    pub(super) epoch: u64,
}

/// Events of one revision.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Picks {
    Run { first: u32, count: u32 },
    List(Box<[u32]>),
}

impl Picks {
    pub(super) fn new(events: &[u32]) -> Option<Self> {
        let (first, last) = (*events.first()?, *events.last()?);
        let count = u32::try_from(events.len()).expect("a revision of 1 MiB has fewer than 2^32 events");
        let is_run = last - first + 1 == count;
        Some(if is_run { Self::Run { first, count } } else { Self::List(events.into()) })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let (run, list) = match self {
            Self::Run { first, count } => (*first..first + count, &[][..]),
            Self::List(list) => (0..0, &list[..]),
        };
        run.chain(list.iter().copied()).map(|event| event as usize)
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Run { .. } => 0,
            Self::List(list) => size_of_val(&list[..]) as u64,
        }
    }
}

/// What a read brought, shared by the streams that wait for it.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) revisions: Vec<RevisionEvents>,
    /// The last revision of the store when it was asked for.
    pub(super) header: i64,
    /// What it holds beyond a place among the jobs.
    pub(super) _extra: Option<Lease>,
}

#[derive(Debug)]
pub(super) enum Item {
    Created {
        id: i64,
        revision: i64,
    },
    Failed {
        reason: Box<str>,
        revision: i64,
    },
    Canceled {
        id: i64,
        revision: i64,
    },
    /// Compaction passed the cursor.
    Compacted {
        id: i64,
        compacted: i64,
    },
    Progress {
        watch: WatchRef,
        revision: i64,
    },
    /// Answer to a request for progress; void once a watch of the stream went back to its cursor.
    ProgressAll {
        epoch: u64,
        revision: i64,
    },
    Live {
        watch: WatchRef,
        revision: i64,
        picks: Picks,
    },
    Batch {
        watch: WatchRef,
        batch: Arc<Batch>,
        at: usize,
        from: i64,
    },
    /// A batch that was taken back: the watch goes on at its cursor, which is `revision`.
    Revoked {
        watch: WatchRef,
        revision: i64,
    },
    /// One revision that is read while it is sent.
    Large {
        watch: WatchRef,
        revision: i64,
        from_sub: u32,
        size: Option<Size>,
        header: i64,
    },
}

impl Item {
    /// An answer to a request: room for it is part of the stream.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Item::Created { .. } | Item::Failed { .. } | Item::Canceled { .. } | Item::ProgressAll { .. })
    }

    /// Holds a watch in catch-up: until it is gone no other read begins for the stream.
    pub(super) fn is_caught_up(&self) -> bool {
        matches!(self, Item::Batch { .. } | Item::Revoked { .. } | Item::Large { .. })
    }

    pub(super) fn charge(&self) -> u64 {
        match self {
            item if item.is_answer() => 0,
            Item::Live { picks, .. } => ITEM_BYTES + picks.bytes(),
            _ => ITEM_BYTES,
        }
    }
}

/// Where the bytes of a frame under way come from, besides the ring.
#[derive(Debug)]
pub(super) enum Memory {
    None,
    /// A job was asked for.
    Wanted,
    /// Revision `at` of the batch.
    Batch {
        batch: Arc<Batch>,
        at: usize,
        next: Option<u32>,
    },
    Failed,
}

/// A frame that is sent in pieces: a length that was promised, and the position reached.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) serial: u64,
    pub(super) ask: Ask,
    pub(super) revision: i64,
    pub(super) left: u64,
    /// The event that comes next, and how much of it is sent.
    pub(super) sub: u32,
    pub(super) skip: usize,
    /// The sub that the next frame begins with: were events shorter than they were measured, because compaction took
    /// previous pairs in between, the frame would otherwise go on into those of the next.
    pub(super) until: Option<u32>,
    pub(super) memory: Memory,
    /// Bytes that the next job must be able to hold.
    pub(super) needs: usize,
}

#[derive(Debug)]
pub(super) struct Stream {
    /// Sorted by id.
    pub(super) ids: Vec<(i64, u32)>,
    pub(super) next_id: i64,
    pub(super) queue: VecDeque<Item>,
    pub(super) queue_bytes: u64,
    /// Watches in state Behind.
    pub(super) behind: Vec<u32>,
    pub(super) sending: Option<Box<Sending>>,
    /// Answers to requests in the queue.
    pub(super) answers: u32,
    /// Items of reads in the queue.
    pub(super) caught_up: u32,
    /// Reads for catch-up under way.
    pub(super) jobs: u32,
    /// Watches that are not Live.
    pub(super) unsynced: u32,
    pub(super) futures: u32,
    pub(super) notify: u32,
    pub(super) epoch: u64,
    /// The driver found nothing and waits to be told.
    pub(super) hungry: bool,
    /// The driver reads no request until it is told.
    pub(super) held_off: bool,
    /// In the hub's line for catch-up.
    pub(super) waiting: bool,
    /// A watch that is behind may lie below the compacted revision.
    pub(super) check_compacted: bool,
    /// The size of the item in front is being measured.
    pub(super) measuring: bool,
    /// In the hub's list of those that found no room.
    pub(super) starved: bool,
    /// Revision in the ring whose previous pairs the stream waits for.
    pub(super) awaits: i64,
    /// Bytes of the next read for this stream: less after one that it did not take in time.
    pub(super) appetite: usize,
    /// Requests for progress that wait for the thread to reach `progress_at`.
    pub(super) progress_asked: u32,
    pub(super) progress_at: i64,
    pub(super) every: Duration,
    pub(super) next_tick: Duration,
}

impl Stream {
    pub(super) fn new(now: Duration, every: Duration) -> Self {
        Self {
            ids: Vec::new(),
            next_id: 0,
            queue: VecDeque::new(),
            queue_bytes: 0,
            behind: Vec::new(),
            sending: None,
            answers: 0,
            caught_up: 0,
            jobs: 0,
            unsynced: 0,
            futures: 0,
            notify: 0,
            epoch: 0,
            hungry: true,
            held_off: false,
            waiting: false,
            check_compacted: false,
            measuring: false,
            starved: false,
            awaits: 0,
            appetite: CHUNK_BYTES,
            progress_asked: 0,
            progress_at: 0,
            every,
            next_tick: now.saturating_add(every),
        }
    }

    /// Whether another request may be read.
    pub(super) fn has_room(&self) -> bool {
        self.answers + self.progress_asked < ANSWERS_MAX
    }

    pub(super) fn slot_of(&self, id: i64) -> Option<u32> {
        let at = self.ids.binary_search_by_key(&id, |entry| entry.0).ok()?;
        Some(self.ids[at].1)
    }

    /// Counts an item that is about to enter the queue, and makes room for it. The table grows by eighths, so that what
    /// is charged covers it.
    pub(super) fn count_in(&mut self, item: &Item) {
        if self.queue.len() == self.queue.capacity() {
            self.queue.reserve_exact((self.queue.len() / 8).max(4));
        }
        self.queue_bytes += item.charge();
        self.answers += u32::from(item.is_answer());
        self.caught_up += u32::from(item.is_caught_up());
    }

    /// Counts an item that has left the queue and answers the bytes to give back.
    pub(super) fn count_out(&mut self, item: &Item) -> u64 {
        self.queue_bytes -= item.charge();
        self.answers -= u32::from(item.is_answer());
        self.caught_up -= u32::from(item.is_caught_up());
        if self.queue.is_empty() && self.queue.capacity() > 8 {
            self.queue = VecDeque::new();
        }
        item.charge()
    }
}
