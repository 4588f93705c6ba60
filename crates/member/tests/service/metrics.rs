//! Counts of operations. What is expected is what etcd 3.7.3 counted for the same requests, one after another.

use bytes::Bytes;
use tidegate_api::{
    Kv,
    pb::{
        DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest,
        etcdserverpb::{
            Compare, RequestOp,
            compare::{CompareTarget, TargetUnion},
            request_op::Request,
        },
    },
};
use tidegate_member::Config;

use crate::node::{Node, call, connect};

fn counts(node: &Node) -> [u64; 4] {
    let text = node.handle.metrics();
    ["put", "range", "delete", "txn"].map(|operation| {
        let name = format!("etcd_mvcc_{operation}_total ");
        let line = text.lines().find(|line| line.starts_with(&name)).unwrap();
        line[name.len()..].parse().unwrap()
    })
}

#[test]
fn operations_are_counted_as_etcd_counts_them() {
    let node = Node::start(Config::PIN_MAX);
    let key = Bytes::from_static(b"k");
    let put = PutRequest { key: key.clone(), value: key.clone(), ..Default::default() };
    let range = RangeRequest { key: key.clone(), ..Default::default() };
    let op = |request| RequestOp { request: Some(request) };
    let success = |success| TxnRequest { success, ..Default::default() };
    node.runtime.block_on(async {
        let kv = &node.handle;
        kv.put(put.clone()).await.unwrap();
        assert_eq!(counts(&node), [1, 0, 0, 0]);
        kv.put(PutRequest { prev_kv: true, ..put.clone() }).await.unwrap();
        assert_eq!(counts(&node), [2, 1, 0, 1]);
        kv.range(range.clone()).await.unwrap();
        assert_eq!(counts(&node), [2, 2, 0, 1]);
        kv.txn(success(vec![op(Request::RequestPut(put.clone()))])).await.unwrap();
        assert_eq!(counts(&node), [3, 2, 0, 1]);
        let compare = Compare {
            key: key.clone(),
            target: CompareTarget::Version.into(),
            target_union: Some(TargetUnion::Version(3)),
            ..Default::default()
        };
        let guarded = TxnRequest { compare: vec![compare], ..success(vec![op(Request::RequestPut(put.clone()))]) };
        assert!(kv.txn(guarded).await.unwrap().succeeded);
        let both = vec![op(Request::RequestPut(put.clone())), op(Request::RequestRange(range))];
        kv.txn(success(both)).await.unwrap();
        // The one difference: compares of a transaction that writes are not told by its outcome, and not counted.
        assert_eq!(counts(&node), [5, 3, 0, 2]);
        kv.delete_range(DeleteRangeRequest { key: key.clone(), ..Default::default() }).await.unwrap();
        assert_eq!(counts(&node), [5, 3, 1, 2]);
        assert!(kv.put(PutRequest { lease: 99, ..put }).await.is_err());
        assert_eq!(counts(&node), [5, 3, 1, 2], "what is refused is no operation");
    });
    let text = node.handle.metrics();
    let needed = [
        "etcd_server_leader_changes_seen_total 1\n",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} ",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"8.192\"} ",
        "etcd_disk_backend_commit_duration_seconds_bucket{le=\"+Inf\"} ",
    ];
    for needed in needed {
        assert!(text.contains(needed), "{needed} is missing:\n{text}");
    }
}

#[test]
fn calls_are_counted_by_method_and_code() {
    let node = Node::start(Config::PIN_MAX);
    node.runtime.block_on(async {
        let client = connect(&node.address, 64 << 10).await;
        for key in ["k", "k", ""] {
            let range = RangeRequest { key: key.into(), ..Default::default() };
            let mut answer = call(&client, "/etcdserverpb.KV/Range", &range).await;
            while answer.data().await.is_some() {}
        }
    });
    let line = |code, count| {
        let labels = r#"grpc_method="Range",grpc_service="etcdserverpb.KV",grpc_type="unary""#;
        format!("grpc_server_handled_total{{grpc_code=\"{code}\",{labels}}} {count}\n")
    };
    let text = node.handle.metrics();
    assert!(text.contains(&line("OK", 2)) && text.contains(&line("InvalidArgument", 1)), "{text}");
}
