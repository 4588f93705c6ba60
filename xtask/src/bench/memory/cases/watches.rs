//! Many watchers, slow ones, and those that begin far back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_api::{
    KeyRange, Kv, Method,
    pb::{PutRequest, WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion},
};
use tidegate_client::{Client, Config, Stream, Watcher};
use tokio::{sync::watch, task::JoinSet};

use super::Acked;
use crate::bench::{load::value, stores::Store};

/// How long the slowest watcher may take for everything.
const PATIENCE: Duration = Duration::from_secs(300);

fn narrow(store: &Store) -> Client {
    // Small windows: a reader that stops is felt at once.
    store.server.client_with(Config { stream_window: 65_535, connection_window: 65_535, ..Config::default() })
}

async fn put(client: &Client, key: String, number: u64, length: usize) -> Result<i64> {
    let put = PutRequest { key: key.into(), value: value(number, length), ..Default::default() };
    Ok(client.put(put).await?.header.unwrap_or_default().revision)
}

/// Takes `count` events of increasing revisions, each with its value.
async fn take(
    mut watcher: Watcher,
    count: u64,
    length: usize,
    pause_behind: u64,
    all: watch::Receiver<bool>,
) -> Result<()> {
    let (mut seen, mut last, mut all) = (0, 0, all);
    while seen < count {
        if seen >= pause_behind {
            all.wait_for(|all| *all).await?;
        }
        let answer = watcher.next().await.context("a watch ended")??;
        ensure!(!answer.canceled, "a watch was canceled: {}", answer.cancel_reason);
        for event in answer.events {
            let kv = event.kv.unwrap_or_default();
            ensure!(kv.mod_revision > last, "an event came twice, or out of order");
            last = kv.mod_revision;
            ensure!(kv.value == value(seen, length), "event {seen} has another value");
            seen += 1;
        }
    }
    ensure!(seen == count, "an event too many");
    Ok(())
}

async fn join(mut tasks: JoinSet<Result<()>>, acked: &mut Acked) -> Result<()> {
    let everybody = async {
        while let Some(task) = tasks.join_next().await {
            task??;
            acked.done += 1;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, everybody).await.context("a watcher does not get everything")?
}

pub(super) async fn stopped(store: &Store, events: u64) -> Result<Acked> {
    let mut acked = Acked::default();
    let (all, written) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for number in 0..20 {
        let watch = WatchCreateRequest { key: "big".into(), ..Default::default() };
        let watcher = narrow(store).watcher(watch).await?;
        let pause_behind = if number % 2 == 1 { 10 } else { u64::MAX };
        tasks.spawn(take(watcher, events, 1 << 20, pause_behind, written.clone()));
    }
    let client = store.client();
    for number in 0..events {
        put(&client, "big".to_owned(), number, 1 << 20).await?;
    }
    all.send(true)?;
    join(tasks, &mut acked).await?;
    Ok(acked)
}

pub(super) async fn history(store: &Store, revisions: u64, watchers: u64) -> Result<Acked> {
    let mut acked = Acked::default();
    let client = store.client();
    for number in 0..revisions {
        put(&client, format!("past/{}", number % 100), number, 1 << 20).await?;
    }
    let (_all, written) = watch::channel(true);
    let mut tasks = JoinSet::new();
    for _ in 0..watchers {
        let (key, range_end) = KeyRange::prefix("past/").into_request();
        let watch = WatchCreateRequest { key, range_end, start_revision: 1, ..Default::default() };
        let watcher = narrow(store).watcher(watch).await?;
        tasks.spawn(take(watcher, revisions, 1 << 20, u64::MAX, written.clone()));
    }
    join(tasks, &mut acked).await?;
    Ok(acked)
}

/// `each` watches on each of `streams` streams, 1000 keys among them; then every key is written once.
pub(super) async fn many(store: &Store, streams: u64, each: u64) -> Result<Acked> {
    const KEYS: u64 = 1000;
    let mut acked = Acked::default();
    let mut open = Vec::new();
    let mut client = store.client();
    for number in 0..streams {
        if number % 10 == 0 {
            client = store.client();
        }
        let mut stream: Stream<WatchRequest, WatchResponse> = client.stream(Method::Watch).await?;
        for watch in 0..each {
            let key = format!("w/{:06}", (number * each + watch) % KEYS).into();
            let create = WatchCreateRequest { key, ..Default::default() };
            stream.send(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).await?;
            let answer = stream.next().await?.context("a watch stream ended")?;
            ensure!(answer.created && !answer.canceled, "a watch is refused: {}", answer.cancel_reason);
        }
        open.push(stream);
    }
    let writer = store.client();
    for key in 0..KEYS {
        put(&writer, format!("w/{key:06}"), key, 100).await?;
    }
    let mut tasks = JoinSet::new();
    let (held, holding) = tokio::sync::mpsc::channel(open.len().max(1));
    for mut stream in open {
        let held = held.clone();
        tasks.spawn(async move {
            let mut seen = 0;
            while seen < each {
                let answer = stream.next().await?.context("a watch stream ended")?;
                ensure!(!answer.canceled, "a watch was canceled: {}", answer.cancel_reason);
                seen += answer.events.len() as u64;
            }
            ensure!(seen == each, "an event came twice");
            held.send(stream).await?;
            Ok(())
        });
    }
    join(tasks, &mut acked).await?;
    acked.held.push(Box::new(holding));
    Ok(acked)
}

pub(super) async fn connections(store: &Store, count: u64) -> Result<Acked> {
    let mut acked = Acked::default();
    let mut open = Vec::new();
    for number in 0..count {
        let client = store.server.client_with(Config { connect_timeout: Duration::from_secs(20), ..Config::default() });
        let watcher = client.watcher(WatchCreateRequest { key: "one".into(), ..Default::default() }).await;
        open.push((client, watcher.with_context(|| format!("connection {number}"))?));
    }
    put(&store.client(), "one".to_owned(), 0, 100).await?;
    for (_, watcher) in &mut open {
        let answer = tokio::time::timeout(PATIENCE, watcher.next()).await.context("a watcher hears nothing")?;
        ensure!(answer.context("a watch ended")??.events.len() == 1, "one event was written");
        acked.done += 1;
    }
    acked.held.push(Box::new(open));
    Ok(acked)
}
