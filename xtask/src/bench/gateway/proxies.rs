//! The proxies under load, and the backend behind them.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use tidegate_tests::{free_ports, until};

use crate::bench::{
    http,
    node::{Node, Process, START_MAX},
};

pub(super) struct Proxy {
    pub(super) name: &'static str,
    pub(super) url: String,
    pub(super) pids: Vec<u32>,
    /// Address of the admin API, of ours.
    pub(super) api: Option<String>,
    _process: Running,
}

enum Running {
    Node(#[expect(dead_code, reason = "it ends when it is dropped")] Node),
    Nginx(#[expect(dead_code, reason = "it ends when it is dropped")] Process),
}

/// An nginx that answers every request with 1 KiB.
pub(super) struct Backend {
    address: String,
    _process: Process,
}

impl Backend {
    pub(super) fn start(dir: &Path) -> Result<Self> {
        let [port] = free_ports()?;
        let address = format!("127.0.0.1:{port}");
        let body = "x".repeat(1024);
        let server = format!("server {{ listen {address}; location / {{ return 200 {body}; }} }}");
        let process = start_nginx(dir, 1, &server, &address)?;
        Ok(Self { address, _process: process })
    }
}

/// nginx as a reverse proxy with as many workers as ours has threads.
pub(super) fn nginx(dir: &Path, backend: &Backend) -> Result<Proxy> {
    let [port] = free_ports()?;
    let address = format!("127.0.0.1:{port}");
    let server = format!(
        "upstream backend {{ server {}; keepalive 1024; keepalive_requests 1000000000; }}
         server {{
           listen {address} reuseport;
           location / {{
             proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\";
             proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
           }}
         }}",
        backend.address
    );
    let process = start_nginx(dir, cores(), &server, &address)?;
    Ok(Proxy {
        name: "nginx",
        url: format!("http://{address}/"),
        pids: process.pids()?,
        api: None,
        _process: Running::Nginx(process),
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn start_nginx(dir: &Path, workers: usize, server: &str, address: &str) -> Result<Process> {
    fs::create_dir_all(dir)?;
    let conf = format!(
        "worker_processes {workers}; daemon off; pid nginx.pid; error_log nginx.err crit;
         events {{ worker_connections 8192; }}
         http {{
           access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; tcp_nodelay on;
           client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
           scgi_temp_path scgi;
           {server}
         }}"
    );
    fs::write(dir.join("nginx.conf"), conf)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).args(["-e", "nginx.err", "-c", "nginx.conf"]).stderr(Stdio::null());
    let process = Process::start(&mut command)?;
    until(START_MAX, || http::get(address, "/").ok()).with_context(|| {
        let errors = fs::read_to_string(dir.join("nginx.err")).unwrap_or_default();
        format!("nginx does not answer on {address}: {errors}")
    })?;
    Ok(process)
}

/// A gateway node with one listener, one route and one pipeline.
pub(super) fn ours(dir: &Path, budget: &str, backend: &Backend) -> Result<Proxy> {
    let node = Node::start(dir, budget)?;
    let [gateway] = free_ports()?;
    http::post(&node.api, "/apis/v2/objects", &pipeline(backend, 0))?;
    let server = format!(
        "{{\"name\":\"front\",\"kind\":\"HTTPServer\",\"port\":{gateway},\"address\":\"127.0.0.1\",\"xForwardedFor\":true,\
         \"rules\":[{{\"paths\":[{{\"pathPrefix\":\"/\",\"backend\":\"bench\"}}]}}]}}"
    );
    http::post(&node.api, "/apis/v2/objects", &server)?;
    let front = format!("127.0.0.1:{gateway}");
    until(START_MAX, || http::get(&front, "/").ok()).with_context(|| node.log())?;
    let (pids, api) = (vec![node.pid()?], Some(node.api.clone()));
    Ok(Proxy { name: "tidegate", url: format!("http://{front}/"), pids, api, _process: Running::Node(node) })
}

/// The pipeline; each `edit` gives another specification of the same work.
pub(super) fn pipeline(backend: &Backend, edit: usize) -> String {
    format!(
        "{{\"name\":\"bench\",\"kind\":\"Pipeline\",\"flow\":[{{\"filter\":\"proxy{edit}\"}}],\"filters\":[{{\
         \"name\":\"proxy{edit}\",\"kind\":\"Proxy\",\"pools\":[{{\"servers\":[{{\"url\":\"http://{}\"}}]}}]}}]}}",
        backend.address
    )
}
