//! `tidegate server`: a gateway node with the store embedded.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use clap::Parser;
use tidegate_base::{ByteSize, Holder, Profile};
use tidegate_gateway::{
    admin::{Admin, AdminHandler, AdminResponse, Reports},
    data::DataPlane,
    objects::{Config as ObjectsConfig, Loader, Plane, Store},
};
use tidegate_http::{
    conn::{Listener, Served},
    h1::{self, Http1Service, Simple},
};
use tidegate_member::Handle;
use tidegate_pipeline::Registry;
use tidegate_rocks::RocksEngine;

use crate::{
    logging::Settings,
    node::{Node, NodeError},
    notify,
    store::StoreConfig,
};

/// Starts a gateway node with the store embedded.
#[derive(Debug, Parser)]
#[command(name = "tidegate server")]
struct Arguments {
    /// Name of the node
    #[arg(long, default_value = "default")]
    name: String,
    /// Directory of the node's data
    #[arg(long, default_value = "data")]
    data_dir: PathBuf,
    /// Address of the admin API; anybody who reaches it may change the gateway
    #[arg(long, default_value = "127.0.0.1:2381")]
    api_addr: String,
    /// URL for etcd clients
    #[arg(long, default_value = "http://localhost:2379")]
    listen_client_url: String,
    /// URL for peers
    #[arg(long, default_value = "http://localhost:2380")]
    listen_peer_url: String,
    /// Bound of the process's memory
    #[arg(long, default_value = "256MiB")]
    memory_budget: ByteSize,
    /// debug, info, warn or error
    #[arg(long, default_value = "info")]
    log_level: String,
    /// json or console
    #[arg(long, default_value = "json")]
    log_format: String,
}

#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error(transparent)]
    Log(#[from] crate::logging::LogError),
    #[error("{0}")]
    Config(String),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("{action}: {error}")]
    Io { action: &'static str, error: std::io::Error },
}

pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let name = std::iter::once("tidegate server".to_owned());
    let arguments = match Arguments::try_parse_from(name.chain(arguments.iter().cloned())) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), ServerError> {
    let settings = Settings::parse(&arguments.log_level, &arguments.log_format, "stderr")?;
    let flags = [
        format!("--name={}", arguments.name),
        format!("--data-dir={}", arguments.data_dir.join("store").display()),
        format!("--listen-client-urls={}", arguments.listen_client_url),
        format!("--advertise-client-urls={}", arguments.listen_client_url),
        format!("--listen-peer-urls={}", arguments.listen_peer_url),
        format!("--initial-advertise-peer-urls={}", arguments.listen_peer_url),
        format!("--initial-cluster={}={}", arguments.name, arguments.listen_peer_url),
        format!("--memory-budget={}", arguments.memory_budget.0),
    ];
    let config = StoreConfig::parse(&flags).map_err(ServerError::Config)?;
    settings.install()?;
    let io = |action| move |error| ServerError::Io { action, error };
    let admin_listener = Listener::bind_tcp(&arguments.api_addr).map_err(io("listen for the admin API"))?;
    let node = Node::start(&config, Profile::Server)?;

    let plane = DataPlane::new(node.io(), node.budget.clone(), Registry::new(tidegate_filters::KINDS))
        .map_err(io("start the gateway"))?;
    // Ours until the end: the last holder must not be on an I/O thread.
    let gateway = Arc::new(plane);
    let plane: Arc<dyn Plane> = Arc::clone(&gateway) as Arc<dyn Plane>;
    let limit = ByteSize(node.budget.limits().floor(Holder::Gateway) / 2);
    let kv: Arc<Handle<RocksEngine>> = Arc::new(node.handle.clone());
    let objects = ObjectsConfig::new(Some(arguments.data_dir.clone()), limit);
    let loader = Loader::new(kv.clone(), kv.clone(), Arc::clone(&plane), node.budget.clone(), objects);
    let handle = loader.handle();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let loading = loader.spawn(stopped).map_err(io("start the loader of objects"))?;

    let reports = Arc::new(MemberReports(RwLock::new(Some(node.handle.clone()))));
    let (store, name) = (Store::new(kv), arguments.name.clone());
    let admin = Admin::new(store, plane, handle, node.budget.clone(), limit, name, reports.clone() as Arc<dyn Reports>)
        .for_this_machine(admin_listener.address().is_loopback());
    let (admin, budget) = (Arc::new(admin), node.budget.clone());
    let address = admin_listener.address().to_string();
    node.net
        .listen(admin_listener, move |_| {
            let shared = h1::Shared::new(h1::Config::default(), budget.clone());
            let service = Simple(AdminHandler::new(Arc::clone(&admin)));
            Served { grpc: None, http1: Some(Http1Service::new(service, shared)) }
        })
        .map_err(NodeError::from)?;
    tracing::info!(address, "serving the admin API");
    notify::ready();

    node.run_until_signal(|member, signals| {
        stop.send_replace(true);
        if loading.join().is_err() {
            tracing::error!("the loader of objects ended by a panic");
        }
        // Streams of the store end now; requests of the gateway may go on until it cuts them, or a second signal does.
        member.refuse();
        gateway.drain();
        signals.wait_unless(gateway.finished(), Duration::MAX);
        reports.0.write().unwrap_or_else(PoisonError::into_inner).take();
    })?;
    Ok(())
}

/// What the admin API passes on of the member, until it stops.
struct MemberReports(RwLock<Option<Handle<RocksEngine>>>);

impl MemberReports {
    fn ask(&self, content_type: &'static str, make: impl Fn(&Handle<RocksEngine>) -> String) -> AdminResponse {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(member) => AdminResponse::new(200, Some(content_type), make(member)),
            None => AdminResponse::new(503, None, "the node stops\n"),
        }
    }
}

impl Reports for MemberReports {
    fn metrics(&self) -> AdminResponse {
        self.ask("text/plain; version=0.0.4; charset=utf-8", Handle::metrics)
    }

    fn memory(&self) -> AdminResponse {
        self.ask("application/json", |member| member.memory().to_json().to_string())
    }
}
