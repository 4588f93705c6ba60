//! A list of 300 MB to a slow reader.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tidegate_api::{
    KeyRange, Message,
    pb::{RangeRequest, RangeResponse},
};
use tidegate_tests::setting;
use tokio::net::TcpStream;

use crate::store::{MIB, Store, put, value};

const VALUES: u64 = 300;

/// Bytes a second from `TIDEGATE_LIST_RATE_MIB`, else 4 MiB: more than a minute.
#[test]
fn a_list_of_300_mib_read_at_4_mib_a_second_stays_within_the_budget() {
    let rate = setting("TIDEGATE_LIST_RATE_MIB").unwrap_or(4) * MIB;
    let store = Store::start();
    store.runtime.block_on(async {
        let client = store.client();
        for number in 0..VALUES {
            put(&client, format!("list/{number:04}"), value(number, MIB)).await;
        }
        let message = read_slowly(&store.server.address(), rate).await;
        let answer = RangeResponse::decode(message).unwrap();
        assert_eq!(answer.count, 300);
        assert!(!answer.more);
        for (number, kv) in (0..VALUES).zip(&answer.kvs) {
            assert_eq!(kv.key, format!("list/{number:04}"));
            assert!(kv.value == value(number, MIB), "value {number} is another");
        }
        assert_eq!(answer.kvs.len(), 300);
    });
    store.check_peak("list of 300 MiB");
}

/// Lists everything over a connection of its own, and opens the windows at `rate` bytes a second.
async fn read_slowly(address: &str, rate: usize) -> Bytes {
    let stream = TcpStream::connect(address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let mut requests = requests.ready().await.unwrap();
    let (key, range_end) = KeyRange::prefix("list/").into_request();
    let request = RangeRequest { key, range_end, ..Default::default() };
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(request.encoded_len()).unwrap());
    request.encode(&mut body).unwrap();
    let head = http::Request::post("http://store/etcdserverpb.KV/Range")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let (response, mut sender) = requests.send_request(head.body(()).unwrap(), false).unwrap();
    sender.send_data(body.freeze(), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let mut message = BytesMut::with_capacity(305 * MIB);
    // Twenty portions a second, whatever the machine does: a late one is made up for.
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let (mut allowed, mut ended) = (0, false);
    while !ended {
        ticks.tick().await;
        allowed += rate / 20;
        while message.len() < allowed {
            let Some(data) = body.data().await else {
                ended = true;
                break;
            };
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            message.extend_from_slice(&data);
        }
    }
    let trailers = body.trailers().await.unwrap().expect("a status");
    assert_eq!(trailers.get("grpc-status").unwrap(), "0", "{trailers:?}");
    let mut message = message.freeze();
    assert_eq!(message.get_u8(), 0);
    assert_eq!(message.get_u32() as usize, message.len());
    message
}
