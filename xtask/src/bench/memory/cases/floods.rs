//! Requests that announce or unfold to more than they are.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use tidegate_api::{
    Kv, Method,
    pb::{LeaseGrantRequest, PutRequest, PutResponse, RequestOp, TxnRequest, WatchCreateRequest},
};
use tidegate_base::clock;
use tidegate_tests::raw;
use tokio::task::JoinSet;

use super::{Acked, count};
use crate::bench::{load::value, stores::Store};

/// Streams of one connection, which servers limit.
const STREAMS: u64 = 100;

/// Encoded once and sent as bytes: making them costs the client more than the store, and both share the machine.
pub(super) async fn empty_ops(store: &Store) -> Result<Acked> {
    let mut acked = Acked::default();
    let mut calls = JoinSet::new();
    // Two bytes each on the wire, and a hundred once they are decoded.
    let txn = TxnRequest { success: vec![RequestOp { request: None }; (2 << 20) / 2 - 64], ..Default::default() };
    let body = raw::framed(&txn)?;
    for _ in 0..8 {
        let (address, body) = (store.server.address(), body.clone());
        calls.spawn(async move {
            let mut requests = raw::connect(&address, raw::WINDOW).await?;
            let mut statuses = Vec::new();
            for _ in 0..8 {
                requests = requests.ready().await?;
                statuses.push(send_txn(&mut requests, body.clone()).await?);
            }
            anyhow::Ok(statuses)
        });
    }
    while let Some(statuses) = calls.join_next().await {
        for (code, text) in statuses?? {
            match (code.as_str(), text.as_str()) {
                ("3", "etcdserver: too many operations in txn request") => acked.done += 1,
                ("8", "etcdserver: too many requests") => acked.refused += 1,
                other => anyhow::bail!("a million operations were answered with {other:?}"),
            }
        }
    }
    Ok(acked)
}

/// Code and text of the answer.
async fn send_txn(requests: &mut SendRequest<Bytes>, mut body: Bytes) -> Result<(String, String)> {
    let (answer, mut sender) = requests.send_request(raw::head("/etcdserverpb.KV/Txn")?, false)?;
    while !body.is_empty() {
        sender.reserve_capacity(body.len());
        // The answer may come before all is sent: then nobody takes the rest.
        let Some(Ok(room)) = std::future::poll_fn(|cx| sender.poll_capacity(cx)).await else { break };
        let part = body.split_to(room.min(body.len()));
        if sender.send_data(part, body.is_empty()).is_err() {
            break;
        }
    }
    let answer = answer.await?;
    let mut headers = answer.headers().clone();
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    if let Some(trailers) = body.trailers().await? {
        headers.extend(trailers);
    }
    let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    Ok((field("grpc-status"), field("grpc-message")))
}

pub(super) async fn silent(store: &Store, streams: u64) -> Result<Acked> {
    let mut calls = JoinSet::new();
    let mut left = streams;
    while left > 0 {
        let mut requests = raw::connect(&store.server.address(), raw::WINDOW).await?;
        for _ in 0..left.min(STREAMS) {
            requests = requests.ready().await?;
            let (answer, sender) = raw::announce(&mut requests, "/etcdserverpb.KV/Put", 2 << 20)?;
            calls.spawn(async move {
                let answer = tokio::time::timeout(Duration::from_secs(30), answer).await;
                drop(sender);
                answer.is_ok()
            });
        }
        left = left.saturating_sub(STREAMS);
    }
    let mut acked = Acked::default();
    // A server that keeps them for ever is seen in its memory, and beside it.
    while let Some(ended) = calls.join_next().await {
        acked.done += u64::from(ended?);
    }
    Ok(acked)
}

/// All on one connection: its keepalive and its watch must be answered within a second beside uploads that wait.
pub(super) async fn uploads(store: &Store, uploads: u64) -> Result<Acked> {
    let mut acked = Acked::default();
    // What makes them wait: puts of many other connections.
    let mut others = JoinSet::new();
    for n in 0..16u64 {
        let client = store.client();
        others.spawn(async move {
            for round in 0..20u64 {
                let put = PutRequest {
                    key: format!("other/{n}").into(),
                    value: value(n << 8 | round, 2 << 20),
                    ..Default::default()
                };
                drop(client.put(put).await);
            }
        });
    }
    let client = store.client();
    let lease = client.lease_grant(LeaseGrantRequest { ttl: 60, id: 0 }).await?.id;
    let mut keep_alive = client.keep_alive().await?;
    let mut watcher = client.watcher(WatchCreateRequest { key: "beside".into(), ..Default::default() }).await?;
    let mut calls = JoinSet::new();
    for n in 0..uploads {
        let client = client.clone();
        calls.spawn(async move {
            let put = PutRequest { key: format!("upload/{n}").into(), value: value(n, 2 << 20), ..Default::default() };
            client.unary::<_, PutResponse>(Method::Put, &put).await.map(drop)
        });
    }
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        let begin = clock::now();
        let answer = tokio::time::timeout(Duration::from_secs(10), keep_alive.renew(lease)).await;
        ensure!(answer.context("a keepalive beside uploads is not answered")??.ttl == 60, "the lease is gone");
        slowest = slowest.max(begin.elapsed());
        let other = store.client();
        other.put(PutRequest { key: "beside".into(), value: round.to_string().into(), ..Default::default() }).await?;
        let begin = clock::now();
        let event = tokio::time::timeout(Duration::from_secs(10), watcher.next()).await;
        event.context("a watch beside uploads hears nothing")?.context("the watch ended")??;
        slowest = slowest.max(begin.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(slowest < Duration::from_secs(1), "the connection's own calls waited {slowest:?} beside its uploads");
    while let Some(outcome) = calls.join_next().await {
        count(outcome?, &mut acked)?;
    }
    while let Some(done) = others.join_next().await {
        done?;
    }
    Ok(acked)
}
