//! One log entry from its message to its outcome, in as many batches as it needs.

use bytes::Bytes;
use prost::Message;
use tidegate_api::{
    Error, KeyRange,
    pb::etcdserverpb::{
        AlarmRequest, CompactionRequest, DeleteRangeRequest, LeaseRevokeRequest, Member, PutRequest, TxnRequest,
    },
};
use tidegate_base::{
    LogPosition, Payload,
    planted::{Fault, is_planted},
};
use tidegate_engine::Engine;

use super::{
    Fatal, Machine, Step,
    ops::Recorder,
    shape::{Op, Shape, delete_op, nest, oldest_recipe, range_spec},
};
use crate::{
    Answer, Bound, Command, DeleteAnswer, Envelope, LeaseChange, OpAnswer, Outcome, PreviousPair, PutAnswer,
    RangeAnswer, RangeSpec, Version,
    reader::head_span,
    rows::{CursorKind, OpCursor, lease_key, member_key},
    watch::RevisionBuilder,
};

/// An entry under way.
pub(super) struct Entry {
    position: LogPosition,
    request_id: u64,
    pub(super) main: i64,
    pub(super) ops: Vec<Op>,
    shape: Shape,
    /// The operation that is under way, and the last key that it is done with.
    at: usize,
    behind: Option<Vec<u8>>,
    next_sub: u32,
    /// Keys deleted by the operation under way, and the sub that it began with.
    deleted: i64,
    began_sub: u32,
    answers: Vec<OpAnswer>,
    leases: Vec<LeaseChange>,
    recorder: Recorder,
}

impl<E: Engine> Machine<E> {
    /// Applies the next entry of the log. Its outcome may be told after the next [`Machine::commit`].
    ///
    /// # Errors
    /// [`Fatal`]: the member must stop. What a client did wrong is an outcome.
    pub fn apply(&mut self, position: LogPosition, payload: &Payload) -> Result<Step, Fatal> {
        assert!(self.entry.is_none(), "an entry is under way");
        let expected = self.meta.applied.index.next();
        if position.index != expected {
            return Err(Fatal::Order { expected, got: position.index });
        }
        if payload.is_empty() {
            return Ok(self.done(position, 0, Ok(Answer::Empty)));
        }
        let index = position.index;
        let (envelope, message) = Envelope::open(payload).map_err(|error| Fatal::Envelope { index, error })?;
        let id = envelope.request_id;
        let wrong = |error: prost::DecodeError| Fatal::Message { index, detail: error.to_string() };
        match envelope.command {
            Command::Put => {
                let put = PutRequest::decode(message).map_err(wrong)?;
                self.begin(position, id, vec![Op::Put(put)], Shape::Single)
            }
            Command::DeleteRange => {
                let delete = DeleteRangeRequest::decode(message).map_err(wrong)?;
                self.begin(position, id, vec![delete_op(delete)], Shape::Single)
            }
            Command::Txn => {
                let txn = TxnRequest::decode(message).map_err(wrong)?;
                let (ops, shape) = self.decide(position, txn)?;
                self.begin(position, id, ops, Shape::Txn(shape))
            }
            Command::LeaseRevoke | Command::LeaseExpire { .. } => {
                let revoke = LeaseRevokeRequest::decode(message).map_err(wrong)?;
                if let Command::LeaseExpire { behind } = envelope.command
                    && self.lease_granted(revoke.id)? > behind
                {
                    return Ok(self.done(position, id, Ok(Answer::LeaseRevoke)));
                }
                self.begin(position, id, vec![Op::Revoke(revoke.id)], Shape::Single)
            }
            Command::LeaseGrant { id: lease, ttl_seconds } => self.grant(position, id, lease, ttl_seconds),
            Command::Compaction => {
                let request = CompactionRequest::decode(message).map_err(wrong)?;
                Ok(self.compaction(position, id, request.revision))
            }
            Command::Alarm => {
                let request = AlarmRequest::decode(message).map_err(wrong)?;
                self.alarm(position, id, &request)
            }
            Command::Member => {
                let member = Member::decode(message.clone()).map_err(wrong)?;
                let row = [&[1], &message[..]].concat();
                self.put_state(member_key(member.id).to_vec(), row);
                Ok(self.done(position, id, Ok(Answer::Member(member))))
            }
        }
    }

    /// Goes on with the entry that was interrupted by [`Step::More`], after a commit.
    ///
    /// # Errors
    /// As [`Machine::apply`].
    pub fn resume(&mut self) -> Result<Step, Fatal> {
        self.run()
    }

    fn begin(&mut self, position: LogPosition, request_id: u64, ops: Vec<Op>, shape: Shape) -> Result<Step, Fatal> {
        if ops.iter().any(|op| matches!(op, Op::Put(put) if put.ignore_value && self.value_is_in_the_batch(&put.key))) {
            self.commit_open()?; // the old value may stand in the open batch, which cannot be read
        }
        let resumed = self.meta.cursor.take().filter(|cursor| cursor.index == position.index);
        let resumed = resumed.filter(|_| !is_planted(Fault::ChunkCursorForgotten));
        if resumed.is_none()
            && let Some(error) = self.refusal(&ops)?
        {
            return Ok(self.done(position, request_id, Err(error)));
        }
        let main = self.meta.visible + 1;
        let wanted = self.events_wanted && resumed.is_none();
        let builder = wanted.then(|| RevisionBuilder::new(main, self.config.live_bytes_max));
        let (at, next_sub, behind) = match resumed {
            None => (0, 0, None),
            Some(cursor) => (
                usize::try_from(cursor.op).unwrap_or(usize::MAX),
                cursor.next_sub,
                (cursor.kind == CursorKind::Behind).then_some(cursor.key),
            ),
        };
        self.entry = Some(Box::new(Entry {
            position,
            request_id,
            main,
            ops,
            shape,
            at,
            behind,
            next_sub,
            deleted: 0,
            began_sub: next_sub,
            answers: Vec::new(),
            leases: Vec::new(),
            recorder: Recorder { builder },
        }));
        self.run()
    }

    fn run(&mut self) -> Result<Step, Fatal> {
        let mut entry = self.entry.take().expect("an entry is under way");
        while entry.at < entry.ops.len() {
            if !self.execute(&mut entry)? || (self.batch_is_full() && entry.at < entry.ops.len()) {
                self.meta.cursor = Some(OpCursor {
                    index: entry.position.index,
                    op: entry.at as u64,
                    next_sub: entry.next_sub,
                    kind: if entry.behind.is_some() { CursorKind::Behind } else { CursorKind::Between },
                    key: entry.behind.clone().unwrap_or_default(),
                });
                self.entry = Some(entry);
                return Ok(Step::More);
            }
        }
        self.meta.cursor = None;
        let changed = entry.next_sub > 0;
        if changed {
            self.meta.visible = entry.main;
        }
        let mut answers = entry.answers.into_iter();
        let answer = match entry.shape {
            Shape::Txn(shape) => Answer::Txn(nest(shape, &mut answers)),
            Shape::Single => match answers.next() {
                Some(OpAnswer::Put(put)) => Answer::Put(put),
                Some(OpAnswer::Delete(delete)) => Answer::Delete(delete),
                _ => Answer::LeaseRevoke,
            },
        };
        let Step::Done(mut outcome) = self.done(entry.position, entry.request_id, Ok(answer)) else {
            unreachable!("done is done")
        };
        outcome.changed = changed;
        outcome.leases = entry.leases;
        outcome.events = entry.recorder.builder.filter(|_| changed);
        outcome.pin = oldest_recipe(&outcome.result).map(|revision| crate::Pin::take(&self.reader.shared, revision));
        Ok(Step::Done(outcome))
    }

    /// Executes the operation under way, or a part of it. `false` when the batch is full before its end.
    fn execute(&mut self, entry: &mut Entry) -> Result<bool, Fatal> {
        let main = entry.main;
        let revision_now = |subs: u32| if subs > 0 { main } else { main - 1 };
        match &entry.ops[entry.at] {
            Op::Put(put) => {
                let old = self.head(&put.key)?;
                let before = old.as_ref().filter(|old| old.live());
                let at = Version::new(main, entry.next_sub);
                let lease = match before {
                    Some(before) if put.ignore_lease => before.info.lease,
                    _ => put.lease,
                };
                let value = match before {
                    Some(before) if put.ignore_value => self.value_of(before)?,
                    _ => put.value.clone(),
                };
                let previous = before
                    .filter(|_| put.prev_kv)
                    .map(|_| PreviousPair { key: Bytes::copy_from_slice(&put.key), bound: Bound(at) });
                let key = put.key.clone();
                self.write_put(at, &key, &value, lease, old.as_ref(), &mut entry.recorder);
                entry.next_sub += 1;
                entry.answers.push(OpAnswer::Put(PutAnswer { header_revision: main, previous }));
            }
            Op::Range(range) => {
                let bound =
                    if range.revision <= 0 { Bound::within(main, entry.next_sub) } else { Bound::at(range.revision) };
                let spec = range_spec(range, bound);
                let header_revision = revision_now(entry.next_sub);
                entry.answers.push(OpAnswer::Range(RangeAnswer { spec, header_revision }));
            }
            Op::Delete { range, previous } => {
                let (range, previous) = (range.clone(), *previous);
                if !self.delete_range(&range, entry)? {
                    return Ok(false);
                }
                let deleted = std::mem::take(&mut entry.deleted);
                let bound = Bound::within(main, entry.began_sub);
                let previous = (previous && deleted > 0).then(|| RangeSpec::all(range.detached(), bound));
                let header_revision = revision_now(entry.next_sub);
                entry.answers.push(OpAnswer::Delete(DeleteAnswer { header_revision, deleted, previous }));
            }
            Op::Revoke(id) => {
                let id = *id;
                if !self.revoke(id, entry)? {
                    return Ok(false);
                }
                self.delete_state(lease_key(id).to_vec());
                entry.leases.push(LeaseChange::Revoked { id });
            }
        }
        entry.at += 1;
        entry.behind = None;
        entry.began_sub = entry.next_sub;
        Ok(true)
    }

    fn delete_range(&mut self, range: &KeyRange, entry: &mut Entry) -> Result<bool, Fatal> {
        let (lower, upper) = head_span(range);
        let mut from = match &entry.behind {
            Some(behind) => {
                let mut from = behind.clone();
                from.push(0);
                from
            }
            None => lower,
        };
        while from < upper {
            let slice = self.heads_slice(&from, &upper)?;
            for (row_key, head) in slice.rows.iter().filter(|(_, head)| head.live()) {
                let at = Version::new(entry.main, entry.next_sub);
                self.write_delete(at, Self::user_key(row_key), head, &mut entry.recorder);
                entry.next_sub += 1;
                entry.deleted += 1;
                if self.batch_is_full() {
                    entry.behind = Some(row_key.clone());
                    return Ok(false);
                }
            }
            match slice.next {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(true)
    }

    fn revoke(&mut self, id: i64, entry: &mut Entry) -> Result<bool, Fatal> {
        loop {
            let slice = self.attached_slice(id, entry.behind.as_deref())?;
            for (key, ()) in &slice.rows {
                let at = Version::new(entry.main, entry.next_sub);
                if let Some(head) = self.head(key)?.filter(|head| head.live() && head.info.lease == id) {
                    self.write_delete(at, key, &head, &mut entry.recorder);
                    entry.next_sub += 1;
                }
                entry.behind = Some(key.clone());
                if self.batch_is_full() {
                    return Ok(false);
                }
            }
            if slice.next.is_none() {
                return Ok(true);
            }
        }
    }

    pub(super) fn done(&mut self, position: LogPosition, request_id: u64, result: Result<Answer, Error>) -> Step {
        self.meta.applied = position;
        Step::Done(Box::new(Outcome {
            request_id,
            revision: self.meta.visible,
            changed: false,
            result,
            events: None,
            leases: Vec::new(),
            compacted: None,
            pin: None,
        }))
    }
}
