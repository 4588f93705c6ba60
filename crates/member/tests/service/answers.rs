//! Answers whose clients do not read them.

use std::time::Duration;

use tidegate_api::{
    Kv,
    pb::{CompactionRequest, PutRequest, RangeRequest, TxnRequest, etcdserverpb::RequestOp},
};
use tidegate_member::Config;

use crate::node::{Node, PATIENCE, call, connect};

fn all() -> RangeRequest {
    RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() }
}

async fn fill(node: &Node) {
    for n in 0..16u8 {
        let put = PutRequest { key: vec![b'k', n].into(), value: vec![n; 100 << 10].into(), ..Default::default() };
        node.handle.put(put).await.unwrap();
    }
}

/// A client without deadline that stopped reading kept all history on disk for ever.
#[test]
fn a_pin_ends_with_its_time_and_the_stream_is_reset() {
    let node = Node::start(Duration::from_millis(500));
    node.runtime.block_on(async {
        fill(&node).await;
        let client = connect(&node.address, 1000).await;
        let op = RequestOp { request: Some(tidegate_api::pb::etcdserverpb::request_op::Request::RequestRange(all())) };
        let txn = TxnRequest { success: vec![op], ..Default::default() };
        let mut answers =
            [call(&client, "/etcdserverpb.KV/Range", &all()).await, call(&client, "/etcdserverpb.KV/Txn", &txn).await];
        for answer in &mut answers {
            let ended = async {
                loop {
                    // What comes is taken and its window is never given back.
                    match answer.data().await {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => break error.is_reset(),
                        None => break false,
                    }
                }
            };
            assert!(tokio::time::timeout(PATIENCE, ended).await.unwrap(), "the stream is reset");
        }
        assert_eq!(node.handle.reader().oldest_pin(), None);
    });
}

/// It waited for pins of others, whatever became of the member.
#[test]
fn a_wait_for_physical_compaction_ends_with_the_member() {
    let mut node = Node::start(Config::PIN_MAX);
    let (stalled, mut compacting) = node.runtime.block_on(async {
        fill(&node).await;
        let client = connect(&node.address, 1000).await;
        let mut stalled = call(&client, "/etcdserverpb.KV/Range", &all()).await;
        stalled.data().await.unwrap().unwrap();
        node.handle.put(PutRequest { key: "k".into(), ..Default::default() }).await.unwrap();
        let pinned = node.handle.reader().oldest_pin().expect("the answer is not at its end");
        let request = CompactionRequest { revision: pinned + 1, physical: true };
        let mut requests = client.clone().ready().await.unwrap();
        let head = http::Request::post("http://store/etcdserverpb.KV/Compact");
        let head = head.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap();
        let (answer, mut sender) = requests.send_request(head, false).unwrap();
        let mut body = vec![0, 0, 0, 0, u8::try_from(prost::Message::encoded_len(&request)).unwrap()];
        prost::Message::encode(&request, &mut body).unwrap();
        sender.send_data(body.into(), true).unwrap();
        while node.handle.reader().compacted() < pinned + 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (stalled, answer)
    });
    node.stop_member();
    node.runtime.block_on(async {
        let answer = tokio::time::timeout(PATIENCE, &mut compacting).await.unwrap().unwrap();
        assert_eq!(answer.headers().get("grpc-status").unwrap(), "14");
        drop(stalled);
    });
}
