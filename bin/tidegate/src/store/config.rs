//! From flags to the settings of a member: the checks that etcd makes, in its words where tools look for them.

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf, time::Duration};

use tidegate_base::{ByteSize, Limits};

use super::flags::{Values, parse_duration};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("--{flag}: {why}")]
    Flag { flag: &'static str, why: String },
    #[error("couldn't find local name \"{0}\" in the initial cluster configuration")]
    NameNotInCluster(String),
    #[error("--initial-cluster has {0} for {1} but --initial-advertise-peer-urls is {2}")]
    PeerUrlsDiffer(String, String, String),
    #[error("clusters of more than one member are not implemented yet: --initial-cluster names {0} members")]
    Cluster(usize),
}

/// Where to listen or whom to tell about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) text: String,
    pub(crate) address: Address,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct StoreConfig {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen_client: Vec<Url>,
    pub(crate) listen_peer: Vec<Url>,
    pub(crate) listen_metrics: Vec<Url>,
    pub(crate) advertise_client: Vec<String>,
    pub(crate) advertise_peer: Vec<String>,
    pub(crate) cluster_token: String,
    pub(crate) heartbeat: Duration,
    pub(crate) election_ticks: usize,
    pub(crate) request_bytes_max: u64,
    pub(crate) txn_ops_max: usize,
    pub(crate) quota_bytes: i64,
    pub(crate) progress_every: Duration,
    /// When quiet clients are asked whether they are there, and how long they have to answer.
    pub(crate) ping_after: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) memory_budget: ByteSize,
    pub(crate) log_retention: ByteSize,
}

/// Longer than a process lives.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl StoreConfig {
    /// From arguments as `tidegate store` takes them, without the environment.
    ///
    /// # Errors
    /// The text of what is wrong.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        match super::flags::parse(arguments, []).map_err(|error| error.to_string())? {
            super::flags::Parsed::Run(values) => Self::from_flags(&values).map_err(|error| error.to_string()),
            super::flags::Parsed::Help | super::flags::Parsed::Version => Err("flags were expected".to_owned()),
        }
    }

    pub(super) fn from_flags(values: &Values) -> Result<Self, ConfigError> {
        let name = values.get("name").to_owned();
        let data_dir = match values.get("data-dir") {
            "" => format!("{name}.etcd"),
            path => path.to_owned(),
        };
        if values.given("listen-client-urls") && !values.given("advertise-client-urls") {
            let why = "required when listen-client-urls is set explicitly".to_owned();
            return Err(ConfigError::Flag { flag: "advertise-client-urls", why });
        }
        let heartbeat = positive(values, "heartbeat-interval")?;
        let election = positive(values, "election-timeout")?;
        if election < 5 * heartbeat {
            let why = format!("[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]");
            return Err(ConfigError::Flag { flag: "election-timeout", why });
        }
        if election > 50_000 {
            let why = format!("[{election}ms] is too long, and should be set less than 50000ms");
            return Err(ConfigError::Flag { flag: "election-timeout", why });
        }
        one_of(values, "initial-cluster-state", &["new", "existing"])?;
        one_of(values, "auto-compaction-mode", &["periodic", "revision"])?;
        one_of(values, "logger", &["zap"])?;
        one_of(values, "metrics", &["basic", "extensive"])?;
        let size = |flag| {
            values.get(flag).parse::<ByteSize>().map_err(|error| ConfigError::Flag { flag, why: error.to_string() })
        };
        let memory_budget = size("memory-budget")?;
        if memory_budget < Limits::LEAST {
            let why = format!("{memory_budget} is too small: the least is {}", Limits::LEAST);
            return Err(ConfigError::Flag { flag: "memory-budget", why });
        }
        let request_bytes_max = positive(values, "max-request-bytes")?;
        if request_bytes_max > memory_budget.0 / 16 {
            let why = format!(
                "{request_bytes_max} is more than a sixteenth of the memory budget of {memory_budget}: raise --memory-budget to \
                 at least {}",
                ByteSize(request_bytes_max * 16)
            );
            return Err(ConfigError::Flag { flag: "max-request-bytes", why });
        }
        let advertise_peer: Vec<String> = texts(&urls(values, "initial-advertise-peer-urls", false)?);
        check_cluster(values, &name, &advertise_peer)?;
        let duration =
            |flag| parse_duration(values.get(flag)).and_then(|ns| u64::try_from(ns).ok()).map(Duration::from_nanos);
        // As in etcd, nobody is asked when one of the two is not positive.
        let ping = |flag| duration(flag).filter(|every| !every.is_zero());
        let (ping_after, ping_timeout) = ping("grpc-keepalive-interval")
            .zip(ping("grpc-keepalive-timeout"))
            .map_or((NEVER, NEVER), |(after, timeout)| (after.min(NEVER), timeout.min(NEVER)));
        let progress_every = duration("watch-progress-notify-interval")
            .filter(|every| *every >= Duration::from_millis(100))
            .ok_or_else(|| ConfigError::Flag {
                flag: "watch-progress-notify-interval",
                why: "must be at least 100ms".to_owned(),
            })?;
        let listen_metrics = match values.get("listen-metrics-urls") {
            "" => Vec::new(),
            _ => urls(values, "listen-metrics-urls", true)?,
        };
        Ok(Self {
            data_dir: PathBuf::from(data_dir),
            listen_client: urls(values, "listen-client-urls", true)?,
            listen_peer: urls(values, "listen-peer-urls", true)?,
            listen_metrics,
            advertise_client: texts(&urls(values, "advertise-client-urls", false)?),
            advertise_peer,
            cluster_token: values.get("initial-cluster-token").to_owned(),
            heartbeat: Duration::from_millis(heartbeat),
            election_ticks: usize::try_from(election / heartbeat).unwrap_or(usize::MAX),
            request_bytes_max,
            txn_ops_max: usize::try_from(positive(values, "max-txn-ops")?).unwrap_or(usize::MAX),
            quota_bytes: values.get("quota-backend-bytes").parse().expect("the flag was checked"),
            progress_every,
            ping_after,
            ping_timeout,
            memory_budget,
            log_retention: size("log-retention-bytes")?,
            name,
        })
    }
}

fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(|url| url.text.clone()).collect()
}

fn positive(values: &Values, flag: &'static str) -> Result<u64, ConfigError> {
    match values.get(flag).parse::<u64>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(ConfigError::Flag { flag, why: "must be greater than zero".to_owned() }),
    }
}

fn one_of(values: &Values, flag: &'static str, allowed: &[&str]) -> Result<(), ConfigError> {
    let value = values.get(flag);
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::Flag { flag, why: format!("unknown value {value:?}: it is one of {}", allowed.join(", ")) })
}

/// A comma-separated list of URLs. A host to listen on is an address or `localhost`: a name could mean another machine
/// tomorrow.
fn urls(values: &Values, flag: &'static str, listen: bool) -> Result<Vec<Url>, ConfigError> {
    let mut list: Vec<Url> = Vec::new();
    for text in values.get(flag).split(',').map(str::trim) {
        let url = parse_url(text, listen).map_err(|why| ConfigError::Flag { flag, why: format!("{text:?}: {why}") })?;
        if list.iter().all(|other| other.text != url.text) {
            list.push(url);
        }
    }
    Ok(list)
}

fn parse_url(text: &str, listen: bool) -> Result<Url, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("a URL such as http://127.0.0.1:2379 is expected")?;
    let address = match scheme {
        "unix" => Address::Unix(PathBuf::from(rest)),
        "https" | "unixs" => return Err("TLS is not implemented yet"),
        "http" => {
            let authority = rest.strip_suffix('/').unwrap_or(rest);
            if authority.contains(['/', '?', '#']) {
                return Err("a path is not allowed");
            }
            let (host, port) = authority.rsplit_once(':').ok_or("host and port are required")?;
            let port = port.parse().map_err(|_| "the port is not a number below 65536")?;
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            if listen && host != "localhost" && host.parse::<IpAddr>().is_err() {
                return Err("the host to listen on must be an IP address or localhost");
            }
            Address::Tcp { host: host.to_owned(), port }
        }
        _ => return Err("the scheme must be http, https, unix or unixs"),
    };
    Ok(Url { text: text.to_owned(), address })
}

/// The member must be in the initial cluster, under the URLs that it tells its peers, and alone.
fn check_cluster(values: &Values, name: &str, advertise_peer: &[String]) -> Result<(), ConfigError> {
    let given = match values.get("initial-cluster") {
        "" => advertise_peer.iter().map(|url| format!("{name}={url}")).collect::<Vec<_>>().join(","),
        given => given.to_owned(),
    };
    let mut members: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for part in given.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (member, url) = part.split_once('=').ok_or_else(|| ConfigError::Flag {
            flag: "initial-cluster",
            why: format!("{part:?} is not of the form name=url"),
        })?;
        members.entry(member).or_default().push(url);
    }
    let Some(urls) = members.get(name) else { return Err(ConfigError::NameNotInCluster(name.to_owned())) };
    let (mut urls, mut advertised) = (urls.clone(), advertise_peer.iter().map(String::as_str).collect::<Vec<_>>());
    urls.sort_unstable();
    advertised.sort_unstable();
    if urls != advertised {
        return Err(ConfigError::PeerUrlsDiffer(urls.join(","), name.to_owned(), advertised.join(",")));
    }
    if members.len() > 1 {
        return Err(ConfigError::Cluster(members.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::flags::{Parsed, parse},
        *,
    };

    fn config(arguments: &[&str]) -> Result<StoreConfig, ConfigError> {
        let arguments: Vec<_> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let Ok(Parsed::Run(values)) = parse(&arguments, []) else { panic!("{arguments:?}") };
        StoreConfig::from_flags(&values)
    }

    #[test]
    fn no_flags_give_a_node_like_etcds() {
        let config = config(&[]).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("default.etcd"));
        assert_eq!(config.listen_client[0].address, Address::Tcp { host: "localhost".into(), port: 2379 });
        assert_eq!((config.election_ticks, config.request_bytes_max), (10, 1_572_864));
    }

    #[test]
    fn the_usual_launcher_flags_work() {
        let config = config(&[
            "--name=s1",
            "--data-dir=/d",
            "--listen-client-urls=http://127.0.0.1:1234,http://127.0.0.1:1234,unix:///tmp/x",
            "--advertise-client-urls=http://example.org:1234",
            "--listen-peer-urls=http://[::1]:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:1235",
            "--initial-cluster=s1=http://127.0.0.1:1235",
            "--initial-cluster-token=t",
            "--max-request-bytes=4194304",
        ])
        .unwrap();
        assert_eq!(config.listen_client.len(), 2);
        assert_eq!(config.listen_client[1].address, Address::Unix("/tmp/x".into()));
        assert_eq!(config.listen_peer[0].address, Address::Tcp { host: "::1".into(), port: 2380 });
        assert_eq!(config.advertise_client, ["http://example.org:1234"]);
    }

    #[test]
    fn wrong_settings_are_named() {
        let check = |arguments: &[&str], text: &str| {
            let error = config(arguments).unwrap_err().to_string();
            assert!(error.contains(text), "{arguments:?}: {error}");
        };
        check(&["--election-timeout=400"], "5 times");
        check(&["--election-timeout=60000"], "less than 50000ms");
        check(&["--heartbeat-interval=0"], "greater than zero");
        check(&["--listen-client-urls=http://127.0.0.1:1"], "advertise-client-urls");
        check(&["--listen-peer-urls=http://example.org:1"], "IP address or localhost");
        check(&["--listen-peer-urls=https://127.0.0.1:1"], "TLS");
        check(&["--listen-peer-urls=127.0.0.1:1"], "a URL such as");
        check(&["--initial-cluster=b=http://localhost:2380"], "couldn't find local name \"default\"");
        check(&["--initial-cluster=default=http://localhost:2380,b=http://localhost:2381"], "names 2 members");
        check(&["--initial-cluster=default=http://localhost:9"], "initial-advertise-peer-urls");
        check(&["--memory-budget=64MiB"], "the least is 128MiB");
        check(&["--max-request-bytes=33554432"], "sixteenth");
        check(&["--initial-cluster-state=old"], "one of new, existing");
        check(&["--watch-progress-notify-interval=1ms"], "100ms");
    }
}
