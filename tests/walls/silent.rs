//! Streams that announce much and send nothing.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::{SendStream, client::SendRequest};
use tidegate_api::{
    Error, Kv,
    pb::{LeaseGrantRequest, PutRequest, RangeRequest},
};
use tidegate_base::clock;
use tokio::net::TcpStream;

use crate::store::{MIB, Store};

const STREAMS: usize = 200;

/// Longest that an honest call may take beside the silent ones.
const HONEST_MAX: Duration = Duration::from_secs(5);

#[test]
fn silent_uploads_hold_up_neither_a_put_nor_a_keepalive() {
    let store = Store::start();
    store.runtime.block_on(async {
        let honest = store.client();
        let grant = LeaseGrantRequest { ttl: 60, id: 0 };
        let lease = honest.lease_grant(grant).await.unwrap().id;
        let mut keep_alive = honest.keep_alive().await.unwrap();
        let mut silent = connect(&store.server.address()).await;
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..STREAMS {
            silent = silent.ready().await.unwrap();
            let (answer, sender) = announce(&mut silent);
            calls.spawn(async move {
                let answer = answer.await;
                drop(sender);
                answer.is_ok_and(|answer| answer.headers().contains_key("grpc-status"))
            });
        }
        // On another connection and on the same one, before the silent streams are ended for their silence.
        for round in 0..20 {
            let begin = clock::now();
            let answer = keep_alive.renew(lease).await.unwrap();
            assert_eq!(answer.ttl, 60);
            let renewed = begin.elapsed();
            let put = PutRequest { key: format!("honest/{round}").into(), value: "v".into(), ..Default::default() };
            honest.put(put).await.unwrap();
            let put = begin.elapsed() - renewed;
            put_beside(&mut silent).await.unwrap();
            let beside = begin.elapsed() - renewed - put;
            let slowest = renewed.max(put).max(beside);
            assert!(slowest < HONEST_MAX, "round {round}: keepalive {renewed:?}, put {put:?}, put beside {beside:?}");
        }
        let mut ended = 0;
        while let Some(with_status) = calls.join_next().await {
            ended += usize::from(with_status.unwrap());
        }
        assert_eq!(ended, STREAMS, "each silent call is ended with a status");
        // What they held came back: a large put goes through.
        let large = PutRequest { key: "large".into(), value: vec![1; 3 * MIB].into(), ..Default::default() };
        honest.put(large).await.unwrap();
        let read = honest.range(RangeRequest { key: "large".into(), ..Default::default() }).await.unwrap();
        assert_eq!(read.kvs[0].value.len(), 3 * MIB);
    });
    store.check_peak("200 silent streams");
}

async fn connect(address: &str) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    requests.ready().await.unwrap()
}

fn head() -> http::Request<()> {
    let head = http::Request::post("http://store/etcdserverpb.KV/Put");
    head.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

fn announce(requests: &mut SendRequest<Bytes>) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
    let (answer, mut sender) = requests.send_request(head(), false).unwrap();
    let mut prefix = BytesMut::new();
    prefix.put_u8(0);
    prefix.put_u32(2 << 20);
    sender.send_data(prefix.freeze(), false).unwrap();
    (answer, sender)
}

/// A small put on the connection of the silent streams.
async fn put_beside(requests: &mut SendRequest<Bytes>) -> Result<(), Error> {
    use tidegate_api::Message;
    let request = PutRequest { key: "beside".into(), value: "v".into(), ..Default::default() };
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(request.encoded_len()).unwrap());
    request.encode(&mut body).unwrap();
    let mut ready = requests.clone().ready().await.unwrap();
    let (answer, mut sender) = ready.send_request(head(), false).unwrap();
    sender.send_data(body.freeze(), true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    while let Some(data) = body.data().await {
        let length = data.unwrap().len();
        body.flow_control().release_capacity(length).unwrap();
    }
    let trailers = body.trailers().await.unwrap().expect("trailers");
    let code = trailers.get("grpc-status").unwrap();
    if code == "0" { Ok(()) } else { panic!("the put beside the silent streams ended with {trailers:?}") }
}
