//! A store in memory behind the `api` traits: one map, every event since the start, and faults on demand.
//!
//! It has what users of the traits depend on: revisions, reads of the past in key order, guarded transactions, watches from
//! any revision that is not compacted. Leases, sorting by other fields and nested transactions answer Unimplemented. It is
//! bounded by nothing but its test.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use tidegate_api::{
    BoxFuture, Error, KeyRange, Kv,
    pb::{
        Compare, DeleteRangeRequest, DeleteRangeResponse, Event, KeyValue, PutRequest, PutResponse, RangeRequest,
        RangeResponse, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
        compare::{CompareResult, CompareTarget, TargetUnion},
        event::EventType,
        range_request::{SortOrder, SortTarget},
        request_op::Request,
        response_op::Response,
    },
};
use tokio::sync::Notify;

/// Handle to a store; clones share it.
#[derive(Clone, Default)]
pub struct MapStore(pub(crate) Arc<Shared>);

#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Told after each change that a watch may wait for.
    pub(crate) changed: Notify,
}

#[derive(Default)]
pub(crate) struct State {
    pairs: BTreeMap<Bytes, KeyValue>,
    pub(crate) events: Vec<Event>,
    /// Revisions written; a client sees one more, since an empty store is at revision 1.
    revisions: i64,
    pub(crate) compacted: i64,
    down: Option<Error>,
    /// Watches opened before this generation are over.
    pub(crate) generation: u64,
    txns: u64,
    /// A write that slips in before the next transaction.
    intruder: Option<(Bytes, Bytes)>,
}

impl MapStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets every request fail with `error`, and ends every watch, until called with `None`.
    pub fn set_down(&self, error: Option<Error>) {
        let mut state = self.lock();
        state.generation += u64::from(error.is_some());
        state.down = error;
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Forgets the events below `revision`, for watches that are behind too.
    pub fn compact(&self, revision: i64) {
        self.lock().compacted = revision;
        self.0.changed.notify_waiters();
    }

    /// Ends every open watch, as a server does that loses its leader.
    pub fn cancel_watches(&self) {
        self.lock().generation += 1;
        self.0.changed.notify_waiters();
    }

    /// Lets another writer be a little faster than the next transaction.
    pub fn intrude(&self, key: &str, value: &str) {
        self.lock().intruder = Some((Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes())));
    }

    /// Writes behind the back of whoever is tested.
    pub fn write(&self, key: &str, value: &str) {
        self.lock().put(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
        self.0.changed.notify_waiters();
    }

    /// Deletes behind the back of whoever is tested.
    pub fn remove(&self, key: &str) {
        self.lock().delete(&KeyRange::One(Bytes::copy_from_slice(key.as_bytes())));
        self.0.changed.notify_waiters();
    }

    pub fn value(&self, key: &str) -> Option<Bytes> {
        self.lock().pairs.get(key.as_bytes()).map(|pair| pair.value.clone())
    }

    pub fn revision(&self) -> i64 {
        self.lock().revision()
    }

    /// Transactions asked for so far.
    pub fn txns(&self) -> u64 {
        self.lock().txns
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic under the lock")
    }

    fn answer<T>(&self, run: impl FnOnce(&mut State) -> Result<T, Error>) -> Result<T, Error> {
        let mut state = self.lock();
        let before = state.revisions;
        let answer = if let Some(error) = &state.down { Err(error.clone()) } else { run(&mut state) };
        if state.revisions != before {
            drop(state);
            self.0.changed.notify_waiters();
        }
        answer
    }
}

impl State {
    pub(crate) const fn revision(&self) -> i64 {
        self.revisions + 1
    }

    pub(crate) fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { cluster_id: 1, member_id: 1, revision: self.revision(), raft_term: 1 })
    }

    pub(crate) fn check_up(&self) -> Result<(), Error> {
        self.down.clone().map_or(Ok(()), Err)
    }

    fn put(&mut self, key: Bytes, value: Bytes) {
        self.revisions += 1;
        self.put_now(key, value);
    }

    fn put_now(&mut self, key: Bytes, value: Bytes) {
        let revision = self.revision();
        let old = self.pairs.get(&key).cloned();
        let (create_revision, version) = old.as_ref().map_or((revision, 1), |kv| (kv.create_revision, kv.version + 1));
        let pair = KeyValue { key: key.clone(), create_revision, mod_revision: revision, version, value, lease: 0 };
        self.pairs.insert(key, pair.clone());
        self.events.push(Event { r#type: EventType::Put.into(), kv: Some(pair), prev_kv: old });
    }

    fn delete(&mut self, range: &KeyRange) -> Vec<KeyValue> {
        if !self.pairs.keys().any(|key| range.contains(key)) {
            return Vec::new();
        }
        self.revisions += 1;
        self.delete_now(range)
    }

    fn delete_now(&mut self, range: &KeyRange) -> Vec<KeyValue> {
        let revision = self.revision();
        let gone: Vec<_> = self.pairs.values().filter(|pair| range.contains(&pair.key)).cloned().collect();
        for old in &gone {
            self.pairs.remove(&old.key);
            let kv = KeyValue { key: old.key.clone(), mod_revision: revision, ..KeyValue::default() };
            self.events.push(Event { r#type: EventType::Delete.into(), kv: Some(kv), prev_kv: Some(old.clone()) });
        }
        gone
    }

    /// The pairs as they stood at `revision`.
    fn at(&self, revision: i64) -> BTreeMap<Bytes, KeyValue> {
        let mut pairs = self.pairs.clone();
        for event in self.events.iter().rev() {
            let Some(kv) = event.kv.as_ref().filter(|kv| kv.mod_revision > revision) else { break };
            match &event.prev_kv {
                Some(old) => pairs.insert(kv.key.clone(), old.clone()),
                None => pairs.remove(&kv.key),
            };
        }
        pairs
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        if request.key.is_empty() {
            return Err(Error::EmptyKey);
        }
        if request.sort_target() != SortTarget::Key || request.sort_order() == SortOrder::Descend {
            return Err(Error::unimplemented("sorting in the test store"));
        }
        let revision = if request.revision > 0 { request.revision } else { self.revision() };
        if revision > self.revision() {
            return Err(Error::FutureRev);
        }
        if request.revision > 0 && revision < self.compacted {
            return Err(Error::Compacted);
        }
        let range = KeyRange::new(request.key.clone(), request.range_end.clone());
        let mut kvs: Vec<_> = self.at(revision).into_values().filter(|pair| range.contains(&pair.key)).collect();
        let count = kvs.len();
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        kvs.truncate(if request.count_only { 0 } else { limit });
        if request.keys_only {
            kvs.iter_mut().for_each(|pair| pair.value = Bytes::new());
        }
        let more = !request.count_only && kvs.len() < count;
        Ok(RangeResponse { header: self.header(), more, count: i64::try_from(count).unwrap_or(i64::MAX), kvs })
    }

    fn holds(&self, compare: &Compare) -> Result<bool, Error> {
        let KeyRange::One(key) = KeyRange::new(compare.key.clone(), compare.range_end.clone()) else {
            return Err(Error::unimplemented("comparing ranges in the test store"));
        };
        let found = self.pairs.get(&key);
        let pair = found.cloned().unwrap_or_default();
        let order = match (compare.target(), &compare.target_union) {
            (CompareTarget::Version, Some(TargetUnion::Version(given))) => pair.version.cmp(given),
            (CompareTarget::Create, Some(TargetUnion::CreateRevision(given))) => pair.create_revision.cmp(given),
            (CompareTarget::Mod, Some(TargetUnion::ModRevision(given))) => pair.mod_revision.cmp(given),
            (CompareTarget::Value, Some(TargetUnion::Value(given))) if found.is_some() => pair.value.cmp(given),
            (CompareTarget::Value, _) => return Ok(false),
            _ => return Err(Error::unimplemented("this comparison in the test store")),
        };
        Ok(match compare.result() {
            CompareResult::Equal => order.is_eq(),
            CompareResult::Greater => order.is_gt(),
            CompareResult::Less => order.is_lt(),
            CompareResult::NotEqual => order.is_ne(),
        })
    }

    fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, Error> {
        self.txns += 1;
        if let Some((key, value)) = self.intruder.take() {
            self.put(key, value);
        }
        let mut succeeded = true;
        for compare in &request.compare {
            succeeded &= self.holds(compare)?;
        }
        let ops = if succeeded { &request.success } else { &request.failure };
        let keys: Vec<_> = ops.iter().filter_map(put_key).collect();
        if keys.iter().collect::<BTreeSet<_>>().len() != keys.len() {
            return Err(Error::DuplicateKey);
        }
        // All writes of a transaction share one revision, which exists only when something is written.
        let writes = ops.iter().any(|op| match &op.request {
            Some(Request::RequestPut(_)) => true,
            Some(Request::RequestDeleteRange(delete)) => {
                let range = KeyRange::new(delete.key.clone(), delete.range_end.clone());
                self.pairs.keys().any(|key| range.contains(key))
            }
            _ => false,
        });
        self.revisions += i64::from(writes);
        let responses = ops.iter().map(|op| self.op(op)).collect::<Result<_, _>>()?;
        Ok(TxnResponse { header: self.header(), succeeded, responses })
    }

    fn op(&mut self, op: &RequestOp) -> Result<ResponseOp, Error> {
        let response = match &op.request {
            Some(Request::RequestRange(range)) => Response::ResponseRange(self.range(range)?),
            Some(Request::RequestPut(put)) => {
                self.put_now(put.key.clone(), put.value.clone());
                Response::ResponsePut(PutResponse { header: self.header(), prev_kv: None })
            }
            Some(Request::RequestDeleteRange(delete)) => {
                let gone = self.delete_now(&KeyRange::new(delete.key.clone(), delete.range_end.clone()));
                Response::ResponseDeleteRange(deleted(self.header(), delete.prev_kv, gone))
            }
            Some(Request::RequestTxn(_)) => return Err(Error::unimplemented("nesting in the test store")),
            None => return Err(Error::KeyNotFound),
        };
        Ok(ResponseOp { response: Some(response) })
    }
}

fn put_key(op: &RequestOp) -> Option<&Bytes> {
    if let Some(Request::RequestPut(put)) = &op.request { Some(&put.key) } else { None }
}

fn deleted(header: Option<ResponseHeader>, prev_kv: bool, gone: Vec<KeyValue>) -> DeleteRangeResponse {
    let deleted = i64::try_from(gone.len()).unwrap_or(i64::MAX);
    DeleteRangeResponse { header, deleted, prev_kvs: if prev_kv { gone } else { Vec::new() } }
}

impl Kv for MapStore {
    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, Error>> {
        Box::pin(async move { self.answer(|state| state.range(&request)) })
    }

    fn put(&self, request: PutRequest) -> BoxFuture<'_, Result<PutResponse, Error>> {
        Box::pin(async move {
            self.answer(|state| {
                let prev_kv = state.pairs.get(&request.key).filter(|_| request.prev_kv).cloned();
                state.put(request.key, request.value);
                Ok(PutResponse { header: state.header(), prev_kv })
            })
        })
    }

    fn delete_range(&self, request: DeleteRangeRequest) -> BoxFuture<'_, Result<DeleteRangeResponse, Error>> {
        Box::pin(async move {
            self.answer(|state| {
                let gone = state.delete(&KeyRange::new(request.key, request.range_end));
                Ok(deleted(state.header(), request.prev_kv, gone))
            })
        })
    }

    fn txn(&self, request: TxnRequest) -> BoxFuture<'_, Result<TxnResponse, Error>> {
        Box::pin(async move { self.answer(|state| state.txn(&request)) })
    }
}
