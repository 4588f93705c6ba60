//! Traffic through listener, router, pipeline and proxy, over loopback sockets.

mod auth;
mod coding;
mod examples;
mod filters;
mod global;
mod http2;
mod keep;
mod namespaces;
mod panics;
mod proxy;
mod redirects;
mod reload;
mod resilience;
mod routes;
mod rules;
mod stats;
mod tls;
mod tracing;
pub(crate) mod upstream;
mod websocket;

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};
use tidegate_http::io::Threads;
use tidegate_pipeline::{CustomData, Registry};
use tidegate_testkit::MapStore;

use super::{DataPlane, Options};
use crate::{
    AutoCert, StoreData,
    objects::{ObjectStatus, Plane},
};

pub(crate) const WAIT: Duration = Duration::from_secs(20);

/// A data plane on two I/O threads.
pub(crate) struct Gateway {
    pub(crate) plane: DataPlane,
    threads: Option<Threads>,
    budget: Budget,
    objects: BTreeMap<String, (String, Value)>,
    /// What the access log holds until the plane is gone.
    log_bytes: u64,
}

impl Gateway {
    pub(crate) fn new() -> Self {
        Self::with_kinds(Registry::new(tidegate_filters::KINDS))
    }

    pub(crate) fn with_kinds(kinds: Registry) -> Self {
        Self::with_data(kinds, None, None, false)
    }

    /// With custom data in `store`.
    pub(crate) fn with_store(store: &MapStore) -> Self {
        let budget = Budget::new(Limits::new(Limits::DEFAULT, Profile::Server).unwrap());
        let data = StoreData::start(Arc::new(store.clone()), Arc::new(store.clone()), budget).unwrap();
        Self::with_data(Registry::new(tidegate_filters::KINDS), Some(Arc::new(data)), None, false)
    }

    /// With certificates that are kept in `store`.
    pub(crate) fn with_certificates(store: &MapStore, leads: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let budget = Budget::new(Limits::new(Limits::DEFAULT, Profile::Server).unwrap());
        let data = StoreData::start(Arc::new(store.clone()), Arc::new(store.clone()), budget).unwrap();
        let auto_cert = AutoCert::new(Arc::new(data), leads);
        Self::with_data(Registry::new(tidegate_filters::KINDS), None, Some(auto_cert), false)
    }

    /// One whose listeners speak HTTP/2 in the clear, too.
    pub(crate) fn with_h2c() -> Self {
        Self::with_data(Registry::new(tidegate_filters::KINDS), None, None, true)
    }

    fn with_data(
        kinds: Registry,
        custom_data: Option<Arc<dyn CustomData>>,
        auto_cert: Option<AutoCert>,
        h2c: bool,
    ) -> Self {
        let threads = Threads::start(2, "io").unwrap();
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        let disable_io_uring = std::env::var_os("TIDEGATE_TEST_EPOLL").is_some();
        let options = Options { custom_data, auto_cert, h2c, disable_io_uring };
        let plane = DataPlane::with(threads.handle(), budget.clone(), kinds, options).unwrap();
        Self { plane, threads: Some(threads), budget, objects: BTreeMap::new(), log_bytes: 0 }
    }

    /// An HTTPServer `s` that sends everything to the pipeline `p`, which has one filter.
    pub(crate) fn with_filter(filter: Value) -> Self {
        let mut gateway = Self::new();
        gateway.set("p", "Pipeline", json!({ "filters": [filter] }));
        let server = json!({"port": 0, "address": "127.0.0.1", "rules": [{"paths": [{"backend": "p"}]}]});
        gateway.set("s", "HTTPServer", server);
        gateway.apply_all();
        gateway
    }

    /// A server `s` before a pipeline `p` with these filters and this flow.
    pub(crate) fn serve(&mut self, filters: Value, flow: Value) {
        self.set("p", "Pipeline", json!({ "filters": filters, "flow": flow }));
        let server = json!({"port": 0, "address": "127.0.0.1", "rules": [{"paths": [{"backend": "p"}]}]});
        self.set("s", "HTTPServer", server);
        self.apply_all();
    }

    /// As [`Gateway::with_filter`], with a Proxy to `upstream`.
    pub(crate) fn with_proxy(upstream: SocketAddr, extra: Value) -> Self {
        let mut pool = json!({"servers": [{"url": format!("http://{upstream}")}]});
        pool.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Self::with_filter(json!({"name": "proxy", "kind": "Proxy", "pools": [pool]}))
    }

    pub(crate) fn log_access(&mut self, sink: impl Write + Send + 'static) {
        let before = self.budget.used(Holder::Gateway);
        self.plane.log_access(sink).unwrap();
        self.log_bytes = self.budget.used(Holder::Gateway) - before;
    }

    pub(crate) fn set(&mut self, name: &str, kind: &str, spec: Value) {
        self.objects.insert(name.to_owned(), (kind.to_owned(), spec));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.objects.remove(name);
    }

    pub(crate) fn apply(&self) -> BTreeMap<String, ObjectStatus> {
        let text = |name: &String, kind: &String, spec: &Value| {
            let mut spec = spec.clone();
            spec["name"] = name.as_str().into();
            spec["kind"] = kind.as_str().into();
            (name.clone(), spec.to_string().into())
        };
        let texts = self.objects.iter().map(|(name, (kind, spec))| text(name, kind, spec)).collect();
        self.plane.apply(&texts)
    }

    /// Applies what must be good.
    pub(crate) fn apply_all(&self) {
        for (name, status) in self.apply() {
            assert_eq!(status.error, None, "{name}");
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.plane.address("s").expect("it listens")
    }

    pub(crate) fn ask(&self, request: &str) -> String {
        talk(self.address(), request)
    }

    /// Status of a GET.
    pub(crate) fn status(&self, path: &str) -> u16 {
        status(&self.ask(&format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.plane.drain();
        self.plane.apply(&BTreeMap::new());
        if let Some(threads) = self.threads.take() {
            threads.stop();
        }
        if !std::thread::panicking() {
            assert_eq!(self.budget.used(Holder::Gateway), self.log_bytes, "every lease came back");
        }
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends, and reads until the other side closes.
pub(crate) fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    read_all(&mut stream)
}

pub(crate) fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        // A connection that is cut ends so too.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&answer)),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until the text so far ends with `end`.
pub(crate) fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(end.as_bytes()) {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
    }
    String::from_utf8(answer).unwrap()
}

pub(crate) fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// What stands behind the head.
pub(crate) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}
