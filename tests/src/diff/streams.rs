//! The streams of watches of one store, and what came through them.
//!
//! How events are spread over answers depends on the moment; which events a watch gets, in which order, and what is said
//! before and after them, does not. So that is what is kept.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tidegate_api::{
    Error, Method,
    pb::{
        Event, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
        watch_request::RequestUnion,
    },
};
use tidegate_client::{Client, Stream};
use tokio::sync::mpsc;

use super::{requests::STREAMS, side::Own};

/// Requests that wait for a stream.
const QUEUE: usize = 16;
/// The stream beside the others that sees every change.
pub(super) const WITNESS: usize = STREAMS;

/// What one watch was told.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) events: Vec<Event>,
    /// Answers without events, and how many events came before each.
    pub(super) others: Vec<(usize, WatchResponse)>,
    /// The last answer said that another piece of it follows.
    open: bool,
    /// Of these events it has had all.
    progress: i64,
    /// Where the events of the watch begin that has the number now.
    since: usize,
}

/// What came through one stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) watches: BTreeMap<i64, Told>,
    /// Answers to creations, in order.
    pub(super) created: Vec<WatchResponse>,
    /// The newest progress of all watches.
    pub(super) progress: i64,
    /// Why the stream ended.
    pub(super) ended: Option<String>,
    /// What a store must never do, whatever the other does.
    pub(super) wrong: Vec<String>,
}

impl Record {
    fn add(&mut self, own: Own, mut answer: WatchResponse) {
        own.strip(&mut answer.header);
        let revision = answer.header.as_ref().map_or(0, |header| header.revision);
        if answer.created {
            self.created.push(answer.clone());
        }
        let events = std::mem::take(&mut answer.events);
        let plain = !answer.created && !answer.canceled && events.is_empty();
        match (plain, answer.watch_id) {
            (true, -1) => self.progressed(revision),
            (true, _) => {} // at times of the store's own
            (false, id) => {
                let told = self.watches.entry(id).or_default();
                if let Err(wrong) = told.add(answer, events, revision) {
                    self.wrong.push(format!("watch {id}: {wrong}"));
                }
            }
        }
    }

    fn progressed(&mut self, revision: i64) {
        self.progress = self.progress.max(revision);
        for (id, told) in &mut self.watches {
            told.progress = told.progress.max(revision);
            if told.open {
                self.wrong.push(format!("progress inside an answer to watch {id}"));
            }
        }
    }
}

impl Told {
    /// Without the events that are `gone`.
    pub(super) fn forget(&mut self, gone: impl Fn(&Event) -> bool) {
        for (before, _) in &mut self.others {
            *before -= self.events[..*before].iter().filter(|event| gone(event)).count();
        }
        self.events.retain(|event| !gone(event));
    }

    fn add(&mut self, answer: WatchResponse, events: Vec<Event>, header: i64) -> Result<(), String> {
        if events.is_empty() {
            if answer.created {
                (self.since, self.progress) = (self.events.len(), 0);
            }
            self.others.push((self.events.len(), answer));
            return Ok(());
        }
        let revision = |event: &Event| event.kv.as_ref().map_or(0, |pair| pair.mod_revision);
        let (first, newest) = (revision(&events[0]), events.last().map_or(0, revision));
        let last = self.events[self.since..].last().map_or(0, revision);
        let repeats = first < last || (first == last && !self.open);
        self.events.extend(events);
        self.open = answer.fragment;
        match () {
            () if repeats => Err(format!("revision {first} after {last}")),
            () if first <= self.progress => Err(format!("revision {first} after progress {}", self.progress)),
            () if header < newest => Err(format!("header {header} before event {newest}")),
            () => Ok(()),
        }
    }
}

/// A stream that is open, or was.
struct Open {
    requests: Option<mpsc::Sender<RequestUnion>>,
    record: Arc<Mutex<Record>>,
}

pub(super) struct Watches {
    client: Client,
    pub(super) own: Own,
    streams: Vec<Option<Open>>,
}

impl Watches {
    pub(super) fn new(client: Client) -> Self {
        Self { client, own: Own::default(), streams: (0..=WITNESS).map(|_| None).collect() }
    }

    pub(super) async fn create(&mut self, stream: usize, create: WatchCreateRequest) -> Result<(), Error> {
        if self.streams[stream].is_none() {
            let calls: Stream<WatchRequest, WatchResponse> = self.client.stream(Method::Watch).await?;
            let (sender, receiver) = mpsc::channel(QUEUE);
            let record = Arc::new(Mutex::new(Record::default()));
            tokio::spawn(run(calls, receiver, Arc::clone(&record), self.own));
            self.streams[stream] = Some(Open { requests: Some(sender), record });
        }
        self.send(stream, RequestUnion::CreateRequest(create)).await;
        Ok(())
    }

    pub(super) async fn cancel(&self, stream: usize, watch_id: i64) {
        self.send(stream, RequestUnion::CancelRequest(WatchCancelRequest { watch_id })).await;
    }

    pub(super) async fn progress(&self, stream: usize) {
        self.send(stream, RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    }

    async fn send(&self, stream: usize, request: RequestUnion) {
        if let Some(Open { requests: Some(requests), .. }) = &self.streams[stream] {
            // One that has ended tells it in its record.
            drop(requests.send(request).await);
        }
    }

    pub(super) fn close(&mut self, stream: usize) {
        self.streams[stream] = None;
    }

    /// Looks at what came through a stream so far; `None` when it is not open.
    pub(super) fn look<T>(&self, stream: usize, look: impl FnOnce(&Record) -> T) -> Option<T> {
        let open = self.streams[stream].as_ref()?;
        Some(look(&open.record.lock().expect("no panic under the lock")))
    }
}

/// Carries one stream until the run lets go of it.
async fn run(
    mut calls: Stream<WatchRequest, WatchResponse>,
    mut requests: mpsc::Receiver<RequestUnion>,
    record: Arc<Mutex<Record>>,
    own: Own,
) {
    loop {
        let ended = tokio::select! {
            request = requests.recv() => {
                let Some(request) = request else { return };
                match calls.send(&WatchRequest { request_union: Some(request) }).await {
                    Ok(()) => continue,
                    Err(error) => error.to_string(),
                }
            }
            answer = calls.next() => match answer {
                Ok(Some(answer)) => {
                    record.lock().expect("no panic under the lock").add(own, answer);
                    continue;
                }
                Ok(None) => "the store ended the stream".to_owned(),
                Err(error) => error.to_string(),
            },
        };
        record.lock().expect("no panic under the lock").ended = Some(ended);
        return;
    }
}
