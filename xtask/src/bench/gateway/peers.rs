//! The peers' configurations: as many workers as the machine has processors, keep-alive to the backend, `X-Forwarded-For`, no access log.
//!
//! nginx and HAProxy are those of the distribution, Envoy and Caddy what `cargo xtask peers gateway` installs.

use std::{fs, fs::File, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tidegate_tests::free_ports;

use super::fleet::{Job, Kind, Proxy, Running};
use crate::{
    bench::node::{Process, alone},
    peers::gateway_program,
};

/// Where a peer's words go, in its directory.
pub(super) const LOG: &str = "peer.log";
/// Most connections of the idle scenario, and more than a run can need towards the backend.
const CONNECTIONS_MAX: usize = 16_000;

/// The program, if it is there.
pub(super) fn program(kind: Kind) -> Option<PathBuf> {
    match kind {
        Kind::Tidegate => None,
        Kind::Nginx | Kind::Haproxy => {
            let places = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"];
            places.iter().map(|dir| PathBuf::from(dir).join(kind.name())).find(|path| path.is_file())
        }
        Kind::Envoy | Kind::Caddy => gateway_program(kind.name()),
    }
}

pub(super) fn start(kind: Kind, job: Job<'_>) -> Result<Option<Proxy>> {
    let Some(program) = program(kind) else { return Ok(None) };
    job.certificate.write(job.dir)?;
    let [plain, secure] = free_ports()?;
    let mut command = alone(program);
    match kind {
        Kind::Tidegate => return Ok(None),
        Kind::Nginx => {
            fs::write(job.dir.join("nginx.conf"), nginx(job, plain, secure))?;
            command.arg("-p").arg(job.dir).args(["-e", "nginx.err", "-c", "nginx.conf"]);
        }
        Kind::Haproxy => {
            fs::write(job.dir.join("routes.map"), haproxy_routes(job))?;
            fs::write(job.dir.join("haproxy.cfg"), haproxy(job, plain, secure))?;
            command.args(["-db", "-f", "haproxy.cfg"]);
        }
        Kind::Envoy => {
            fs::write(job.dir.join("envoy.json"), envoy(job, plain, secure).to_string())?;
            let threads = cores().to_string();
            command.args([
                "-c",
                "envoy.json",
                "--concurrency",
                &threads,
                "--log-level",
                "error",
                "--disable-hot-restart",
            ]);
        }
        Kind::Caddy => {
            fs::write(job.dir.join("caddy.json"), caddy(job, plain, secure).to_string())?;
            command.args(["run", "--config", "caddy.json"]).env("GOMAXPROCS", cores().to_string());
            keep_inside(&mut command, job);
        }
    }
    let log = File::create(job.dir.join(LOG)).context("make a peer's log")?;
    let process = Process::start(command.current_dir(job.dir).stderr(log))?;
    Ok(Some(Proxy {
        kind,
        name: kind.name().to_owned(),
        plain: format!("127.0.0.1:{plain}"),
        secure: format!("127.0.0.1:{secure}"),
        running: Running::Peer(process),
    }))
}

/// What Caddy keeps would else lie in the user's home.
fn keep_inside(command: &mut Command, job: Job<'_>) {
    for variable in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
        command.env(variable, job.dir);
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn prefixes(job: Job<'_>) -> impl Iterator<Item = String> {
    (0..job.routes).map(|number| format!("/svc{number}/api/"))
}

fn nginx(job: Job<'_>, plain: u16, secure: u16) -> String {
    let pass = |prefix: String| format!("location {prefix} {{ proxy_pass http://backend; }}\n");
    let routes: String = prefixes(job).chain(["/".to_owned()]).map(pass).collect();
    let server = |port: u16, kind: &str| {
        format!("server {{ listen 127.0.0.1:{port} {kind} reuseport backlog=4096;\n{routes} }}")
    };
    format!(
        "worker_processes {workers}; worker_rlimit_nofile 19000; daemon off; pid nginx.pid; error_log nginx.err crit;
         events {{ worker_connections {CONNECTIONS_MAX}; }}
         http {{
           access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; tcp_nodelay on; sendfile on;
           client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
           client_max_body_size 64m; client_body_buffer_size 64k; large_client_header_buffers 8 16k; http2_max_concurrent_streams 256;
           ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:sessions:10m;
           upstream backend {{ server {backend}; keepalive 1024; keepalive_requests 1000000000; }}
           proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
           proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
           proxy_buffers 8 16k; proxy_buffer_size 16k; proxy_request_buffering off;
           {plain}
           {secure}
         }}",
        workers = cores(),
        backend = job.backend.address,
        plain = server(plain, ""),
        secure = server(secure, "ssl http2"),
    )
}

/// One look-up in a tree of prefixes takes the place of the rules.
fn haproxy_routes(job: Job<'_>) -> String {
    prefixes(job).chain(["/".to_owned()]).map(|prefix| format!("{prefix} backend\n")).collect()
}

fn haproxy(job: Job<'_>, plain: u16, secure: u16) -> String {
    format!(
        "global
  nbthread {threads}
  maxconn 9000
  fd-hard-limit 19000
  tune.bufsize 16384
  tune.http.maxhdr 128
defaults
  mode http
  option http-keep-alive
  option forwardfor
  http-reuse always
  timeout client 300s
  timeout server 300s
  timeout connect 5s
  timeout http-keep-alive 300s
frontend front
  bind 127.0.0.1:{plain} backlog 4096
  bind 127.0.0.1:{secure} backlog 4096 ssl crt both.pem alpn h2,http/1.1
  use_backend %[path,map_beg(routes.map,backend)]
backend backend
  server one {backend} pool-max-conn -1
",
        threads = cores(),
        backend = job.backend.address,
    )
}

fn envoy(job: Job<'_>, plain: u16, secure: u16) -> Value {
    const TYPES: &str = "type.googleapis.com/envoy.extensions";
    let (host, port) = job.backend.address.split_once(':').unwrap_or_default();
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let routes: Vec<Value> = prefixes(job)
        .chain(["/".to_owned()])
        .map(|prefix| json!({"match": {"prefix": prefix}, "route": {"cluster": "backend", "timeout": "60s"}}))
        .collect();
    let manager = json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "front", "codec_type": "AUTO", "use_remote_address": true, "generate_request_id": false, "max_request_headers_kb": 96,
        "route_config": {"name": "routes", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": format!("{TYPES}.filters.http.router.v3.Router"), "suppress_envoy_headers": true}}],
    });
    let tls = json!({"name": "tls", "typed_config": {
        "@type": format!("{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"),
        "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [
            {"certificate_chain": {"filename": "cert.pem"}, "private_key": {"filename": "key.pem"}}]},
    }});
    let listener = |port: u16, tls: Option<&Value>| {
        let mut chain = json!({"filters": [{"name": "manager", "typed_config": manager}]});
        if let Some(tls) = tls {
            chain["transport_socket"] = tls.clone();
        }
        json!({"name": format!("listener{port}"), "enable_reuse_port": true, "tcp_backlog_size": 4096, "address": address(port),
               "filter_chains": [chain]})
    };
    let limit = 100_000;
    json!({"static_resources": {
        "listeners": [listener(plain, None), listener(secure, Some(&tls))],
        "clusters": [{
            "name": "backend", "type": "STATIC", "connect_timeout": "5s",
            "circuit_breakers": {"thresholds": [{"max_connections": limit, "max_pending_requests": limit, "max_requests": limit}]},
            "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [{"endpoint": {
                "address": {"socket_address": {"address": host, "port_value": port.parse::<u16>().unwrap_or_default()}}}}]}]},
        }],
    }})
}

fn caddy(job: Job<'_>, plain: u16, secure: u16) -> Value {
    let pass = json!({
        "handler": "reverse_proxy", "upstreams": [{"dial": job.backend.address}],
        "transport": {"protocol": "http", "keep_alive": {"enabled": true, "max_idle_conns": 4096, "max_idle_conns_per_host": 2048}},
    });
    let route =
        |prefix: String| json!({"match": [{"path": [format!("{prefix}*")]}], "handle": [pass], "terminal": true});
    let routes: Vec<Value> = prefixes(job).map(route).chain([json!({"handle": [pass]})]).collect();
    let server = |port: u16| json!({"listen": [format!("127.0.0.1:{port}")], "routes": routes, "automatic_https": {"disable": true}});
    let mut over_tls = server(secure);
    over_tls["tls_connection_policies"] = json!([{}]);
    over_tls["protocols"] = json!(["h1", "h2"]);
    json!({
        "admin": {"disabled": true}, "logging": {"logs": {"default": {"level": "ERROR"}}},
        "apps": {
            "tls": {"certificates": {"load_files": [{"certificate": "cert.pem", "key": "key.pem"}]}},
            "http": {"servers": {"plain": server(plain), "secure": over_tls}},
        },
    })
}
