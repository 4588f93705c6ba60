//! Answers whose clients do not read them.

use std::time::Duration;

use tidegate_api::{
    Kv,
    pb::{
        CompactionRequest, PutRequest, RangeRequest, TxnRequest,
        etcdserverpb::{RequestOp, request_op::Request},
    },
};
use tidegate_member::Config;

use crate::node::{Node, PATIENCE, call, call_bytes, connect};

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
        let op = RequestOp { request: Some(Request::RequestRange(all())) };
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

/// Recipes of an applied transaction were counted nowhere while its client did not read.
#[test]
fn what_an_applied_answer_still_has_to_read_is_leased() {
    let node = Node::start(Config::PIN_MAX);
    node.runtime.block_on(async {
        fill(&node).await;
        let op = |request| RequestOp { request: Some(request) };
        let put = PutRequest { key: "other".into(), ..Default::default() };
        let mut success = vec![op(Request::RequestRange(all())), op(Request::RequestPut(put))];
        success.extend((0..100u8).map(|n| {
            let key = vec![n; 6 << 10].into();
            op(Request::RequestRange(RangeRequest { key, ..Default::default() }))
        }));
        let client = connect(&node.address, 1000).await;
        let txn = TxnRequest { success, ..Default::default() };
        let mut stalled = call(&client, "/etcdserverpb.KV/Txn", &txn).await;
        stalled.data().await.unwrap().unwrap();
        assert!(node.used("requests").0 > 600 << 10);
        drop((stalled, client));
        let given_back = async {
            while node.used("requests").0 > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, given_back).await.unwrap();
    });
}

/// The whole request went to the log, unknown fields included, under no lease while it waited.
#[test]
fn a_grant_takes_two_numbers_to_the_log() {
    let node = Node::start(Config::PIN_MAX);
    node.runtime.block_on(async {
        let client = connect(&node.address, 64 << 10).await;
        let mut junk = vec![0x7a, 0x80, 0x80, 0x40]; // field 15 of 1 MiB
        junk.resize(junk.len() + (1 << 20), 0);
        let mut answer = call_bytes(&client, "/etcdserverpb.Lease/LeaseGrant", &junk).await;
        answer.data().await.unwrap().unwrap();
        assert_eq!(answer.trailers().await.unwrap().unwrap().get("grpc-status").unwrap(), "0");
        assert!(node.used("log").1 < 64 << 10, "{:?}", node.used("log"));
    });
}

/// Clients that stopped reading in the middle of a large value held the bytes of answers until everybody else had none.
#[test]
fn stalled_readers_give_back_what_others_wait_for() {
    let node = Node::start(Config::PIN_MAX);
    node.runtime.block_on(async {
        let put = PutRequest { key: "k".into(), value: vec![7; 1 << 20].into(), ..Default::default() };
        node.handle.put(put).await.unwrap();
        let range = RangeRequest { key: "k".into(), ..Default::default() };
        let mut stalled = Vec::new();
        for _ in 0..40 {
            let client = connect(&node.address, 1000).await;
            for _ in 0..2 {
                stalled.push((client.clone(), call(&client, "/etcdserverpb.KV/Range", &range).await));
            }
        }
        let honest = async {
            let client = connect(&node.address, 1 << 20).await;
            let mut answer = call(&client, "/etcdserverpb.KV/Range", &range).await;
            let mut len = 0;
            while let Some(data) = answer.data().await {
                let data = data.unwrap();
                len += data.len();
                answer.flow_control().release_capacity(data.len()).unwrap();
            }
            len
        };
        let len = tokio::time::timeout(PATIENCE, honest).await.expect("an honest reader gets its answer");
        assert!(len > 1 << 20);
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
