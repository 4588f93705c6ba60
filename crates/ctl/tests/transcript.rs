//! `tidegate ctl` against a real admin API behind a real socket, with the real data plane behind that.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::{net::SocketAddr, rc::Rc, sync::Arc, thread};

use bytes::BytesMut;
use clap::Parser;
use tidegate_api::{Error, Kv, Watch};
use tidegate_base::{Budget, ByteSize, Limits, Profile};
use tidegate_ctl::{Ctl, Streams, run};
use tidegate_gateway::{
    admin::{Admin, AdminHandler, AdminResponse, Reports},
    data::DataPlane,
    objects::{Config, Handle, Loader, Plane, Store},
};
use tidegate_http::{
    h1::{self, Shared, Simple},
    io::Threads,
};
use tidegate_pipeline::Registry;
use tidegate_testkit::MapStore;
use tokio::sync::{oneshot, watch};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    ctl: Ctl,
}

struct Fixed;

impl Reports for Fixed {
    fn metrics(&self) -> AdminResponse {
        AdminResponse::new(200, None, "")
    }
    fn memory(&self) -> AdminResponse {
        let report = r#"{"budget": 268435456, "pool": {"used": 0, "limit": 1048576}, "accounted": 2048,
            "holders": [{"holder": "gateway", "used": 2048, "limit": 50331648, "peak": 4096, "refused": 3}],
            "keys": [{"key": "/a b", "bytesWritten": 4096, "overestimatedByAtMost": 0, "writes": 2}]}"#;
        AdminResponse::new(200, Some("application/json"), report)
    }
}

/// A node of one thread for each part, and what ends them.
struct Node {
    address: SocketAddr,
    store: MapStore,
    objects: Handle,
    stop: watch::Sender<bool>,
    end: Option<oneshot::Sender<()>>,
    threads: Vec<thread::JoinHandle<()>>,
    io: Option<Threads>,
}

impl Node {
    fn start() -> Self {
        let budget = Budget::new(Limits::new(Limits::DEFAULT, Profile::Server).unwrap());
        let io = Threads::start(1, "io").unwrap();
        let plane: Arc<dyn Plane> =
            Arc::new(DataPlane::new(io.handle(), budget.clone(), Registry::new(tidegate_filters::KINDS)).unwrap());
        let store = MapStore::new();
        let (kv, follow): (Arc<dyn Kv>, Arc<dyn Watch>) = (Arc::new(store.clone()), Arc::new(store.clone()));
        let limit = ByteSize::mib(1);
        let loader = Loader::new(
            Arc::clone(&kv),
            follow,
            Arc::clone(&plane),
            budget.clone(),
            Config { settle: std::time::Duration::from_millis(1), ..Config::new(None, limit) },
        );
        let objects = loader.handle();
        let (stop, stopped) = watch::channel(false);
        let loading = loader.spawn(stopped).unwrap();
        let reports = Arc::new(Fixed);
        let admin = Admin::new(Store::new(kv), plane, objects.clone(), budget.clone(), limit, "m1".to_owned(), reports);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel();
        let serving = thread::spawn(move || serve(listener, Arc::new(admin), budget, ended));
        Self { address, store, objects, stop, end: Some(end), threads: vec![loading, serving], io: Some(io) }
    }

    /// Runs one command; returns its success, its output and its errors.
    fn ctl(&self, line: &str, input: &str) -> (bool, String, String) {
        let address = self.address.to_string();
        let words = ["ctl", "--server", &address].into_iter().chain(line.split(' '));
        let Cli { ctl } = Cli::try_parse_from(words).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let streams = Streams { input: &mut input.as_bytes(), out: &mut out, err: &mut err };
        let done = run(&ctl, streams);
        (done, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn check(&self, line: &str, input: &str, expected: (bool, &str, &str)) {
        let (done, out, err) = self.ctl(line, input);
        assert_eq!((done, &*out, &*err), expected, "ctl {line}");
    }

    fn until(&self, fits: impl Fn(&Handle) -> bool) {
        while !fits(&self.objects) {
            thread::yield_now();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.send(true).ok();
        self.end.take().unwrap().send(()).ok();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        self.io.take().unwrap().stop();
    }
}

fn serve(listener: std::net::TcpListener, admin: Arc<Admin>, budget: Budget, ended: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let service = Rc::new(Simple(AdminHandler::new(admin)));
        let shared = Shared::new(h1::Config::default(), budget);
        let accept = async {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                let (service, shared) = (Rc::clone(&service), Rc::clone(&shared));
                tokio::task::spawn_local(h1::serve(stream, BytesMut::new(), Some(peer), service, shared));
            }
        };
        tokio::select! {
            () = accept => {}
            _ = ended => {}
        }
    });
}

/// The quick start of the repository, on a port that is free.
fn quickstart() -> String {
    let text = include_str!("../../../examples/quickstart.yaml");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    text.replace("port: 10080", &format!("address: 127.0.0.1\nport: {free}\ncolour: red"))
}

#[test]
fn objects_are_applied_shown_and_deleted() {
    let node = Node::start();
    let spec = quickstart();
    let checked =
        "create HTTPServer demo successfully (dry run)\ncreate Pipeline demo-pipeline successfully (dry run)\n";
    let (done, out, _) = node.ctl("apply -f - --dry-run", &spec);
    assert_eq!((done, &*out), (true, checked));
    node.check("get pipelines", "", (true, "NAME   KIND   AGE\n", ""));

    let (done, out, err) = node.ctl("apply -f -", &spec);
    assert!(done, "{err}");
    assert_eq!(out, "create HTTPServer demo successfully\ncreate Pipeline demo-pipeline successfully\n");
    assert!(err.starts_with("Warning: HTTPServer demo: ") && err.contains("colour"), "{err}");
    node.until(|objects| objects.version() == 2 && objects.statuses().len() == 2);
    let (done, out, err) = node.ctl("get -o table", "");
    assert!(done, "{err}");
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "KIND", "AGE", "STATUS"]);
    // Behind the objects of the system.
    assert_eq!((lines[5][0], lines[5][1], lines[5][3]), ("demo", "HTTPServer", "ok"));
    assert_eq!((lines[6][0], lines[6][1], lines[6][3]), ("demo-pipeline", "Pipeline", "ok"));

    // What is printed can be applied again, in both formats.
    for format in ["yaml", "json"] {
        let (done, text, err) = node.ctl(&format!("get all -o {format}"), "");
        assert!(done, "{err}");
        let updated = "update HTTPServer demo successfully\nupdate Pipeline demo-pipeline successfully\n";
        let (done, out, _) = node.ctl("apply -f -", &text);
        assert!(done && out.ends_with(updated) && out.lines().count() == 6, "{out}{text}");
    }
    let (_, one, _) = node.ctl("get demo -o yaml", "");
    assert!(one.starts_with("name: demo\nkind: HTTPServer\n"), "{one}");
    let (_, by_alias, _) = node.ctl("get hs demo -o yaml", "");
    assert_eq!(by_alias, one);
    let (_, of_kind, _) = node.ctl("get pipelines", "");
    assert_eq!(of_kind.lines().count(), 2, "{of_kind}");

    node.check("delete pipeline demo", "", (false, "", "Error: delete Pipeline demo: 404: demo is no Pipeline\n"));
    node.check("delete hs demo", "", (true, "delete HTTPServer demo successfully\n", ""));
    let gone = "Error: delete HTTPServer demo: 404: the object demo does not exist\n";
    node.check("delete -f -", &spec, (false, "delete Pipeline demo-pipeline successfully\n", gone));
}

#[test]
fn the_verbs_of_egctl_find_their_routes() {
    let node = Node::start();
    node.check("health", "", (true, "OK\n", ""));
    let (done, out, err) = node.ctl("api-resources", "");
    assert!(done && out.contains("httpservers,hs"), "{out}{err}");
    let (done, out, err) = node.ctl("apis", "");
    assert!(done && out.contains("/apis/v2/objects/{name}"), "{out}{err}");
    let pipeline = "name: a\nkind: Pipeline\nfilters: []\n---\nname: b\nkind: Pipeline\nfilters: []\n";
    node.check("create -f -", pipeline, (true, "create Pipeline a successfully\ncreate Pipeline b successfully\n", ""));
    let (done, _, err) = node.ctl("create -f -", pipeline);
    assert!(!done && err.lines().count() == 2 && err.starts_with("Error: create Pipeline a: 409: "), "{err}");
    node.until(|objects| objects.statuses().len() == 2);
    let (done, out, err) = node.ctl("describe pl a", "");
    assert!(done && out.starts_with("Name: a\nKind: Pipeline\n"), "{out}{err}");
    assert!(out.ends_with("\nAllStatus:\n  - node: m1\n    status:\n      health: ''\n      filters: {}\n"), "{out}");
    node.check("diff -f -", pipeline, (true, "", ""));
    let other = "name: a\nkind: Pipeline\nfilters: [{name: m, kind: Mock, rules: [{code: 200}]}]\n";
    let told = "update Pipeline a\n  + filters[0]: {\"name\":\"m\",\"kind\":\"Mock\",\"rules\":[{\"code\":200}]}\n";
    node.check("diff -f -", other, (false, told, ""));
    let (done, out, err) = node.ctl("edit pipeline a --editor true", "");
    assert!(done && out == "edit Pipeline a: nothing was changed\n", "{out}{err}");
    node.check(
        "delete pipeline --all",
        "",
        (true, "delete Pipeline a successfully\ndelete Pipeline b successfully\n", ""),
    );
}

/// The data plane takes what is made from nginx.conf and from the flags of `create httpproxy`.
#[test]
fn what_is_converted_can_be_applied() {
    let node = Node::start();
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("nginx.conf");
    let text = "http { upstream app { server 10.0.0.1:80 weight=3; server 10.0.0.2:80; }
        upstream same { ip_hash; server 10.0.0.1:80; } upstream header { hash $http_x_user; server 10.0.0.1:80; }
        server { listen 127.0.0.1:0; } server { listen 127.0.0.1:PORT default_server; server_name a.example *.b.example c.* ~^d\\d+$;
        client_max_body_size 1m; proxy_set_header X-Real-IP $remote_addr;
        location / { proxy_pass http://app; } location = /e { proxy_pass http://same/f; proxy_set_header Host h.example; }
        location ~* \\.png$ { proxy_pass http://header; proxy_set_header Host $host; } location ^~ /g { proxy_pass http://10.0.0.3:81/h; } } }";
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    std::fs::write(&conf, text.replace("PORT", &free())).unwrap();
    let (done, objects, err) = node.ctl(&format!("convert nginx -f {}", conf.display()), "");
    assert!(done, "{err}");
    let (done, out, err) = node.ctl("apply -f -", &objects);
    assert_eq!((done, &*err), (true, ""), "{objects}");
    assert_eq!(out.lines().count(), 5, "{out}");

    let rules = "--rule a.example/x=http://10.0.0.1:80,http://10.0.0.2:80 --rule /y*=http://10.0.0.3:80";
    let (done, out, err) = node.ctl(&format!("create httpproxy demo --port {} {rules}", free()), "");
    assert_eq!((done, &*err), (true, ""));
    assert_eq!(out.lines().count(), 3, "{out}");
}

#[test]
fn failures_are_told_and_the_rest_goes_on() {
    let node = Node::start();
    let mixed =
        "name: s\nkind: HTTPServer\nrules: 3\n---\nname: u\nkind: Unknown\n---\nname: p\nkind: Pipeline\nfilters: []\n";
    let (done, out, err) = node.ctl("apply -f -", mixed);
    assert_eq!((done, &*out), (false, "create Pipeline p successfully\n"), "{err}");
    let lines: Vec<_> = err.lines().collect();
    assert!(lines[0].starts_with("Error: create HTTPServer s: 400: {\"jsonschemaErrs\":["), "{err}");
    assert!(lines[1].starts_with("Error: create Unknown u: 400: ") && lines[1].contains("not a kind"), "{err}");
    node.check("get nothing", "", (false, "", "Error: 404: the object nothing does not exist\n"));
    node.check("delete thing x", "", (false, "", "Error: thing is not a kind that the server has\n"));
    let (done, _, err) = node.ctl("apply -f /nonexistent/file", "");
    assert!(!done && err.starts_with("Error: /nonexistent/file: "), "{err}");
    node.store.set_down(Some(Error::NoLeader));
    let told = "Error: 503: the store did not answer: etcdserver: no leader\n";
    node.check("get", "", (false, "", told));
    node.check("apply -f -", "name: q\nkind: Pipeline\n", (false, "", told));
}

#[test]
fn memory_is_shown_as_a_table() {
    let node = Node::start();
    let (done, out, err) = node.ctl("memory", "");
    assert!(done, "{err}");
    let line =
        |start: &str| out.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {out}"));
    assert_eq!(line("gateway").split_whitespace().collect::<Vec<_>>(), ["gateway", "2KiB", "48MiB", "4KiB", "3"]);
    assert!(line("budget").ends_with("256MiB"));
    assert!(line("4KiB").ends_with("/a b"));
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let node = Node::start();
    let address = node.address;
    drop(node);
    let Cli { ctl } = Cli::try_parse_from(["ctl", "--server", &address.to_string(), "get"]).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    assert!(!run(&ctl, Streams { input: &mut &b""[..], out: &mut out, err: &mut err }));
    let err = String::from_utf8(err).unwrap();
    assert!(err.starts_with(&format!("Error: http://{address}: connect: ")), "{err}");
}
