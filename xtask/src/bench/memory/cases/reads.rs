//! Large answers to several readers.

use anyhow::{Result, ensure};
use bytes::Bytes;
use tidegate_api::{
    KeyRange, Kv, Message,
    pb::{PutRequest, RangeRequest, RangeResponse},
};
use tidegate_tests::raw;
use tokio::task::JoinSet;

use super::{Acked, count};
use crate::bench::{load::value, stores::Store};

const SLOW_RATE: usize = 4 << 20;

pub(super) async fn lists(store: &Store, values: u64, readers: u64) -> Result<Acked> {
    let mut acked = Acked::default();
    let client = store.client();
    for number in 0..values {
        let put = PutRequest { key: key(number), value: value(number, 1 << 20), ..Default::default() };
        count(client.put(put).await.map(drop), &mut acked)?;
    }
    ensure!(acked.refused == 0, "a sole writer was refused");
    let mut reads = JoinSet::new();
    for reader in 0..readers {
        let address = store.server.address();
        reads.spawn(async move { list(&address, values, if reader == 0 { SLOW_RATE } else { usize::MAX }).await });
    }
    while let Some(read) = reads.join_next().await {
        read??;
        acked.done += 1;
    }
    Ok(acked)
}

fn key(number: u64) -> Bytes {
    format!("list/{number:06}").into()
}

/// Reads the list over a connection of its own, `rate` bytes a second, and looks at every value.
async fn list(address: &str, values: u64, rate: usize) -> Result<()> {
    let mut requests = raw::connect(address, 1 << 20).await?;
    let (key, range_end) = KeyRange::prefix("list/").into_request();
    let request = RangeRequest { key, range_end, ..Default::default() };
    let mut body = raw::ask(&mut requests, "/etcdserverpb.KV/Range", &request).await?;
    let message = raw::read(&mut body, rate / 20).await?;
    let answer = RangeResponse::decode(message)?;
    ensure!(answer.kvs.len() as u64 == values && !answer.more, "a list is short");
    for (number, kv) in (0..values).zip(&answer.kvs) {
        ensure!(
            kv.key == self::key(number) && kv.value == value(number, 1 << 20),
            "value {number} of a list is another"
        );
    }
    Ok(())
}
