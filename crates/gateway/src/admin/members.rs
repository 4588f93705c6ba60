//! The members of the cluster, as clients of the reference read them: names of options are those of its Go structure.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value, json};
use tidegate_base::{Moment, clock};

use super::{AdminResponse, error::AdminError, service::Admin};

/// What a node was started with. Passwords have no place in it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Options {
    pub config_file: String,
    pub force_new_cluster: bool,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    #[serde(rename = "APIAddr")]
    pub api_addr: String,
    #[serde(rename = "TLS")]
    pub tls: bool,
    pub cert_file: String,
    pub key_file: String,
    #[serde(rename = "ClientCAFile")]
    pub client_ca_file: String,
    pub debug: bool,
    pub disable_access_log: bool,
    pub initial_object_config_files: Vec<String>,
    pub objects_dump_interval: String,
    #[serde(rename = "UseStandaloneEtcd")]
    pub use_standalone_etcd: bool,
    pub cluster_name: String,
    pub cluster_role: String,
    pub cluster_request_timeout: String,
    pub cluster: ClusterOptions,
    pub home_dir: String,
    pub data_dir: String,
    #[serde(rename = "WALDir")]
    pub wal_dir: String,
    pub log_dir: String,
    pub status_update_max_batch_size: u32,
    pub abs_home_dir: String,
    pub abs_data_dir: String,
    #[serde(rename = "AbsWALDir")]
    pub abs_wal_dir: String,
    pub abs_log_dir: String,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct ClusterOptions {
    #[serde(rename = "ListenPeerURLs")]
    pub listen_peer_urls: Vec<String>,
    #[serde(rename = "ListenClientURLs")]
    pub listen_client_urls: Vec<String>,
    #[serde(rename = "AdvertiseClientURLs")]
    pub advertise_client_urls: Vec<String>,
    #[serde(rename = "InitialAdvertisePeerURLs")]
    pub initial_advertise_peer_urls: Vec<String>,
    #[serde(rename = "InitialCluster")]
    pub initial_cluster: BTreeMap<String, String>,
    #[serde(rename = "StateFlag")]
    pub state_flag: String,
    #[serde(rename = "PrimaryListenPeerURLs")]
    pub primary_listen_peer_urls: Vec<String>,
    #[serde(rename = "MaxCallSendMsgSize")]
    pub max_call_send_msg_size: u64,
}

impl Options {
    /// A primary of this name, everything else at the reference's defaults.
    pub fn new(name: &str) -> Self {
        let none = String::new;
        Self {
            config_file: none(),
            force_new_cluster: false,
            name: name.to_owned(),
            labels: BTreeMap::new(),
            api_addr: "localhost:2381".to_owned(),
            tls: false,
            cert_file: none(),
            key_file: none(),
            client_ca_file: none(),
            debug: false,
            disable_access_log: false,
            initial_object_config_files: Vec::new(),
            objects_dump_interval: none(),
            use_standalone_etcd: false,
            cluster_name: "eg-cluster-default-name".to_owned(),
            cluster_role: "primary".to_owned(),
            cluster_request_timeout: "10s".to_owned(),
            cluster: ClusterOptions { state_flag: "new".to_owned(), ..ClusterOptions::default() },
            home_dir: "./".to_owned(),
            data_dir: "data".to_owned(),
            wal_dir: none(),
            log_dir: none(),
            status_update_max_batch_size: 20,
            abs_home_dir: none(),
            abs_data_dir: none(),
            abs_wal_dir: none(),
            abs_log_dir: none(),
        }
    }
}

/// A node as the list of members shows it.
#[derive(Debug, Clone)]
pub struct Node {
    pub options: Options,
    /// Of its store's member, in hexadecimal.
    pub id: String,
    /// When it was started, since 1970.
    pub started: Duration,
    /// `Leader` or `Follower`.
    pub state: String,
}

impl Node {
    pub(super) fn named(name: &str) -> Self {
        Self { options: Options::new(name), id: "0".to_owned(), started: clock::wall(), state: "Leader".to_owned() }
    }

    fn status(&self) -> Value {
        let time = |wall| Moment::new(wall).date_time() + "Z";
        let etcd = json!({"id": self.id, "startTime": time(self.started), "state": self.state});
        json!({"options": self.options, "lastHeartbeatTime": time(clock::wall()), "etcd": etcd})
    }
}

impl Admin {
    /// The reference answers JSON here and calls it text.
    pub(super) fn members(&self, yaml: bool) -> AdminResponse {
        let answer = AdminResponse::value(&[self.node.status()], yaml);
        if yaml { answer } else { AdminResponse { content_type: Some(super::answer::TEXT), ..answer } }
    }

    /// There is one member, and it runs: nothing can be purged.
    pub(super) fn purge(&self, member: &str) -> Result<AdminResponse, AdminError> {
        match member == self.node.options.name {
            true => Err(AdminError::Conflict(format!("{member} runs: a member is purged after it has stopped"))),
            false => Err(AdminError::NotFound(format!("the member {member} does not exist"))),
        }
    }

    /// Status of every object, or of one, in pieces as JSON or as a whole as YAML.
    pub(super) fn statuses(&self, only: Option<&str>, yaml: bool) -> Result<AdminResponse, AdminError> {
        let list = super::status::StatusList::new(self, only);
        if only.is_some() && list.is_empty() {
            return Err(AdminError::NotFound(format!("the object {} does not exist", only.unwrap_or_default())));
        }
        Ok(list.answer(yaml))
    }

    pub(super) fn resources(&self) -> Vec<Map<String, Value>> {
        let row = |kind: &'static str| {
            let lower = kind.to_ascii_lowercase();
            let known = crate::objects::resource(kind);
            let (category, name, aliases) = known.map_or(("BusinessController", lower.as_str(), &[][..]), |known| {
                (known.category, known.name, known.aliases)
            });
            let mut row = Map::new();
            row.insert("Category".to_owned(), json!(category));
            row.insert("Kind".to_owned(), json!(kind));
            row.insert("Name".to_owned(), json!(name));
            row.insert("Aliases".to_owned(), json!(aliases));
            row
        };
        self.kinds().into_iter().map(row).collect()
    }
}
