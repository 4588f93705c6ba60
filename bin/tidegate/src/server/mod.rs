//! `tidegate server`: a gateway node with the store embedded.

mod access;
mod config;
mod initial;
mod logs;
mod members;
mod reports;

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use tidegate_base::{ByteSize, Holder, Profile};
use tidegate_gateway::{
    AutoCert, StoreData,
    admin::{Access, AccessError, Admin, AdminHandler, Reports},
    data::{DataPlane, Options},
    objects::{Config as ObjectsConfig, Loader, Plane, Store},
};
use tidegate_http::{
    conn::{Address, Listener, Served},
    h1::{self, Http1Service, Simple},
};
use tidegate_member::Handle;
use tidegate_pipeline::Registry;
use tidegate_rocks::RocksEngine;

use self::{
    config::{Asked, ConfigError, ServerConfig},
    reports::NodeReports,
};
use crate::{
    logging::{Output, Settings},
    node::{Node, NodeError},
    notify,
    reopen::LogFile,
    store::StoreConfig,
};

#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error(transparent)]
    Log(#[from] crate::logging::LogError),
    #[error(transparent)]
    Settings(#[from] ConfigError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("{setting}: {why}")]
    Setting { setting: String, why: String },
    #[error("{0}")]
    Config(String),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("{action}: {error}")]
    Io { action: &'static str, error: std::io::Error },
}

pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let asked = ServerConfig::parse(arguments, std::env::vars()).map_err(ServerError::from);
    let ended = asked.and_then(|asked| match asked {
        Asked::Run(config) => run(&config),
        Asked::Text(text) => {
            print!("{text}");
            Ok(())
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the store is started with.
fn store_config(config: &ServerConfig, data_dir: &Path) -> Result<StoreConfig, ServerError> {
    let urls = |name: &str| config.list(name).join(",");
    let members = config.map("initial-cluster").iter().map(|(name, url)| format!("{name}={url}"));
    let flags = [
        format!("--name={}", config.text("name")),
        format!("--data-dir={}", data_dir.join("store").display()),
        format!("--listen-client-urls={}", urls("listen-client-urls")),
        format!("--advertise-client-urls={}", urls("advertise-client-urls")),
        format!("--listen-peer-urls={}", urls("listen-peer-urls")),
        format!("--initial-advertise-peer-urls={}", urls("initial-advertise-peer-urls")),
        format!("--initial-cluster={}", members.collect::<Vec<_>>().join(",")),
        format!("--initial-cluster-token={}", config.text("cluster-name")),
        format!("--memory-budget={}", config.memory_budget().0),
    ];
    StoreConfig::parse(&flags).map_err(ServerError::Config)
}

/// Where the log goes: into files of the log directory, else to the standard error.
fn log_settings(config: &ServerConfig, log_dir: Option<&Path>) -> Result<Settings, ServerError> {
    let level = if config.is("debug") { "debug" } else { config.text("log-level") };
    let mut settings = Settings::parse(level, config.text("log-format"), "stderr")?;
    if let Some(dir) = log_dir {
        settings.outputs = vec![Output::File(dir.join("stdout.log"))];
        settings.audit = Some(dir.join("admin_api.log"));
    }
    Ok(settings)
}

/// Has requests logged, unless that is switched off.
fn log_access(config: &ServerConfig, log_dir: Option<&Path>, gateway: &DataPlane) -> std::io::Result<()> {
    match (config.is("disable-access-log"), log_dir) {
        (true, _) => Ok(()),
        (false, Some(dir)) => gateway.log_access(LogFile::open(&dir.join("filter_http_access.log"))?),
        (false, None) => gateway.log_access(std::io::stdout()),
    }
}

fn run(config: &ServerConfig) -> Result<(), ServerError> {
    let io = |action| move |error| ServerError::Io { action, error };
    let data_dir = config.dir("data-dir");
    let log_dir = (!config.text("log-dir").is_empty()).then(|| config.dir("log-dir"));
    if let Some(dir) = &log_dir {
        std::fs::create_dir_all(dir).map_err(io("make the log directory"))?;
    }
    let settings = log_settings(config, log_dir.as_deref())?;
    let store = store_config(config, &data_dir)?;
    settings.install()?;
    for note in &config.notes {
        tracing::warn!(note, "a setting has no effect");
    }
    let admin_listener = Listener::bind_tcp(config.text("api-addr")).map_err(io("listen for the admin API"))?;
    // Before anything is done: a node that anybody may change must not run.
    let certificates = !config.text("client-ca-file").is_empty();
    let access = match admin_listener.address() {
        Address::Tcp(address) => Access::new(*address, access::credentials(config)?)?,
        Address::Unix(_) => return Err(ServerError::Config("api-addr must be a TCP address".to_owned())),
    };
    let admin_listener = match access::offer(config)? {
        Some(tls) => admin_listener.with_tls(tls),
        None => admin_listener,
    };
    let mut node = Node::start(&store, Profile::Server)?;
    node.signals.reopen_on_hangup().map_err(NodeError::Signals)?;

    let kv: Arc<Handle<RocksEngine>> = Arc::new(node.handle.clone());
    let records = StoreData::start(kv.clone(), kv.clone(), node.budget.clone())
        .map_err(io("start the readers of custom data"))?;
    let (records, member) = (Arc::new(records), node.handle.clone());
    let auto_cert = AutoCert::new(Arc::clone(&records), move || member.leads());
    let disable_io_uring = config.is("disable-io-uring");
    let options =
        Options { custom_data: Some(records), auto_cert: Some(auto_cert), disable_io_uring, ..Options::default() };
    let plane = DataPlane::with(node.io(), node.budget.clone(), Registry::new(tidegate_filters::KINDS), options)
        .map_err(io("start the gateway"))?;
    log_access(config, log_dir.as_deref(), &plane).map_err(io("open the access log"))?;
    // Ours until the end: the last holder must not be on an I/O thread.
    let gateway = Arc::new(plane);
    let plane: Arc<dyn Plane> = Arc::clone(&gateway) as Arc<dyn Plane>;
    let limit = ByteSize(node.budget.limits().floor(Holder::Gateway) / 6 * 5);
    let objects = ObjectsConfig::new(Some(data_dir), limit);
    let loader = Loader::new(kv.clone(), kv.clone(), Arc::clone(&plane), node.budget.clone(), objects);
    let handle = loader.handle();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let loading = loader.spawn(stopped).map_err(io("start the loader of objects"))?;

    let log = log_dir.map(|dir| dir.join("stdout.log"));
    let reports = Arc::new(NodeReports::new(node.handle.clone(), log, node.budget.clone()));
    let (store, name) = (Store::new(kv), config.text("name").to_owned());
    let admin = Admin::new(store, plane, handle, node.budget.clone(), limit, name, reports.clone() as Arc<dyn Reports>)
        .for_this_machine(admin_listener.address().is_loopback())
        .with_access(access)
        .with_node(members::describe(config, node.member_id));
    let (admin, budget) = (Arc::new(admin), node.budget.clone());
    let address = admin_listener.address().to_string();
    let initial = Arc::clone(&admin);
    node.net
        .listen(admin_listener, move |_| {
            let shared = h1::Shared::new(h1::Config::default(), budget.clone());
            let service = Simple(AdminHandler::new(Arc::clone(&admin)).with_certificates(certificates));
            Served { grpc: None, http1: Some(Http1Service::new(service, shared)) }
        })
        .map_err(NodeError::from)?;
    tracing::info!(address, "serving the admin API");
    notify::ready();
    let objects = initial::read(config.list("initial-object-config-files"));
    node.io().spawn(0, move || initial::create(initial, objects)).map_err(NodeError::from)?;

    node.run_until_signal(|member, signals| {
        stop.send_replace(true);
        if loading.join().is_err() {
            tracing::error!("the loader of objects ended by a panic");
        }
        // Streams of the store end now; requests of the gateway may go on until it cuts them, or a second signal does.
        member.refuse();
        gateway.drain();
        signals.wait_unless(gateway.finished(), Duration::MAX);
        gateway.flush_access_log();
        reports.stop();
    })?;
    Ok(())
}
