//! A member without threads: its loops are turns that somebody makes, with the time as an input.
//!
//! All of it is what a running member does, but what is around it: listeners, calls, and the real disk. Made for simulations,
//! which decide when each turn is due, what time it is, and when the power fails. Dropping it is a `kill -9`.

use std::{path::Path, sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use tidegate_base::{Budget, LogIndex, LogPosition, Term};
use tidegate_engine::Engine;
use tidegate_kv::{
    Command, Reader,
    watch::{CreateSpec, Done, JobId, Piece, StreamId, TooMany},
};
use tidegate_raft::{Message, Status};
use tidegate_raftlog::{Disk, LogReader};

use crate::{
    config::Config,
    core::Millis,
    member::StartError,
    parts::{Boot, Parts},
    peers::PeerMessage,
    threads::{Fatal, Proposal, RaftInput, Work},
    ticket::{Notice, Reply, Ticket},
    watches::{Slice, Walk, Watches},
};

/// A message of a stream that a client has in part.
#[derive(Debug, Default)]
pub struct Receiving {
    message: Vec<u8>,
    more: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// An encoded `WatchResponse`.
    Message(Vec<u8>),
    /// Nothing more for now.
    Nothing,
    /// The stream is reset: the rest of a message cannot come.
    Broken,
}

/// See the module's head. Times are the member's own clock: milliseconds since it was opened.
pub struct Stepped<E: Engine> {
    parts: Parts<E>,
    watches: Watches,
    /// Reads for the hub, and how far they are.
    walks: Vec<(JobId, Walk)>,
}

impl<E: Engine> Stepped<E> {
    /// # Errors
    /// [`StartError`], as a member that does not start.
    pub fn open(
        config: Config,
        boot: &Boot,
        budget: Budget,
        disk: &Arc<dyn Disk>,
        log_dir: &Path,
        engine: Arc<E>,
    ) -> Result<Self, StartError> {
        let mut parts = Parts::open(config, boot, budget, (disk, log_dir), engine, (1, Work::idle(0)))?;
        let leases = std::mem::take(&mut parts.leases);
        parts.driver.begin(leases, 0);
        let watches = Watches::new(&parts.shared);
        Ok(Self { parts, watches, walks: Vec::new() })
    }

    /// When the next turn of raft is due whether or not something came.
    pub fn raft_wakes_at(&self) -> Millis {
        self.parts.driver.core.wake_at()
    }

    pub fn raft_has_input(&self) -> bool {
        !self.parts.shared.raft.is_empty()
    }

    pub fn log_has_input(&self) -> bool {
        !self.parts.log_jobs.is_empty()
    }

    pub fn apply_has_input(&self) -> bool {
        !self.parts.apply_jobs.is_empty()
    }

    pub fn io_has_input(&self) -> bool {
        !self.parts.shared.mailboxes[0].is_empty()
    }

    pub fn reads_wait(&self) -> bool {
        !self.walks.is_empty()
    }

    /// A turn of the raft thread; returns the messages that leave.
    pub fn raft(&mut self, now: Millis) -> Vec<Message> {
        let mut inputs = Vec::new();
        self.parts.shared.raft.take(&mut inputs, Duration::ZERO);
        self.parts.driver.turn(&mut inputs, now);
        std::mem::take(&mut self.parts.driver.outgoing)
    }

    /// A turn of the log thread.
    ///
    /// # Errors
    /// [`Fatal`]: the process would end.
    pub fn log(&mut self) -> Result<(), Fatal> {
        self.parts.logger.turn()?;
        self.parts.logger.prepare()
    }

    /// A turn of the apply thread; returns after how many milliseconds the next one is due without a job.
    ///
    /// # Errors
    /// [`Fatal`]: the process would end.
    pub fn apply(&mut self, now: Millis) -> Result<Millis, Fatal> {
        let mut jobs = Vec::new();
        self.parts.apply_jobs.take(&mut jobs, Duration::ZERO);
        self.parts.applier.turn(&mut jobs, now)?;
        Ok(self.parts.applier.pause)
    }

    /// A turn of the I/O thread: takes replies, with the number that each was asked under, and one piece of news.
    pub fn io(&mut self) -> Vec<(u32, Reply)> {
        let mut replies = Vec::new();
        match self.parts.shared.mailboxes[0].take(&mut replies) {
            Some(Notice::Events(events)) => self.watches.publish(&events),
            Some(Notice::Compacted(revision)) => self.watches.compacted(revision),
            Some(Notice::Term(term)) => self.watches.set_term(term),
            Some(Notice::WatchRoom) => self.watches.room(),
            Some(Notice::Reply(ticket, reply)) => replies.push((ticket, reply)),
            None => {}
        }
        self.begin_reads();
        replies.into_iter().map(|(ticket, reply)| (ticket.slot, reply)).collect()
    }

    /// The hub hears of time.
    pub fn tick(&mut self, now: Millis) {
        self.watches.hub().tick(Duration::from_millis(now));
        self.begin_reads();
    }

    /// Who is ready or may ask again finds out by asking.
    fn begin_reads(&mut self) {
        {
            let mut hub = self.watches.hub();
            while hub.next_ready().is_some() || hub.next_accepting().is_some() {}
        }
        while let Some(job) = { self.watches.hub().next_job() } {
            self.walks.push((job.id, Walk::new(job.work, job.bytes_max)));
        }
    }

    /// A turn of a work thread: `rows` rows of the read of number `at`, modulo how many there are.
    pub fn read(&mut self, at: usize, rows: usize) {
        let (id, walk) = self.walks.swap_remove(at % self.walks.len());
        let done = match walk.step(&self.parts.shared.reader, &mut Slice::rows(rows)) {
            Ok(rest) if self.watches.hub().is_wanted(id) => return self.walks.push((id, rest)),
            Ok(_) => Done::Failed,
            Err(done) => done,
        };
        self.watches.hub().done(id, done);
        self.begin_reads();
    }

    /// A message of a peer has come.
    pub fn receive(&self, message: PeerMessage) {
        self.parts.shared.raft.push(RaftInput::Peer(message));
    }

    /// Proposes an entry; its reply comes under `number`. Returns its request id.
    pub fn propose(&self, command: Command, message: Bytes, number: u32) -> u64 {
        let envelope = self.parts.shared.envelope(command);
        let (payload, origin) = (envelope.seal(message), Some(ticket(number)));
        self.parts.shared.raft.push(RaftInput::Propose(Proposal { payload, admitted: None, origin }));
        envelope.request_id
    }

    pub fn ask_read(&self, number: u32) {
        self.parts.shared.raft.push(RaftInput::Read(ticket(number)));
    }

    pub fn keep_alive(&self, lease: i64, number: u32) {
        self.parts.shared.raft.push(RaftInput::KeepAlive { lease, ticket: ticket(number) });
    }

    pub fn time_to_live(&self, lease: i64, number: u32) {
        self.parts.shared.raft.push(RaftInput::TimeToLive { lease, ticket: ticket(number) });
    }

    /// # Errors
    /// [`TooMany`].
    pub fn open_stream(&mut self, now: Millis, progress_every: Millis) -> Result<StreamId, TooMany> {
        let (now, every) = (Duration::from_millis(now), Duration::from_millis(progress_every));
        self.watches.hub().open_stream(now, every)
    }

    /// `first`: the stream had no watch before.
    pub fn create_watch(&mut self, stream: StreamId, spec: &CreateSpec, first: bool) {
        self.watches.create(&self.parts.shared, stream, spec, first);
        self.begin_reads();
    }

    pub fn close_stream(&mut self, stream: StreamId, watched: bool) {
        if watched {
            self.parts.shared.watches.fetch_sub(1, Ordering::SeqCst);
        }
        self.watches.hub().close_stream(stream);
        self.begin_reads();
    }

    /// The client takes what there is of its next message.
    pub fn receive_frame(&mut self, stream: StreamId, client: &mut Receiving) -> Received {
        let received = {
            let mut hub = self.watches.hub();
            loop {
                if client.more {
                    match hub.next_piece(stream) {
                        Piece::Bytes { bytes, more, .. } => {
                            client.message.extend_from_slice(&bytes);
                            client.more = more;
                        }
                        Piece::Wait => break Received::Nothing,
                        Piece::Broken => break Received::Broken,
                    }
                } else if client.message.is_empty() {
                    let Some(frame) = hub.next_frame(stream) else { break Received::Nothing };
                    client.message.extend_from_slice(&frame.bytes);
                    client.more = frame.more;
                }
                if !client.more {
                    break Received::Message(std::mem::take(&mut client.message));
                }
            }
        };
        self.begin_reads();
        received
    }

    pub fn status(&self) -> Status {
        self.parts.driver.core.status()
    }

    pub fn reader(&self) -> Reader<E> {
        self.parts.shared.reader.clone()
    }

    pub fn log_reader(&self) -> &LogReader {
        &self.parts.log_reader
    }

    /// The last applied entry.
    pub fn applied(&self) -> LogIndex {
        self.parts.shared.reader.applied()
    }

    /// The last entry in the log, durable or not.
    pub fn last(&self) -> LogPosition {
        self.parts.log_reader.bounds().1
    }

    /// Term of the entry at `index`, if this member has it, durable or not.
    pub fn has(&self, index: LogIndex) -> Option<Term> {
        self.parts.driver.core.view().term_at(index)
    }

    pub fn budget(&self) -> &Budget {
        &self.parts.shared.budget
    }
}

fn ticket(slot: u32) -> Ticket {
    Ticket { thread: 0, slot }
}
