//! Large answers to several readers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tidegate_api::{
    KeyRange, Kv, Message,
    pb::{PutRequest, RangeRequest, RangeResponse},
};
use tokio::{net::TcpStream, task::JoinSet};

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
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .handshake::<_, Bytes>(TcpStream::connect(address).await?)
        .await?;
    tokio::spawn(async move { drop(connection.await) });
    let mut requests = requests.ready().await?;
    let (key, range_end) = KeyRange::prefix("list/").into_request();
    let request = RangeRequest { key, range_end, ..Default::default() };
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(request.encoded_len())?);
    request.encode(&mut body)?;
    let head = http::Request::post("http://store/etcdserverpb.KV/Range");
    let head = head.header("content-type", "application/grpc").header("te", "trailers").body(())?;
    let (response, mut sender) = requests.send_request(head, false)?;
    sender.send_data(body.freeze(), true)?;
    let mut body = response.await?.into_body();
    let mut message = BytesMut::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let mut allowed = 0usize;
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        message.extend_from_slice(&data);
        while message.len() > allowed {
            if rate == usize::MAX {
                break;
            }
            ticks.tick().await;
            allowed += rate / 20;
        }
    }
    let trailers = body.trailers().await?.context("an answer without a status")?;
    ensure!(trailers.get("grpc-status").is_some_and(|status| status == "0"), "a list ended with {trailers:?}");
    let mut message = message.freeze();
    message.advance(5);
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
