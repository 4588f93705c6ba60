//! Requests that announce or unfold to more than they are.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::{SendStream, client::SendRequest};
use tidegate_api::{
    Kv, Method,
    pb::{LeaseGrantRequest, PutRequest, PutResponse, RequestOp, TxnRequest, WatchCreateRequest},
};
use tidegate_base::clock;
use tokio::{net::TcpStream, task::JoinSet};

use super::{Acked, count};
use crate::bench::{load::value, stores::Store};

/// Streams of one connection, which servers limit.
const STREAMS: u64 = 100;

pub(super) async fn empty_ops(store: &Store) -> Result<Acked> {
    let mut acked = Acked::default();
    let mut calls = JoinSet::new();
    // Two bytes each on the wire, and a hundred once they are decoded.
    let success = vec![RequestOp { request: None }; (2 << 20) / 2 - 64];
    for _ in 0..8 {
        let (client, success) = (store.client(), success.clone());
        calls.spawn(async move {
            let mut outcomes = Vec::new();
            for _ in 0..8 {
                outcomes
                    .push(client.txn(TxnRequest { success: success.clone(), ..Default::default() }).await.map(drop));
            }
            outcomes
        });
    }
    while let Some(outcomes) = calls.join_next().await {
        for outcome in outcomes? {
            match outcome {
                Err(tidegate_api::Error::TooManyOps) => acked.done += 1,
                Ok(()) => anyhow::bail!("a million operations were taken"),
                refused => count(refused, &mut acked)?,
            }
        }
    }
    Ok(acked)
}

async fn connect(address: &str) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    let (requests, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(requests.ready().await?)
}

fn announce(requests: &mut SendRequest<Bytes>) -> Result<(h2::client::ResponseFuture, SendStream<Bytes>)> {
    let head = http::Request::post("http://store/etcdserverpb.KV/Put");
    let head = head.header("content-type", "application/grpc").header("te", "trailers").body(())?;
    let (answer, mut sender) = requests.send_request(head, false)?;
    let mut prefix = BytesMut::new();
    prefix.put_u8(0);
    prefix.put_u32(2 << 20);
    sender.send_data(prefix.freeze(), false)?;
    Ok((answer, sender))
}

pub(super) async fn silent(store: &Store, streams: u64) -> Result<Acked> {
    let mut calls = JoinSet::new();
    let mut left = streams;
    while left > 0 {
        let mut requests = connect(&store.server.address()).await?;
        for _ in 0..left.min(STREAMS) {
            requests = requests.ready().await?;
            let (answer, sender) = announce(&mut requests)?;
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
