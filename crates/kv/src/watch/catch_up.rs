//! Reads: which are asked for, and for whom. What becomes of their results is in `results`.

use tidegate_base::Lease;

use super::{
    config::{NEAR_REVISIONS, SHARED_MAX},
    hub::{Hub, StreamId},
    job::{Ask, Job, JobId, Scope, Work},
    span::{KeySpan, Spans},
    stream::{Item, Memory, State, Watch, WatchRef},
};

/// A read that a frame waits for.
#[derive(Debug)]
pub(super) enum Wanted {
    /// The next events of the frame under way.
    Events(StreamId),
    /// The size of the item in front.
    Size(StreamId),
    /// The sizes of a revision too large to hold, for watches that met it in one shared read.
    Sizes { revision: i64, header: i64, watches: Vec<WatchRef> },
    /// Previous pairs of a revision in the ring.
    Previous(i64),
}

impl Wanted {
    pub(super) fn stream(&self) -> Option<StreamId> {
        match self {
            Wanted::Events(stream) | Wanted::Size(stream) => Some(*stream),
            Wanted::Sizes { .. } | Wanted::Previous(_) => None,
        }
    }
}

/// A job under way, and whom its result is for.
#[derive(Debug)]
pub(super) enum Flight {
    CatchUp {
        watches: Vec<WatchRef>,
        streams: Vec<StreamId>,
        to: i64,
    },
    Sizes {
        revision: i64,
        header: i64,
        watches: Vec<WatchRef>,
        streams: Vec<StreamId>,
    },
    Size {
        stream: StreamId,
        watch: WatchRef,
        revision: i64,
        from_sub: u32,
    },
    /// `extra` are bytes beyond a place of a job.
    Events {
        stream: StreamId,
        serial: u64,
        extra: Option<Lease>,
    },
    Previous {
        revision: i64,
    },
}

impl Hub {
    /// Whether one more job may begin. A place is taken until the last stream has let go of what was read.
    pub(super) fn has_place(&self) -> bool {
        let held = self.held.iter().filter(|held| held.batch.strong_count() > 0).count();
        self.flights.len() + held < self.config.jobs_max
    }

    /// The next read for the engine, if one is needed and has a place.
    pub fn next_job(&mut self) -> Option<Job> {
        while self.has_place() {
            let job = if let Some(wanted) = self.wanted.pop_front() {
                self.job_for_frame(wanted)
            } else {
                let stream = self.waiting.pop_front()?;
                self.job_for_catch_up(stream)
            };
            if let Some((work, bytes_max, flight)) = job {
                let id = self.next_serial();
                self.flights.insert(id, flight);
                self.stats.jobs += 1;
                return Some(Job { id: JobId(id), work, bytes_max });
            }
        }
        None
    }

    fn job_for_frame(&mut self, wanted: Wanted) -> Option<(Work, usize, Flight)> {
        let bytes_max = self.config.job_bytes;
        match wanted {
            Wanted::Events(stream) => {
                let sending = self.stream(stream)?.sending.as_ref()?;
                let (revision, from_sub) = (sending.revision, sending.sub);
                let (ask, serial, needs) = (sending.ask.clone(), sending.serial, sending.needs);
                let mut extra = None;
                if needs > bytes_max {
                    extra = self.lease(stream, needs - bytes_max);
                    if extra.is_none() {
                        let sending = self.stream_mut(stream)?.sending.as_mut()?;
                        sending.memory = Memory::None;
                        return None;
                    }
                }
                let flight = Flight::Events { stream, serial, extra };
                Some((Work::Events { revision, from_sub, ask }, bytes_max.max(needs), flight))
            }
            Wanted::Size(stream) => {
                let open = self.stream_mut(stream)?;
                open.measuring = false;
                let Some(Item::Large { watch, revision, from_sub, .. }) = open.queue.front() else { return None };
                let (watch, revision, from_sub) = (*watch, *revision, *from_sub);
                let Some(found) = self.watch(watch) else {
                    self.wake(stream);
                    return None;
                };
                let asks = vec![self.ask(found)];
                self.stream_mut(stream)?.measuring = true;
                Some((
                    Work::Measure { revision, from_sub, asks },
                    bytes_max,
                    Flight::Size { stream, watch, revision, from_sub },
                ))
            }
            Wanted::Sizes { revision, header, watches } => {
                let alive: Vec<WatchRef> = watches.into_iter().filter(|watch| self.watch(*watch).is_some()).collect();
                let asks: Vec<Ask> = alive.iter().filter_map(|watch| Some(self.ask(self.watch(*watch)?))).collect();
                let streams = self.streams_of(&alive);
                if asks.is_empty() {
                    return None;
                }
                self.begin(&streams);
                let flight = Flight::Sizes { revision, header, watches: alive, streams };
                Some((Work::Measure { revision, from_sub: 0, asks }, bytes_max, flight))
            }
            Wanted::Previous(revision) => {
                self.ring.get(revision)?;
                let ask = Ask {
                    span: KeySpan::all(),
                    no_put: false,
                    no_delete: false,
                    previous: true,
                    bytes_max: self.config.message_bytes,
                };
                Some((Work::Events { revision, from_sub: 0, ask }, bytes_max, Flight::Previous { revision }))
            }
        }
    }

    pub(super) fn ask(&self, watch: &Watch) -> Ask {
        Ask {
            span: watch.span.clone(),
            no_put: watch.no_put,
            no_delete: watch.no_delete,
            previous: watch.prev_kv,
            bytes_max: if watch.fragment { self.config.fragment_bytes } else { self.config.message_bytes },
        }
    }

    fn streams_of(&self, watches: &[WatchRef]) -> Vec<StreamId> {
        let mut streams: Vec<StreamId> = watches.iter().filter_map(|watch| Some(self.watch(*watch)?.stream)).collect();
        streams.sort_unstable();
        streams.dedup();
        streams
    }

    fn begin(&mut self, streams: &[StreamId]) {
        for id in streams {
            if let Some(stream) = self.stream_mut(*id) {
                stream.jobs += 1;
            }
        }
    }

    /// A read for the watch of `stream` that is furthest behind, shared with watches near it: of this stream, and of
    /// those that stand in line behind it.
    fn job_for_catch_up(&mut self, id: StreamId) -> Option<(Work, usize, Flight)> {
        let (last, compacted) = (self.last, self.compacted);
        let stream = self.stream_mut(id)?;
        stream.waiting = false;
        if stream.jobs > 0 || stream.caught_up > 0 {
            return None;
        }
        let appetite = stream.appetite;
        let behind = self.stream(id)?.behind.iter();
        let (_, slot) = behind.filter_map(|slot| Some((self.watches.get(*slot)?.next, *slot))).min()?;
        let leader = self.watches.get(slot)?;
        if leader.next < compacted {
            self.check_compacted(id);
            return None;
        }
        let (from, previous, span) = (leader.next, leader.prev_kv, leader.span.clone());
        let far = |next: i64| last - next > NEAR_REVISIONS;
        let by_key = span.is_one() && far(from);
        let shares = |watch: &Watch| {
            let near = watch.next >= from.max(compacted) && watch.next - from <= NEAR_REVISIONS;
            let same_way = if by_key { watch.span == span } else { !(watch.span.is_one() && far(watch.next)) };
            near && same_way && watch.prev_kv == previous
        };
        let mut watches = vec![leader.to_ref(slot)];
        let mut spans = vec![span.clone()];
        let mut looks = 4 * SHARED_MAX;
        'candidates: for candidate in std::iter::once(id).chain(self.waiting.iter().copied()) {
            let behind = self.stream(candidate).map_or(&[][..], |stream| &stream.behind);
            for other in behind.iter().filter(|other| **other != slot) {
                if looks == 0 || watches.len() == SHARED_MAX {
                    break 'candidates;
                }
                looks -= 1;
                if let Some(watch) = self.watches.get(*other).filter(|watch| shares(watch)) {
                    watches.push(watch.to_ref(*other));
                    spans.push(watch.span.clone());
                }
            }
        }
        for watch in &watches {
            self.set_state(watch.slot, State::Reading);
        }
        let streams = self.streams_of(&watches);
        self.begin(&streams);
        for taken in &streams {
            let mut behind = std::mem::take(&mut self.stream_mut(*taken)?.behind);
            behind.retain(|slot| self.watches.get(*slot).is_some_and(|watch| watch.state == State::Behind));
            let stream = self.stream_mut(*taken)?;
            (stream.behind, stream.waiting) = (behind, false);
        }
        self.waiting.retain(|waiting| streams.binary_search(waiting).is_err());
        let scope = if by_key { Scope::Key(span) } else { Scope::Spans(Spans::merge(spans)) };
        let bytes_max = if streams.len() > 1 { self.config.job_bytes } else { appetite.min(self.config.job_bytes) };
        let work = Work::CatchUp { scope, from, to: last, previous };
        Some((work, bytes_max, Flight::CatchUp { watches, streams, to: last }))
    }
}
