//! Floods of writes, and what is left of them after a kill.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidegate_api::{
    KeyRange, Kv,
    pb::{CompactionRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request},
};
use tidegate_base::clock;
use tidegate_client::Client;
use tokio::task::JoinSet;

use super::{Acked, count};
use crate::bench::{
    load::{key, value},
    stores::Store,
};

fn request(number: u64, length: usize) -> PutRequest {
    PutRequest { key: key(number), value: value(number, length), ..Default::default() }
}

/// Where a flood ends.
#[derive(Clone, Copy)]
enum End {
    Number(u64),
    Time(Instant),
}

impl End {
    fn is_behind(self, number: u64) -> bool {
        match self {
            End::Number(end) => number >= end,
            End::Time(end) => clock::now() >= end,
        }
    }
}

/// `writers` tasks over `connections` take the numbers in turn and do `call` with each.
async fn flood<F, Fut>(store: &Store, connections: u64, writers: u64, end: End, call: F) -> Result<Acked>
where
    F: Fn(Client, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), tidegate_api::Error>> + Send,
{
    let clients: Vec<_> = (0..connections).map(|_| store.client()).collect();
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let client = clients[usize::try_from(writer % connections)?].clone();
        let call = call.clone();
        tasks.spawn(async move {
            let mut acked = Acked::default();
            let mut number = writer;
            while !end.is_behind(number) {
                let before = acked.done;
                count(call(client.clone(), number).await, &mut acked)?;
                if acked.done > before {
                    acked.numbers.push(number);
                }
                number += writers;
            }
            anyhow::Ok(acked)
        });
    }
    let mut all = Acked::default();
    while let Some(part) = tasks.join_next().await {
        let part = part??;
        (all.done, all.refused) = (all.done + part.done, all.refused + part.refused);
        all.numbers.extend(part.numbers);
    }
    Ok(all)
}

pub(super) async fn puts(store: &Store, total: u64) -> Result<Acked> {
    flood(store, 64, 512, End::Number(total), |client, number| async move {
        client.put(request(number, 1 << 20)).await.map(drop)
    })
    .await
}

pub(super) async fn verify_puts(store: &Store, acked: &Acked) -> Result<()> {
    let client = store.client();
    for number in &acked.numbers {
        let answer = client.range(RangeRequest { key: key(*number), ..Default::default() }).await?;
        ensure!(answer.kvs.len() == 1 && answer.kvs[0].value == value(*number, 1 << 20), "put {number} is lost");
    }
    Ok(())
}

pub(super) async fn txns(store: &Store, total: u64) -> Result<Acked> {
    flood(store, 16, 64, End::Number(total), |client, number| async move {
        let op = |n: u64| RequestOp { request: Some(Request::RequestPut(request(number * 128 + n, 8 << 10))) };
        let success = (0..128).map(op).collect();
        client.txn(TxnRequest { success, ..Default::default() }).await.map(drop)
    })
    .await
}

pub(super) async fn churn(store: &Store, seconds: u64) -> Result<Acked> {
    let compactor = store.client();
    let until = clock::now() + Duration::from_secs(seconds);
    let compact = tokio::spawn(async move {
        while clock::now() < until {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let answer = compactor.range(RangeRequest { key: key(0), ..Default::default() }).await?;
            let revision = answer.header.unwrap_or_default().revision;
            compactor.compact(CompactionRequest { revision, physical: false }).await?;
        }
        anyhow::Ok(())
    });
    let acked = flood(store, 16, 64, End::Time(until), |client, number| async move {
        let put = PutRequest { key: key(number % 1000), value: value(number % 64, 100 << 10), ..Default::default() };
        client.put(put).await.map(drop)
    })
    .await?;
    compact.await??;
    Ok(acked)
}

pub(super) async fn leases(store: &Store, total: u64) -> Result<Acked> {
    let acked = flood(store, 16, 64, End::Number(total), |client, number| async move {
        let id = i64::try_from(number).unwrap_or(i64::MAX) + 1;
        client.lease_grant(LeaseGrantRequest { ttl: 3600, id }).await?;
        client.put(PutRequest { lease: id, ..request(number, 32) }).await.map(drop)
    })
    .await?;
    ensure!(acked.done == total, "{} of {total} leases were refused", acked.refused);
    Ok(acked)
}

pub(super) async fn keys(store: &Store, total: u64) -> Result<Acked> {
    let acked = flood(store, 16, 64, End::Number(total), |client, number| async move {
        client.put(request(number, 256)).await.map(drop)
    })
    .await?;
    ensure!(acked.done == total, "{} of {total} small puts were refused", acked.refused);
    Ok(acked)
}

pub(super) async fn verify_keys(store: &Store, acked: &Acked) -> Result<()> {
    let client = store.client();
    let (key, range_end) = KeyRange::prefix("/bench/").into_request();
    let answer = client.range(RangeRequest { key, range_end, count_only: true, ..Default::default() }).await?;
    ensure!(
        u64::try_from(answer.count)? == acked.done,
        "{} keys are there, {} were acknowledged",
        answer.count,
        acked.done
    );
    Ok(())
}

pub(super) async fn versions(store: &Store, keys: u64, each: u64) -> Result<Acked> {
    let acked = flood(store, 16, 64, End::Number(keys * each), move |client, number| async move {
        let put = PutRequest { key: key(number % keys), value: value(number, 100), ..Default::default() };
        client.put(put).await.map(drop)
    })
    .await?;
    let client = store.client();
    let answer = client.range(RangeRequest { key: key(0), ..Default::default() }).await?;
    let revision = answer.header.unwrap_or_default().revision;
    client.compact(CompactionRequest { revision, physical: true }).await?;
    ensure!(acked.refused == 0, "{} small puts were refused", acked.refused);
    Ok(acked)
}
