//! The store as one would write it without bounds: every version of every key, for ever.

use std::{cmp::Ordering, collections::BTreeMap};

use bytes::Bytes;
use prost::Message;
use tidegate_api::{
    Error, KeyRange,
    pb::{
        Compare, KeyValue, PutRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
    },
};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) main: i64,
    pub(crate) sub: u32,
    pub(crate) deleted: bool,
    pub(crate) pair: KeyValue,
}

/// What an operation must answer, its reads by the place that they are made at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expected {
    Put { header: i64, previous: Option<(KeyRange, (i64, u32))> },
    Delete { header: i64, deleted: i64, previous: Option<(KeyRange, (i64, u32))> },
    Range { header: i64, bound: (i64, u32) },
    Txn { succeeded: bool, responses: Vec<Expected> },
    Other,
}

#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    pub(crate) keys: BTreeMap<Vec<u8>, Vec<Change>>,
    pub(crate) leases: BTreeMap<i64, i64>,
    next_sub: u32,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Self { revision: 1, compacted: -1, keys: BTreeMap::new(), leases: BTreeMap::new(), next_sub: 0 }
    }

    pub(crate) fn at(&self, key: &[u8], bound: (i64, u32)) -> Option<&Change> {
        let newest = self.keys.get(key)?.iter().rfind(|change| (change.main, change.sub) < bound)?;
        (!newest.deleted).then_some(newest)
    }

    pub(crate) fn range(&self, range: &KeyRange, bound: (i64, u32)) -> Vec<KeyValue> {
        let inside = self.keys.keys().filter(|key| range.contains(key));
        inside.filter_map(|key| self.at(key, bound)).map(|change| change.pair.clone()).collect()
    }

    /// Every change in order.
    pub(crate) fn changes(&self) -> Vec<&Change> {
        let mut changes: Vec<_> = self.keys.values().flatten().collect();
        changes.sort_by_key(|change| (change.main, change.sub));
        changes
    }

    /// Whether compaction to the compacted revision, once it is complete, leaves a change in the store.
    pub(crate) fn remains(&self, change: &Change) -> bool {
        let (c, own) = (self.compacted, &self.keys[&change.pair.key[..]]);
        let newest = own.iter().rfind(|other| other.main <= c);
        // The compacted revision stays whole, with what the same transaction wrote over: a watch from there sees it.
        change.main >= c || !change.deleted && newest == Some(change)
    }

    /// The hash by its definition, over the encoded records.
    pub(crate) fn hash(&self, revision: i64) -> u32 {
        let mut bytes = b"key".to_vec();
        // What is not there at the revision at all leaves what compaction has kept.
        let empty = self.range(&KeyRange::all(), (revision + 1, 0)).is_empty();
        let newest_at = if empty { self.compacted } else { revision };
        for change in self.changes() {
            let own = &self.keys[&change.pair.key[..]];
            let newest = own.iter().rfind(|other| other.main <= newest_at) == Some(change);
            let kept = change.main > self.compacted || newest && !change.deleted;
            if !kept || change.main > revision {
                continue;
            }
            bytes.extend_from_slice(&change.main.to_be_bytes());
            bytes.push(b'_');
            bytes.extend_from_slice(&u64::from(change.sub).to_be_bytes());
            if change.deleted {
                bytes.push(b't');
                KeyValue { key: change.pair.key.clone(), ..KeyValue::default() }.encode(&mut bytes).unwrap();
            } else {
                change.pair.encode(&mut bytes).unwrap();
            }
        }
        crc32c::crc32c(&bytes)
    }

    fn header(&self) -> i64 {
        self.revision + i64::from(self.next_sub > 0)
    }

    fn here(&self) -> (i64, u32) {
        (self.revision + 1, self.next_sub)
    }

    /// Ends an entry: its changes, if any, make a revision.
    pub(crate) fn finish(&mut self) {
        self.revision = self.header();
        self.next_sub = 0;
    }

    fn push(&mut self, deleted: bool, mut pair: KeyValue) {
        let (main, sub) = self.here();
        pair.mod_revision = main;
        self.keys.entry(pair.key.to_vec()).or_default().push(Change { main, sub, deleted, pair });
        self.next_sub += 1;
    }

    pub(crate) fn refuses(&self, put: &PutRequest) -> Option<Error> {
        if put.lease != 0 && !self.leases.contains_key(&put.lease) {
            return Some(Error::LeaseNotFound);
        }
        let missing = self.at(&put.key, (self.revision + 1, 0)).is_none();
        ((put.ignore_value || put.ignore_lease) && missing).then_some(Error::KeyNotFound)
    }

    pub(crate) fn put(&mut self, put: &PutRequest) -> Expected {
        let bound = self.here();
        let old = self.at(&put.key, bound).map(|change| change.pair.clone());
        let kept = |ignore: bool| old.as_ref().filter(|_| ignore);
        let pair = KeyValue {
            key: put.key.clone(),
            create_revision: old.as_ref().map_or(bound.0, |old| old.create_revision),
            mod_revision: 0,
            version: old.as_ref().map_or(1, |old| old.version + 1),
            value: kept(put.ignore_value).map_or_else(|| put.value.clone(), |old| old.value.clone()),
            lease: kept(put.ignore_lease).map_or(put.lease, |old| old.lease),
        };
        self.push(false, pair);
        let previous = old.filter(|_| put.prev_kv).map(|_| (KeyRange::One(put.key.clone()), bound));
        Expected::Put { header: bound.0, previous }
    }

    pub(crate) fn delete(&mut self, range: &KeyRange, prev_kv: bool) -> Expected {
        let bound = self.here();
        let pairs = self.range(range, bound);
        let deleted = i64::try_from(pairs.len()).unwrap();
        for pair in pairs {
            self.push(true, KeyValue { key: pair.key, ..KeyValue::default() });
        }
        let previous = (prev_kv && deleted > 0).then(|| (range.clone(), bound));
        Expected::Delete { header: self.header(), deleted, previous }
    }

    pub(crate) fn revoke(&mut self, id: i64) {
        self.leases.remove(&id);
        for key in self.attached(id) {
            self.push(true, KeyValue { key: key.into(), ..KeyValue::default() });
        }
    }

    pub(crate) fn attached(&self, id: i64) -> Vec<Vec<u8>> {
        let pairs = self.range(&KeyRange::all(), (i64::MAX, 0));
        pairs.into_iter().filter(|pair| pair.lease == id).map(|pair| pair.key.to_vec()).collect()
    }

    pub(crate) fn txn(&mut self, txn: &TxnRequest) -> Result<Expected, Error> {
        let mut ops = Vec::new();
        let shape = self.path(txn, &mut ops);
        for op in &ops {
            match op {
                Request::RequestPut(put) => self.refuses(put).map_or(Ok(()), Err)?,
                Request::RequestRange(range) if range.revision > self.revision => return Err(Error::FutureRev),
                Request::RequestRange(range) if range.revision != 0 && range.revision < self.compacted => {
                    return Err(Error::Compacted);
                }
                _ => {}
            }
        }
        Ok(self.run(shape))
    }

    fn path<'a>(&self, txn: &'a TxnRequest, ops: &mut Vec<&'a Request>) -> (bool, Vec<Step<'a>>) {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let branch: &[RequestOp] = if succeeded { &txn.success } else { &txn.failure };
        let steps = branch.iter().filter_map(|op| op.request.as_ref()).map(|request| match request {
            Request::RequestTxn(inner) => Step::Txn(self.path(inner, ops)),
            other => {
                ops.push(other);
                Step::Op(other)
            }
        });
        (succeeded, steps.collect())
    }

    fn run(&mut self, (succeeded, steps): (bool, Vec<Step<'_>>)) -> Expected {
        let mut responses = Vec::new();
        for step in steps {
            responses.push(match step {
                Step::Txn(inner) => self.run(inner),
                Step::Op(Request::RequestPut(put)) => self.put(put),
                Step::Op(Request::RequestDeleteRange(delete)) => {
                    self.delete(&KeyRange::new(delete.key.clone(), delete.range_end.clone()), delete.prev_kv)
                }
                Step::Op(Request::RequestRange(range)) => {
                    let bound = if range.revision == 0 { self.here() } else { (range.revision + 1, 0) };
                    Expected::Range { header: self.header(), bound }
                }
                Step::Op(Request::RequestTxn(_)) => unreachable!("is a step of its own"),
            });
        }
        Expected::Txn { succeeded, responses }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let range = KeyRange::new(compare.key.clone(), compare.range_end.clone());
        let pairs = self.range(&range, (self.revision + 1, 0));
        if pairs.is_empty() { relation(compare, None) } else { pairs.iter().all(|pair| relation(compare, Some(pair))) }
    }
}

enum Step<'a> {
    Op(&'a Request),
    Txn((bool, Vec<Step<'a>>)),
}

fn relation(compare: &Compare, pair: Option<&KeyValue>) -> bool {
    let zero = KeyValue::default();
    let stored = pair.unwrap_or(&zero);
    let order: Ordering = match (compare.target(), &compare.target_union) {
        (CompareTarget::Version, Some(TargetUnion::Version(n))) => stored.version.cmp(n),
        (CompareTarget::Create, Some(TargetUnion::CreateRevision(n))) => stored.create_revision.cmp(n),
        (CompareTarget::Mod, Some(TargetUnion::ModRevision(n))) => stored.mod_revision.cmp(n),
        (CompareTarget::Lease, Some(TargetUnion::Lease(n))) => stored.lease.cmp(n),
        (CompareTarget::Value, _) if pair.is_none() => return false,
        (CompareTarget::Value, Some(TargetUnion::Value(given))) => stored.value.cmp(given),
        (CompareTarget::Value, _) => stored.value.cmp(&Bytes::new()),
        (CompareTarget::Version, _) => stored.version.cmp(&0),
        (CompareTarget::Create, _) => stored.create_revision.cmp(&0),
        (CompareTarget::Mod, _) => stored.mod_revision.cmp(&0),
        (CompareTarget::Lease, _) => stored.lease.cmp(&0),
    };
    match compare.result() {
        CompareResult::Equal => order.is_eq(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
        CompareResult::NotEqual => order.is_ne(),
    }
}
