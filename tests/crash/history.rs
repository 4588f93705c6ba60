//! What clients were told, and whether a store still agrees.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tidegate_api::{
    Error, KeyRange, Kv,
    pb::{
        PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, request_op::Request, response_op::Response,
    },
};
use tidegate_client::Client;

/// Everything that these tests write begins with this, so that each revision of the store belongs to them.
pub(crate) const PREFIX: &str = "crash/";

/// A write that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) revision: i64,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
}

/// The acknowledged writes of a run, shared by its writers.
#[derive(Clone, Default)]
pub(crate) struct History(Arc<Mutex<Vec<Acknowledged>>>);

impl History {
    pub(crate) fn add(&self, revision: i64, key: Bytes, value: Bytes) {
        self.0.lock().unwrap().push(Acknowledged { revision, key, value });
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn all(&self) -> Vec<Acknowledged> {
        self.0.lock().unwrap().clone()
    }

    /// Each acknowledged write is in the store as it was told: at its revision, and not older now. Reads at revisions
    /// before `compacted` are left out.
    pub(crate) async fn check(&self, client: &Client, compacted: i64) {
        let mut newest: BTreeMap<Bytes, Acknowledged> = BTreeMap::new();
        for write in self.all() {
            if write.revision >= compacted {
                let then = read(client, &write.key, write.revision).await.unwrap();
                assert_eq!(then, Some((write.revision, write.value.clone())), "{write:?} at its revision");
            }
            let known = newest.entry(write.key.clone()).or_insert_with(|| write.clone());
            if write.revision > known.revision {
                *known = write;
            }
        }
        for (key, write) in newest {
            let (revision, value) = read(client, &key, 0).await.unwrap().unwrap_or_default();
            assert!(revision >= write.revision, "{write:?} is gone: now {revision}");
            assert!(revision > write.revision || value == write.value, "{write:?} has another value");
        }
    }
}

async fn read(client: &Client, key: &Bytes, revision: i64) -> Result<Option<(i64, Bytes)>, Error> {
    let request = RangeRequest { key: key.clone(), revision, ..Default::default() };
    let answer = client.range(request).await?;
    Ok(answer.kvs.into_iter().next().map(|kv| (kv.mod_revision, kv.value)))
}

/// Writes until an attempt fails: puts of different sizes, every eighth time a transaction of two keys, of which both or
/// none are there.
pub(crate) async fn write_until_failure(client: Client, writer: usize, start: usize, history: History) -> Error {
    let mut number = start;
    loop {
        // Mostly small, some as large as a blob, a few large: they go different ways through log and engine.
        let size = [20, 20, 300, 20, 20_000, 20, 20, 150_000][number % 8];
        let mut value = format!("{writer}:{number}:").into_bytes();
        value.resize(size, b'.');
        let value = Bytes::from(value);
        let key = Bytes::from(format!("{PREFIX}{writer}/{}", number % 50));
        let put = |key: &Bytes| PutRequest { key: key.clone(), value: value.clone(), ..Default::default() };
        let outcome = if number % 8 == 5 {
            let twin = Bytes::from(format!("{PREFIX}{writer}/twin"));
            let op = |key| RequestOp { request: Some(Request::RequestPut(put(key))) };
            let request = TxnRequest { success: vec![op(&key), op(&twin)], ..Default::default() };
            client.txn(request).await.map(|answer| {
                assert!(answer.responses.iter().all(|r| matches!(r.response, Some(Response::ResponsePut(_)))));
                history.add(answer.header.unwrap_or_default().revision, twin, value.clone());
                answer.header
            })
        } else {
            client.put(put(&key)).await.map(|answer| answer.header)
        };
        match outcome {
            Ok(header) => history.add(header.unwrap_or_default().revision, key, value),
            Err(error) => return error,
        }
        number += 1;
    }
}

/// A watch of everything, resumed behind the last revision that it saw.
pub(crate) struct Follower {
    pub(crate) next_revision: i64,
    pub(crate) seen: Vec<Acknowledged>,
}

impl Follower {
    pub(crate) const fn from_start() -> Self {
        // Revision 1 is that of an empty store.
        Self { next_revision: 2, seen: Vec::new() }
    }

    /// Follows until the connection breaks, or until everything up to `until` was seen.
    pub(crate) async fn follow(&mut self, client: &Client, until: Option<i64>) -> Result<(), Error> {
        let done = |next: i64| until.is_some_and(|until| next > until);
        if done(self.next_revision) {
            return Ok(());
        }
        let (key, range_end) = KeyRange::prefix(PREFIX).into_request();
        let start_revision = self.next_revision;
        let request = WatchCreateRequest { key, range_end, start_revision, ..Default::default() };
        let mut watcher = client.watcher(request).await?;
        while let Some(answer) = watcher.next().await {
            let answer = answer?;
            assert!(!answer.canceled, "the watch was cancelled: {answer:?}");
            for event in answer.events {
                let kv = event.kv.unwrap_or_default();
                let revision = kv.mod_revision;
                // Every revision changes keys of this prefix: none may be left out, none comes twice.
                let last = self.seen.last().map_or(1, |event| event.revision);
                let in_order =
                    revision == self.next_revision || (revision == last && revision == self.next_revision - 1);
                assert!(in_order, "event of revision {revision} where {} is next", self.next_revision);
                let repeated = self.seen.iter().rev().take_while(|seen| seen.revision == revision);
                assert!(repeated.into_iter().all(|seen| seen.key != kv.key), "event of {revision} repeated");
                self.next_revision = revision + 1;
                self.seen.push(Acknowledged { revision, key: kv.key, value: kv.value });
            }
            if done(self.next_revision) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Everything that was acknowledged was seen, with the same content.
    pub(crate) fn check(&self, history: &History) {
        let mut seen: BTreeMap<(i64, &Bytes), &Bytes> = BTreeMap::new();
        for event in &self.seen {
            seen.insert((event.revision, &event.key), &event.value);
        }
        for write in history.all() {
            assert_eq!(seen.get(&(write.revision, &write.key)), Some(&&write.value), "{write:?} was not watched");
        }
    }
}
