//! What applying an entry answers: numbers, and recipes instead of data.
//!
//! A recipe says what to read and at which bound; who holds the client reads it afterwards, under the outcome's pin. So
//! apply reads no value that it does not need, and members without the client read none at all.

use bytes::Bytes;
use tidegate_api::{
    Error, KeyRange,
    pb::etcdserverpb::{AlarmMember, Member},
};

use crate::{Bound, Pin, RangeSpec};

/// The pair that stood under a key before it was overwritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousPair {
    pub key: Bytes,
    pub bound: Bound,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeAnswer {
    pub spec: RangeSpec,
    pub header_revision: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutAnswer {
    pub header_revision: i64,
    /// Asked for, and there was one.
    pub previous: Option<PreviousPair>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteAnswer {
    pub header_revision: i64,
    pub deleted: i64,
    /// Asked for, and there were some: all pairs of the range at the bound.
    pub previous: Option<RangeSpec>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnAnswer {
    pub succeeded: bool,
    /// One for each executed operation, in order.
    pub responses: Vec<OpAnswer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpAnswer {
    Range(RangeAnswer),
    Put(PutAnswer),
    Delete(DeleteAnswer),
    Txn(TxnAnswer),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Put(PutAnswer),
    Delete(DeleteAnswer),
    Txn(TxnAnswer),
    Compaction,
    LeaseGrant {
        id: i64,
        ttl_seconds: i64,
    },
    LeaseRevoke,
    Alarm(Vec<AlarmMember>),
    Member(Member),
    /// The entry that a new leader appends.
    Empty,
}

/// A read that an answer leaves to who holds the client.
#[derive(Debug, Clone, Copy)]
pub enum Recipe<'a> {
    Pair(&'a PreviousPair),
    Range(&'a RangeSpec),
}

impl Recipe<'_> {
    pub fn bound(self) -> Bound {
        match self {
            Recipe::Pair(pair) => pair.bound,
            Recipe::Range(spec) => spec.bound,
        }
    }

    pub fn spec(self) -> RangeSpec {
        match self {
            Recipe::Pair(pair) => RangeSpec::all(KeyRange::One(pair.key.clone()), pair.bound),
            Recipe::Range(spec) => spec.clone(),
        }
    }
}

impl Answer {
    /// Its recipes, in order.
    pub fn each_recipe<'a>(&'a self, visit: &mut impl FnMut(Recipe<'a>)) {
        match self {
            Answer::Put(put) => put.recipe().into_iter().for_each(visit),
            Answer::Delete(delete) => delete.recipe().into_iter().for_each(visit),
            Answer::Txn(txn) => txn.each_recipe(visit),
            _ => {}
        }
    }
}

impl PutAnswer {
    fn recipe(&self) -> Option<Recipe<'_>> {
        self.previous.as_ref().map(Recipe::Pair)
    }
}

impl DeleteAnswer {
    fn recipe(&self) -> Option<Recipe<'_>> {
        self.previous.as_ref().map(Recipe::Range)
    }
}

impl TxnAnswer {
    fn each_recipe<'a>(&'a self, visit: &mut impl FnMut(Recipe<'a>)) {
        for response in &self.responses {
            match response {
                OpAnswer::Range(range) => visit(Recipe::Range(&range.spec)),
                OpAnswer::Put(put) => put.recipe().into_iter().for_each(&mut *visit),
                OpAnswer::Delete(delete) => delete.recipe().into_iter().for_each(&mut *visit),
                OpAnswer::Txn(txn) => txn.each_recipe(visit),
            }
        }
    }
}

/// What happened to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseChange {
    Granted { id: i64, ttl_seconds: i64 },
    Revoked { id: i64 },
}

/// Effect of one entry, complete once the machine has committed.
#[derive(Debug)]
pub struct Outcome {
    pub request_id: u64,
    /// Revision of the store after the entry.
    pub revision: i64,
    /// Whether the entry changed a key.
    pub changed: bool,
    /// The error is the client's: every member gives the same.
    pub result: Result<Answer, Error>,
    /// Events for watchers, when they were asked for and the entry changed anything: what fits of them.
    pub events: Option<crate::watch::RevisionBuilder>,
    pub leases: Vec<LeaseChange>,
    /// A compaction to this revision took effect.
    pub compacted: Option<i64>,
    /// Keeps what the answer's recipes read.
    pub pin: Option<Pin>,
}

/// What an outcome costs besides keys and events: its own place, and those of its answers.
const OUTCOME_BYTES: usize = 512;
const OP_BYTES: usize = size_of::<OpAnswer>() + 32;

impl Outcome {
    /// Whether somebody else than the proposer must hear of it.
    pub fn concerns_others(&self) -> bool {
        self.changed || self.compacted.is_some() || !self.leases.is_empty()
    }

    /// Bytes it holds, events included.
    pub fn bytes(&self) -> usize {
        let answer = self.result.as_ref().map_or(0, Answer::bytes);
        OUTCOME_BYTES + answer + self.events.as_ref().map_or(0, crate::watch::RevisionBuilder::bytes)
    }
}

impl Answer {
    /// Bytes of its recipes: the keys that they name, and their places.
    pub fn bytes(&self) -> usize {
        match self {
            Answer::Put(put) => put.bytes(),
            Answer::Delete(delete) => delete.bytes(),
            Answer::Txn(txn) => txn.bytes(),
            Answer::Alarm(alarms) => alarms.len() * size_of::<AlarmMember>(),
            Answer::Member(member) => {
                member.name.len() + member.peer_urls.iter().chain(&member.client_urls).map(String::len).sum::<usize>()
            }
            Answer::Compaction | Answer::LeaseGrant { .. } | Answer::LeaseRevoke | Answer::Empty => 0,
        }
    }
}

impl PutAnswer {
    fn bytes(&self) -> usize {
        self.previous.as_ref().map_or(0, |previous| previous.key.len())
    }
}

impl DeleteAnswer {
    fn bytes(&self) -> usize {
        self.previous.as_ref().map_or(0, |spec| spec.range.bytes())
    }
}

impl TxnAnswer {
    fn bytes(&self) -> usize {
        let of_op = |op: &OpAnswer| match op {
            OpAnswer::Range(range) => range.spec.range.bytes(),
            OpAnswer::Put(put) => put.bytes(),
            OpAnswer::Delete(delete) => delete.bytes(),
            OpAnswer::Txn(txn) => txn.bytes(),
        };
        self.responses.iter().map(|op| OP_BYTES + of_op(op)).sum()
    }
}
