//! A gateway for benchmarks: one HTTPServer, one Pipeline with a Proxy, and as many more routes as wanted.
//!
//! HTTP/1.1, and HTTP/2 to who begins with it.
//!
//! `bench_gateway PORT BACKEND_URL [ROUTES] [THREADS]`, for example `bench_gateway 23100 http://127.0.0.1:23000 1000`.

use std::fmt::Write;

use serde_json::Value;
use tidegate_base::{Budget, ByteSize, Limits, Profile};
use tidegate_gateway::{
    data::{DataPlane, Options},
    objects::{Plane, Texts},
};
use tidegate_http::io::Threads;
use tidegate_pipeline::Registry;

/// As in `bin/tidegate`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().unwrap_or_else(|| "23100".to_owned());
    let backend = arguments.next().unwrap_or_else(|| "http://127.0.0.1:23000".to_owned());
    let routes: usize = arguments.next().unwrap_or_else(|| "0".to_owned()).parse()?;
    let threads: usize = arguments.next().unwrap_or_else(|| "2".to_owned()).parse()?;
    let mut server =
        format!("port: {port}\naddress: 127.0.0.1\nxForwardedFor: true\nclientMaxBodySize: -1\nrules:\n- paths:\n");
    for route in 0..routes {
        writeln!(server, "  - pathPrefix: /svc{route}/api/\n    backend: demo")?;
    }
    server.push_str("  - pathPrefix: /\n    backend: demo\n");
    let pipeline = format!(
        "filters:\n- name: proxy\n  kind: Proxy\n  serverMaxBodySize: -1\n  pools:\n  - servers:\n    - url: {backend}\n"
    );
    let objects = [("server", "HTTPServer", server), ("demo", "Pipeline", pipeline)];
    let objects = objects.into_iter().map(|(name, kind, yaml)| {
        let mut spec = serde_yaml_ng::from_str::<Value>(&yaml)?;
        (spec["name"], spec["kind"]) = (name.into(), kind.into());
        Ok((name.to_owned(), spec.to_string().into()))
    });
    let texts = objects.collect::<Result<Texts, serde_yaml_ng::Error>>()?;
    let threads = Threads::start(threads, "io")?;
    let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server)?);
    let options = Options { h2c: true, ..Options::default() };
    let plane = DataPlane::with(threads.handle(), budget, Registry::new(tidegate_filters::KINDS), options)?;
    for (name, status) in plane.apply(&texts) {
        if let Some(error) = status.error {
            return Err(format!("{name}: {error}").into());
        }
    }
    println!("{} listens on {:?}", std::process::id(), plane.address("server"));
    loop {
        std::thread::park();
    }
}
