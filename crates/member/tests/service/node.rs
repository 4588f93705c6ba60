//! A member that listens, and a bare HTTP/2 client of it.

use std::{sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use prost::Message;
use tidegate_base::{Budget, ByteSize, Limits, Profile};
use tidegate_engine::MapEngine;
use tidegate_http::{
    conn::{Drain, Listener, Net, Served},
    h1::{self, Http1Service, Simple},
    io::Threads,
};
use tidegate_member::{Config, DataDir, Handle, Identity, Member};
use tokio::{net::TcpStream, runtime::Runtime};

/// Longest wait of a test for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Node {
    pub(crate) handle: Handle<MapEngine>,
    pub(crate) runtime: Runtime,
    pub(crate) address: String,
    member: Option<Member<MapEngine>>,
    threads: Option<Threads>,
    _net: Net,
    _dir: tempfile::TempDir,
}

impl Node {
    pub(crate) fn start(pin_max: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits::new(ByteSize::mib(256), Profile::Store).unwrap();
        let budget = Budget::new(limits);
        let data_dir = DataDir::open(&dir.path().join("data"), Identity { member_id: 1, cluster_id: 2 }).unwrap();
        let config = Config {
            name: "one".to_owned(),
            data_dir: dir.path().join("data"),
            member_id: 1,
            cluster_id: 2,
            peer_urls: vec!["http://localhost:2380".to_owned()],
            client_urls: vec!["http://localhost:2379".to_owned()],
            heartbeat: Duration::from_millis(100),
            election_ticks: 10,
            request_bytes_max: 1536 << 10,
            txn_ops_max: 128,
            quota_bytes: 0,
            progress_every: Duration::from_secs(600),
            log_retention: ByteSize::mib(64),
            pin_max,
            limits,
            allocator: None,
        };
        let threads = Threads::start(2, "io").unwrap();
        let io = threads.handle();
        let (member, handle) =
            Member::start(config, budget.clone(), data_dir, Arc::new(MapEngine::new()), &io).unwrap();
        let net = Net::new(&io, budget.clone(), Drain::new()).unwrap();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let waiting = handle.clone();
        io.spawn(0, move || async move { tell.send(waiting.ready().await).unwrap() }).unwrap();
        told.recv().unwrap().unwrap();
        let listener = Listener::bind_tcp("127.0.0.1:0").unwrap();
        let address = listener.address().to_string();
        let served = handle.clone();
        net.listen(listener, move |_| {
            let shared = h1::Shared::new(h1::Config::default(), budget.clone());
            let plain = Http1Service::new(Simple(served.endpoints()), shared);
            Served { grpc: Some(served.grpc()), http1: Some(plain) }
        })
        .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = address.trim_start_matches("http://").to_owned();
        Self { handle, runtime, address, member: Some(member), threads: Some(threads), _net: net, _dir: dir }
    }

    /// What a holder of the budget holds, and the most that it ever held.
    pub(crate) fn used(&self, holder: &str) -> (u64, u64) {
        let report = self.handle.memory().to_json();
        let line = report["holders"].as_array().unwrap().iter().find(|line| line["holder"] == holder).unwrap().clone();
        (line["used"].as_u64().unwrap(), line["peak"].as_u64().unwrap())
    }

    /// Stops the member alone: its listeners go on.
    pub(crate) fn stop_member(&mut self) {
        if let Some(member) = self.member.take() {
            member.stop();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop_member();
        if let Some(threads) = self.threads.take() {
            threads.stop();
        }
    }
}

/// A connection whose streams take `window` bytes each until more is given.
pub(crate) async fn connect(address: &str, window: u32) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window).initial_connection_window_size(1 << 20);
    let (requests, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    requests.ready().await.unwrap()
}

/// Starts a unary call. Its answer is not read.
pub(crate) async fn call(requests: &SendRequest<Bytes>, path: &str, request: &impl Message) -> RecvStream {
    call_bytes(requests, path, &request.encode_to_vec()).await
}

pub(crate) async fn call_bytes(requests: &SendRequest<Bytes>, path: &str, message: &[u8]) -> RecvStream {
    let mut ready = requests.clone().ready().await.unwrap();
    let head = http::Request::post(format!("http://store{path}"));
    let head = head.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap();
    let (answer, mut sender) = ready.send_request(head, false).unwrap();
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap());
    body.put_slice(message);
    sender.send_data(body.freeze(), true).unwrap();
    answer.await.unwrap().into_body()
}
