//! Clients: what they ask for, and what the answers must be.

use bytes::Bytes;
use prost::Message;
use rand::{Rng, rngs::SmallRng};
use tidegate_api::{
    KeyRange,
    pb::etcdserverpb::{
        CompactionRequest, Compare, DeleteRangeRequest, LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp,
        TxnRequest, compare, request_op::Request,
    },
};
use tidegate_base::Term;
use tidegate_engine::{MapEngine, Tier};
use tidegate_kv::{Command, Outcome, Piece, Pin, RangeCursor, RangeSpec, ReadError, Reader, SliceLimit};
use tidegate_member::Reply;

use crate::{oracle::Oracle, plan::Plan};

pub(crate) const LEASES: i64 = 12;

/// What a client waits for.
pub(crate) enum Wait {
    /// Nothing: it rests.
    Rest,
    /// A reply under this number of a member's life.
    Reply { member: usize, number: u32, asked: Asked, since: u64 },
    /// It reads under a pin, which an answer or a read of its own took.
    Reading { member: usize, life: u32, reads: Reads },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    Entry {
        lease: Option<i64>,
    },
    /// `life`: of the lease, when it was asked; `committed`: the newest term then that had an entry committed.
    KeepAlive {
        lease: i64,
        life: Option<u32>,
        committed: Term,
    },
    TimeToLive {
        lease: i64,
        life: Option<u32>,
        committed: Term,
    },
    /// A linearizable read; what was acknowledged before it, and the revision and range to read afterwards.
    Read {
        acknowledged: i64,
        range: KeyRange,
    },
}

/// Ranges that are read at leisure, while a pin keeps them.
pub(crate) struct Reads {
    pub(crate) _pin: Option<Pin>,
    cursors: Vec<(RangeCursor, Vec<u8>)>,
}

impl Reads {
    pub(crate) fn new(pin: Option<Pin>, specs: Vec<RangeSpec>) -> Self {
        let cursors = specs.into_iter().map(|spec| (RangeCursor::new(spec, 2), Vec::new())).collect();
        Self { _pin: pin, cursors }
    }

    /// One slice. Whether there is more.
    pub(crate) fn step(&mut self, reader: &Reader<MapEngine>, oracle: &Oracle) -> bool {
        let Some((cursor, encoded)) = self.cursors.last_mut() else { return false };
        let mut pieces = Vec::new();
        let more = cursor.produce(reader, SliceLimit { rows: 3, bytes: 4096 }, &mut pieces);
        let more = more.unwrap_or_else(|error| panic!("a pinned read of {:?} fails: {error}", cursor.spec()));
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => encoded.extend_from_slice(&bytes),
                Piece::Blob { at, .. } => {
                    let value = reader.value(at, true, Tier::All).expect("a pinned value").known();
                    encoded.extend_from_slice(&value.expect("a value that a row names"));
                }
            }
        }
        if more {
            return true;
        }
        let response = tidegate_api::pb::etcdserverpb::RangeResponse::decode(&encoded[..]).expect("what was encoded");
        let (pairs, _) = oracle.range(cursor.spec());
        assert_eq!(response.kvs, pairs, "a read of {:?}", cursor.spec());
        self.cursors.pop();
        !self.cursors.is_empty()
    }
}

/// Takes the outcome of an entry: it must be what is committed, and what it names is read at leisure.
pub(crate) fn applied(mut outcome: Outcome, oracle: &Oracle) -> Reads {
    oracle.answered(&outcome);
    let pin = outcome.pin.take();
    let mut specs = Vec::new();
    // A revision in the past may have been compacted since; what has a pin has not.
    if pin.is_some()
        && let Ok(answer) = &outcome.result
    {
        answer.each_recipe(&mut |recipe| specs.push(recipe.spec()));
    }
    Reads::new(pin, specs)
}

/// A read at a revision that is not compacted there, or the refusal that is due.
pub(crate) fn read_at(reader: &Reader<MapEngine>, oracle: &Oracle, revision: i64, range: KeyRange) -> Option<Reads> {
    match reader.pinned(revision) {
        Ok((bound, pin)) => Some(Reads::new(Some(pin), vec![RangeSpec::all(range, bound)])),
        Err(ReadError::Compacted(at)) => {
            assert!(at <= oracle.compacted && (0..at).contains(&revision), "compacted to {at}: a read at {revision}");
            None
        }
        Err(ReadError::Future(visible)) => {
            assert!(revision > visible, "future");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A read of one key without a pin, as a point read does it.
pub(crate) fn point(reader: &Reader<MapEngine>, oracle: &Oracle, key: &[u8], revision: i64) {
    let Ok(bound) = reader.bound(revision) else { return };
    let row = reader.get(key, bound, Tier::All).expect("the maps can be read").known().flatten();
    if !reader.is_whole(bound) {
        return;
    }
    let found = row.map(|row| (row.at.main, row.info.version, row.value));
    let expected = oracle.pair_at(key, bound).map(|pair| (pair.mod_revision, pair.version, pair.value));
    assert_eq!(found, expected, "a point read of {key:?} at {bound:?}");
}

/// What a question about a lease may be answered, and by whom: `term` is the newest that the member has heard of. The lease that
/// is promised to live comes back.
///
/// A lease that was reported expired may live on under another leader, which gives everybody the full time again; but who
/// answers must lead, and not have been replaced before it was asked.
pub(crate) fn lease_answer(asked: &Asked, reply: &Reply, term: Term, oracle: &Oracle) -> Option<i64> {
    let (Asked::KeepAlive { lease, life, committed } | Asked::TimeToLive { lease, life, committed }) = asked else {
        return None;
    };
    if matches!(reply, Reply::Renewed(_) | Reply::Remaining(_)) {
        assert!(
            term >= *committed,
            "a leader of term {term} answers for lease {lease} after term {committed} has begun"
        );
    }
    if let (Reply::Renewed(None), Some(life)) = (reply, life) {
        assert_ne!(oracle.life(*lease), Some(*life), "lease {lease} is unknown to a leader, and not revoked");
    }
    matches!(reply, Reply::Renewed(Some(_))).then_some(*lease)
}

/// Draws a request.
pub(crate) struct Draw<'a> {
    pub(crate) rng: &'a mut SmallRng,
    pub(crate) plan: &'a Plan,
    pub(crate) next_value: &'a mut u64,
}

impl Draw<'_> {
    pub(crate) fn key(&mut self) -> Bytes {
        let n = self.rng.random_range(0..self.plan.keys);
        // Prefixes of each other, and bytes at both ends of the order.
        match n % 4 {
            0 => format!("k{}", n / 4).into(),
            1 => format!("k{}/", n / 4).into(),
            2 => [b"k", &[0u8][..], n.to_string().as_bytes()].concat().into(),
            _ => [b"k\xff", n.to_string().as_bytes()].concat().into(),
        }
    }

    fn value(&mut self) -> Bytes {
        *self.next_value += 1;
        let len = match self.rng.random_range(0..200) {
            0 => 20_000,
            1..=5 => 2000,
            n => n,
        };
        let mut value = self.next_value.to_string().into_bytes();
        value.resize(value.len().max(len), b'.');
        value.into()
    }

    pub(crate) fn range(&mut self) -> KeyRange {
        let start = self.key();
        match self.rng.random_range(0..6) {
            0 => KeyRange::From(Bytes::from_static(b"\0")),
            1 => KeyRange::From(start),
            2 | 3 => {
                let end = self.key();
                KeyRange::Span(start.clone().min(end.clone()), [&start.max(end)[..], b"\0"].concat().into())
            }
            _ => KeyRange::One(start),
        }
    }

    /// Key and range end on the wire.
    fn wire(range: &KeyRange) -> (Bytes, Bytes) {
        match range {
            KeyRange::One(key) => (key.clone(), Bytes::new()),
            KeyRange::From(key) => (key.clone(), Bytes::from_static(b"\0")),
            KeyRange::Span(key, end) => (key.clone(), end.clone()),
        }
    }

    fn put(&mut self) -> PutRequest {
        let lease = if self.rng.random_ratio(1, 4) { self.rng.random_range(1..=LEASES) } else { 0 };
        PutRequest { key: self.key(), value: self.value(), lease, prev_kv: self.rng.random(), ..PutRequest::default() }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let (key, range_end) = Self::wire(&self.range());
        DeleteRangeRequest { key, range_end, prev_kv: self.rng.random() }
    }

    fn op(&mut self, depth: u32) -> RequestOp {
        let request = match self.rng.random_range(0..8) {
            0..=3 => Request::RequestPut(PutRequest { lease: 0, ..self.put() }),
            4 => Request::RequestDeleteRange(self.delete()),
            5 if depth > 0 => Request::RequestTxn(self.txn(depth - 1)),
            _ => {
                let (key, range_end) = Self::wire(&self.range());
                Request::RequestRange(RangeRequest { key, range_end, ..RangeRequest::default() })
            }
        };
        RequestOp { request: Some(request) }
    }

    fn txn(&mut self, depth: u32) -> TxnRequest {
        let compare = Compare {
            key: self.key(),
            target: compare::CompareTarget::Version.into(),
            result: compare::CompareResult::Greater.into(),
            target_union: Some(compare::TargetUnion::Version(self.rng.random_range(0..3))),
            ..Compare::default()
        };
        let mut ops = |n| (0..n).map(|_| self.op(depth)).collect::<Vec<_>>();
        let (success, failure) = (ops(3), ops(2));
        // A key may be put once: what the front door refuses does not come here.
        let request = TxnRequest { compare: vec![compare], success, failure };
        if tidegate_api::validate::txn(&request, 128).is_ok() { request } else { TxnRequest::default() }
    }

    /// An entry to propose, and what the client remembers of it.
    pub(crate) fn entry(&mut self, oracle: &Oracle) -> (Command, Bytes, Asked) {
        let plain = Asked::Entry { lease: None };
        if self.rng.random_ratio(1, self.plan.compact_one_in) {
            let revision = self.rng.random_range(0..=oracle.revision() + 1);
            let message = CompactionRequest { revision, physical: false }.encode_to_vec();
            return (Command::Compaction, message.into(), Asked::Entry { lease: None });
        }
        match self.rng.random_range(0..20) {
            0..=9 => (Command::Put, self.put().encode_to_vec().into(), plain),
            10..=12 => (Command::DeleteRange, self.delete().encode_to_vec().into(), plain),
            13..=16 => (Command::Txn, self.txn(1).encode_to_vec().into(), plain),
            17 | 18 => {
                let id = self.rng.random_range(1..=LEASES);
                let command = Command::LeaseGrant { id, ttl_seconds: self.rng.random_range(2..12) };
                (command, Bytes::new(), Asked::Entry { lease: Some(id) })
            }
            _ => {
                let id = self.rng.random_range(1..=LEASES);
                (Command::LeaseRevoke, LeaseRevokeRequest { id }.encode_to_vec().into(), plain)
            }
        }
    }
}
