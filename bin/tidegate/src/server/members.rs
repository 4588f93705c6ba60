//! What the list of members tells of this node.

use std::path::{Path, PathBuf};

use tidegate_base::clock;
use tidegate_gateway::admin::{ClusterOptions, Node, Options};

use super::config::ServerConfig;

pub(super) fn describe(config: &ServerConfig, member_id: u64) -> Node {
    let text = |name: &str| config.text(name).to_owned();
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path).display().to_string();
    let dir = |name: &str| match config.text(name) {
        "" => String::new(),
        _ => absolute(config.dir(name)),
    };
    let cluster = ClusterOptions {
        listen_peer_urls: config.list("listen-peer-urls").to_vec(),
        listen_client_urls: config.list("listen-client-urls").to_vec(),
        advertise_client_urls: config.list("advertise-client-urls").to_vec(),
        initial_advertise_peer_urls: config.list("initial-advertise-peer-urls").to_vec(),
        initial_cluster: config.map("initial-cluster").clone(),
        state_flag: text("state-flag"),
        primary_listen_peer_urls: config.list("primary-listen-peer-urls").to_vec(),
        max_call_send_msg_size: config.text("max-call-send-msg-size").parse().unwrap_or_default(),
    };
    let options = Options {
        config_file: config.file.clone(),
        labels: config.map("labels").clone(),
        api_addr: text("api-addr"),
        tls: config.is("tls"),
        cert_file: text("cert-file"),
        key_file: text("key-file"),
        client_ca_file: text("client-ca-file"),
        debug: config.is("debug"),
        disable_access_log: config.is("disable-access-log"),
        initial_object_config_files: config.list("initial-object-config-files").to_vec(),
        objects_dump_interval: text("objects-dump-interval"),
        cluster_name: text("cluster-name"),
        cluster_role: text("cluster-role"),
        cluster_request_timeout: text("cluster-request-timeout"),
        cluster,
        home_dir: text("home-dir"),
        data_dir: text("data-dir"),
        log_dir: text("log-dir"),
        abs_home_dir: absolute(Path::new(config.text("home-dir")).to_owned()),
        abs_data_dir: dir("data-dir"),
        abs_log_dir: dir("log-dir"),
        ..Options::new(config.text("name"))
    };
    Node { options, id: format!("{member_id:x}"), started: clock::wall(), state: "Leader".to_owned() }
}
