//! Streams that announce much and send nothing.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tidegate_api::{
    Kv,
    pb::{LeaseGrantRequest, PutRequest, RangeRequest},
};
use tidegate_base::clock;
use tidegate_tests::raw;

use crate::store::{MIB, Store};

const PUT: &str = "/etcdserverpb.KV/Put";
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
        let mut silent = raw::connect(&store.server.address(), raw::WINDOW).await.unwrap();
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..STREAMS {
            silent = silent.ready().await.unwrap();
            let (answer, sender) = raw::announce(&mut silent, PUT, 2 << 20).unwrap();
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

/// A small put on the connection of the silent streams.
async fn put_beside(requests: &mut SendRequest<Bytes>) -> anyhow::Result<()> {
    let request = PutRequest { key: "beside".into(), value: "v".into(), ..Default::default() };
    let mut ready = requests.clone().ready().await?;
    let mut body = raw::ask(&mut ready, PUT, &request).await?;
    raw::read(&mut body, usize::MAX).await.map(drop)
}
