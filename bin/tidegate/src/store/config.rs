//! From flags to the settings of a member: the checks that etcd makes, in its order and words.

use std::{
    collections::BTreeMap,
    net::{IpAddr, UdpSocket},
    path::PathBuf,
    time::Duration,
};

use tidegate_base::{ByteSize, Limits};

use super::{
    flags::{CommandLine, Effect, FLAGS, INITIAL_CLUSTER, Origin, Parsed, Values, gates, parse, parse_duration},
    url::{Address, Url, parse_list},
};

/// What is wrong with the flags, each on its own or together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("{0}")]
    Flag(String),
    #[error("--advertise-client-urls is required when --listen-client-urls is set explicitly")]
    AdvertiseUnset,
    #[error("--{0} is not implemented yet: starting without it would not be what it asks for")]
    Missing(&'static str),
    /// What etcd finds only when it makes its cluster.
    #[error("{0}")]
    Bootstrap(String),
}

#[derive(Debug, Clone)]
pub(crate) struct StoreConfig {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen_client: Vec<Url>,
    /// Where HTTP is served instead of beside gRPC, if there is such a place.
    pub(crate) listen_client_http: Vec<Url>,
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
/// Longest election timeout in milliseconds.
const ELECTION_MAX: u64 = 50_000;
/// Watches hear of progress at most so often.
pub(super) const PROGRESS_LEAST: Duration = Duration::from_millis(100);

impl StoreConfig {
    /// From arguments as `tidegate store` takes them, without the environment.
    ///
    /// # Errors
    /// The text of what is wrong.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let finish = |line: CommandLine| line.finish([]).map_err(|error| error.to_string());
        match parse(arguments).map_err(|error| error.to_string())? {
            Parsed::Run(line) => Self::from_flags(&finish(line)?, default_host).map_err(|error| error.to_string()),
            Parsed::Help => Err("flags were expected".to_owned()),
        }
    }

    /// `host` is asked for this machine's address where the default one would be told to others.
    pub(super) fn from_flags(values: &Values, host: fn() -> Option<IpAddr>) -> Result<Self, ConfigError> {
        let listen_peer = listen(values, "listen-peer-urls")?;
        let listen_client = listen(values, "listen-client-urls")?;
        let listen_client_http = listen(values, "listen-client-http-urls")?;
        let listen_metrics = listen(values, "listen-metrics-urls")?;
        let mut advertise_peer = advertise(values, "initial-advertise-peer-urls", "must be \"host:port\"")?;
        let form = "must be in the format \"host:port\", \"unix:/path/to/socket\" or \"unixs:/path/to/socket\"";
        let mut advertise_client = advertise(values, "advertise-client-urls", form)?;
        check_bootstrap(values)?;
        let heartbeat = number(values, "heartbeat-interval");
        let election = number(values, "election-timeout");
        check_times(heartbeat, election)?;
        // The default goes when another place to listen is named; a file keeps it.
        if values.given("listen-client-urls") && values.origin("listen-client-urls") != Origin::File {
            require(values.given("advertise-client-urls"), || ConfigError::AdvertiseUnset)?;
        }
        check_others(values)?;
        for flag in FLAGS {
            let default = values.get(flag.name) == flag.default;
            require(flag.effect != Effect::Missing || default, || ConfigError::Missing(flag.name))?;
        }
        for url in [&listen_peer, &listen_client, &listen_client_http, &listen_metrics].into_iter().flatten() {
            refuse(url.secure, || format!("{url}: TLS is not implemented yet"))?;
        }
        let memory_budget = size(values, "memory-budget")?;
        refuse(memory_budget < Limits::LEAST, || {
            format!("--memory-budget: {memory_budget} is too small: the least is {}", Limits::LEAST)
        })?;
        let request_bytes_max = number(values, "max-request-bytes");
        refuse(request_bytes_max > memory_budget.0 / 16, || {
            format!(
                "--max-request-bytes: {request_bytes_max} is more than a sixteenth of the memory budget of {memory_budget}: raise \
                 --memory-budget to at least {}",
                ByteSize(request_bytes_max.saturating_mul(16))
            )
        })?;
        let duration =
            |flag| parse_duration(values.get(flag)).and_then(|ns| u64::try_from(ns).ok()).map(Duration::from_nanos);
        // As in etcd, nobody is asked when one of the two is not positive, and progress keeps its default then.
        let positive = |flag| duration(flag).filter(|every| !every.is_zero());
        let (ping_after, ping_timeout) = positive("grpc-keepalive-interval")
            .zip(positive("grpc-keepalive-timeout"))
            .map_or((NEVER, NEVER), |(after, timeout)| (after.min(NEVER), timeout.min(NEVER)));
        let progress_every = positive("watch-progress-notify-interval").unwrap_or(Duration::from_secs(600));

        let name = values.get("name").to_owned();
        replace_host(values, "initial-advertise-peer-urls", &mut advertise_peer, &listen_peer, host);
        let left_alone = values.get("initial-cluster") == INITIAL_CLUSTER;
        let cluster = if left_alone && name != "default" {
            advertise_peer.iter().map(|url| format!("{name}={url}")).collect::<Vec<_>>().join(",")
        } else {
            values.get("initial-cluster").to_owned()
        };
        replace_host(values, "advertise-client-urls", &mut advertise_client, &listen_client, host);
        let bootstrap = |checked: Result<(), String>| checked.map_err(ConfigError::Bootstrap);
        bootstrap(check_retention(values.get("auto-compaction-retention")))?;
        bootstrap(check_token(values.get("auth-token")))?;
        bootstrap(check_cluster(&cluster, &name, &advertise_peer))?;
        let data_dir = match values.get("data-dir") {
            "" => format!("{name}.etcd"),
            path => path.to_owned(),
        };
        Ok(Self {
            data_dir: PathBuf::from(data_dir),
            listen_client,
            listen_client_http,
            listen_peer,
            listen_metrics,
            advertise_client,
            advertise_peer,
            cluster_token: values.get("initial-cluster-token").to_owned(),
            heartbeat: Duration::from_millis(heartbeat),
            election_ticks: usize::try_from(election / heartbeat).unwrap_or(usize::MAX),
            request_bytes_max,
            txn_ops_max: usize::try_from(number(values, "max-txn-ops")).unwrap_or(usize::MAX),
            quota_bytes: values.get("quota-backend-bytes").parse().expect("the flag was checked"),
            progress_every: progress_every.max(PROGRESS_LEAST),
            ping_after,
            ping_timeout,
            memory_budget,
            log_retention: size(values, "log-retention-bytes")?,
            name,
        })
    }
}

fn require(fact: bool, otherwise: impl FnOnce() -> ConfigError) -> Result<(), ConfigError> {
    if fact { Ok(()) } else { Err(otherwise()) }
}

fn refuse(fact: bool, why: impl FnOnce() -> String) -> Result<(), ConfigError> {
    require(!fact, || ConfigError::Flag(why()))
}

fn number(values: &Values, flag: &str) -> u64 {
    values.get(flag).parse().expect("the flag was checked")
}

fn size(values: &Values, flag: &str) -> Result<ByteSize, ConfigError> {
    values.get(flag).parse().map_err(|error| ConfigError::Flag(format!("--{flag}: {error}")))
}

fn urls(values: &Values, flag: &str) -> Vec<Url> {
    match values.get(flag) {
        "" => Vec::new(),
        text => parse_list(text).expect("the flag was checked"),
    }
}

fn listen(values: &Values, flag: &str) -> Result<Vec<Url>, ConfigError> {
    let urls = urls(values, flag);
    urls.iter().try_for_each(Url::check_bind).map_err(ConfigError::Flag)?;
    Ok(urls)
}

fn advertise(values: &Values, flag: &str, form: &str) -> Result<Vec<String>, ConfigError> {
    let urls = urls(values, flag);
    let texts: Vec<String> = urls.iter().map(|url| url.text.clone()).collect();
    let all = || texts.join(",");
    let checked = urls.iter().try_for_each(Url::check_host);
    checked.map_err(|why| ConfigError::Flag(format!("--{flag} \"{}\" {form} ({why})", all())))?;
    Ok(texts)
}

/// How a cluster is found: one way only.
fn check_bootstrap(values: &Values) -> Result<(), ConfigError> {
    refuse(values.get("discovery-fallback") == "proxy", || {
        "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"".to_owned()
    })?;
    let endpoints = !values.get("discovery-endpoints").is_empty();
    let ways = [values.given("initial-cluster"), !values.get("discovery-srv").is_empty(), endpoints];
    refuse(ways.iter().filter(|way| **way).count() > 1, || {
        "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery-endpoints\" or \
         \"discovery-srv\""
            .to_owned()
    })?;
    refuse(values.get("discovery-token").is_empty() == endpoints, || {
        "both --discovery-token and --discovery-endpoints must be set".to_owned()
    })
}

fn check_times(heartbeat: u64, election: u64) -> Result<(), ConfigError> {
    refuse(heartbeat == 0, || "--heartbeat-interval must be >0 (set to 0ms)".to_owned())?;
    refuse(election == 0, || "--election-timeout must be >0 (set to 0ms)".to_owned())?;
    refuse(heartbeat.saturating_mul(5) > election, || {
        format!("--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]")
    })?;
    refuse(election > ELECTION_MAX, || {
        format!("--election-timeout[{election}ms] is too long, and should be set less than {ELECTION_MAX}ms")
    })
}

fn check_others(values: &Values) -> Result<(), ConfigError> {
    match values.get("auto-compaction-mode") {
        "periodic" | "revision" => {}
        "" => return Err(ConfigError::Flag("undefined auto-compaction-mode".to_owned())),
        other => return Err(ConfigError::Flag(format!("unknown auto-compaction-mode \"{other}\""))),
    }
    let gates = gates(values.get("feature-gates")).map_err(ConfigError::Flag)?;
    let on = |gate: &str| gates.iter().rev().any(|(name, on)| *on && (*name == gate || *name == "AllAlpha"));
    refuse(on("LeaseCheckpointPersist") && !on("LeaseCheckpoint"), || {
        "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint".to_owned()
    })?;
    let every = values.get("compact-hash-check-time");
    refuse(parse_duration(every).is_none_or(|ns| ns <= 0), || {
        let shown = if matches!(every, "0" | "0ns") { "0s" } else { every };
        format!("--compact-hash-check-time must be >0 (set to {shown})")
    })?;
    for flag in ["tls-min-version", "tls-max-version"] {
        let version = values.get(flag);
        refuse(!matches!(version, "" | "TLS1.2" | "TLS1.3"), || {
            format!("unexpected TLS version \"{version}\" (must be one of: TLS1.2, TLS1.3)")
        })?;
    }
    let (least, most) = (values.get("tls-min-version"), values.get("tls-max-version"));
    refuse(!most.is_empty() && least > most, || format!("min version ({least}) is greater than max version ({most})"))?;
    refuse(least == "TLS1.3" && !values.get("cipher-suites").is_empty(), || {
        "cipher suites cannot be configured when only TLS1.3 is enabled".to_owned()
    })
}

/// Where every address is listened on, others are told the one that this machine has towards them.
fn replace_host(
    values: &Values,
    flag: &str,
    advertised: &mut [String],
    listened: &[Url],
    host: fn() -> Option<IpAddr>,
) {
    let default = FLAGS.iter().find(|other| other.name == flag).map(|flag| flag.default);
    let [advertised] = advertised else { return };
    let Some(Address::Tcp { host: everywhere, port }) = listened.first().map(|url| &url.address) else { return };
    if default == Some(values.get(flag))
        && everywhere == "0.0.0.0"
        && let Some(host) = host()
    {
        *advertised = format!("http://{}", std::net::SocketAddr::new(host, *port));
    }
}

/// The address that this machine's packets to others come from. Nothing is sent.
pub(super) fn default_host() -> Option<IpAddr> {
    // One of the addresses that are kept for examples: the default route leads there.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

fn check_retention(retention: &str) -> Result<(), String> {
    if retention.parse::<u64>().is_ok() || parse_duration(retention).is_some() {
        return Ok(());
    }
    Err(format!("error parsing CompactionRetention: time: invalid duration \"{retention}\""))
}

fn check_token(token: &str) -> Result<(), String> {
    match token.split_once(',').map_or(token, |(kind, _)| kind) {
        "simple" | "" => Ok(()),
        "jwt" => Err("--auth-token: jwt is not implemented yet".to_owned()),
        _ => Err("auth: invalid auth options".to_owned()),
    }
}

/// The member must be in the initial cluster, under the URLs that it tells its peers, and alone.
fn check_cluster(cluster: &str, name: &str, advertise_peer: &[String]) -> Result<(), String> {
    let mut members: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for part in cluster.split([',', '&']).filter(|part| !part.is_empty()) {
        let (member, url) = part.split_once('=').unwrap_or((part, ""));
        members.entry(member).or_default().push(url);
    }
    for urls in members.values() {
        parse_list(&urls.join(",")).map_err(|why| format!("error setting up initial cluster: {why}"))?;
    }
    let urls = members
        .get(name)
        .ok_or_else(|| format!("couldn't find local name \"{name}\" in the initial cluster configuration"))?;
    let mut sorted: Vec<&str> = urls.iter().map(|url| url.trim()).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let pairs =
        |urls: &mut dyn Iterator<Item = &str>| urls.map(|url| format!("{name}={url}")).collect::<Vec<_>>().join(",");
    let advertised = advertise_peer.join(",");
    let missing = pairs(&mut sorted.iter().copied().filter(|url| advertise_peer.iter().all(|other| other != url)));
    if !missing.is_empty() {
        return Err(format!(
            "--initial-cluster has {missing} but missing from --initial-advertise-peer-urls={advertised} (resolved urls: \
             \"{advertised}\" != \"{}\")",
            sorted.join(",")
        ));
    }
    let missing: Vec<&str> = advertise_peer.iter().map(String::as_str).filter(|url| !sorted.contains(url)).collect();
    if !missing.is_empty() {
        let all = pairs(&mut advertise_peer.iter().map(String::as_str));
        let missing = missing.join(",");
        return Err(format!("--initial-advertise-peer-urls has {missing} but missing from --initial-cluster={all}"));
    }
    if members.len() > 1 {
        return Err(format!(
            "clusters of more than one member are not implemented yet: --initial-cluster names {} members",
            members.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::flags::tests::run, *};

    fn config(arguments: &[&str]) -> Result<StoreConfig, String> {
        let values = run(arguments, &[])?;
        StoreConfig::from_flags(&values, || Some([10, 0, 0, 7].into())).map_err(|error| error.to_string())
    }

    #[test]
    fn no_flags_give_a_node_like_etcds() {
        let config = config(&[]).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("default.etcd"));
        assert_eq!(config.listen_client[0].address, Address::Tcp { host: "localhost".into(), port: 2379 });
        assert_eq!((config.election_ticks, config.request_bytes_max), (10, 1_572_864));
        assert_eq!(config.progress_every, Duration::from_secs(600));
    }

    #[test]
    fn the_usual_launcher_flags_work() {
        let config = config(&[
            "--name=s1",
            "--data-dir=/d",
            "--listen-client-urls=http://127.0.0.1:1234,http://127.0.0.1:1234,unix:///tmp/x",
            "--listen-client-http-urls=http://127.0.0.1:1236",
            "--advertise-client-urls=http://example.org:1234",
            "--listen-peer-urls=http://[::1]:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:1235",
            "--initial-cluster=s1=http://127.0.0.1:1235",
            "--initial-cluster-token=t",
            "--max-request-bytes=4194304",
            "--watch-progress-notify-interval=1ms",
        ])
        .unwrap();
        assert_eq!(config.listen_client.len(), 2);
        assert_eq!(config.listen_client[1].address, Address::Unix("/tmp/x".into()));
        assert_eq!(config.listen_client_http[0].address, Address::Tcp { host: "127.0.0.1".into(), port: 1236 });
        assert_eq!(config.listen_peer[0].address, Address::Tcp { host: "::1".into(), port: 2380 });
        assert_eq!(config.advertise_client, ["http://example.org:1234"]);
        assert_eq!(config.progress_every, PROGRESS_LEAST);
    }

    #[test]
    fn others_are_told_where_this_machine_is() {
        let config = config(&[
            "--name=a",
            "--listen-peer-urls=http://0.0.0.0:77",
            "--listen-client-urls=http://0.0.0.0:78",
            "--advertise-client-urls=http://localhost:2379",
        ])
        .unwrap();
        assert_eq!(
            (&config.advertise_peer[0][..], &config.advertise_client[0][..]),
            ("http://10.0.0.7:77", "http://10.0.0.7:78")
        );
    }

    #[test]
    fn wrong_settings_are_named() {
        let check = |arguments: &[&str], text: &str| {
            let error = config(arguments).unwrap_err();
            assert!(error.contains(text), "{arguments:?}: {error}");
        };
        check(&["--election-timeout=400"], "--election-timeout[400ms] should be at least as 5 times as");
        check(&["--election-timeout=60000"], "less than 50000ms");
        check(&["--heartbeat-interval=0"], "--heartbeat-interval must be >0 (set to 0ms)");
        check(&["--listen-client-urls=http://127.0.0.1:1"], "--advertise-client-urls is required");
        check(&["--listen-peer-urls=http://example.org:1"], "expected IP in URL for binding");
        check(&["--listen-peer-urls=https://127.0.0.1:1"], "TLS is not implemented");
        check(&["--advertise-client-urls=http://:1"], "must be in the format \"host:port\"");
        check(&["--initial-cluster=b=http://localhost:2380"], "couldn't find local name \"default\"");
        check(&["--initial-cluster=default=http://localhost:2380,b=http://localhost:2381"], "names 2 members");
        check(&["--initial-cluster=default=http://localhost:9"], "but missing from --initial-advertise-peer-urls");
        check(&["--initial-cluster=bogus"], "error setting up initial cluster");
        check(&["--initial-advertise-peer-urls=http://localhost:9"], "(resolved urls: ");
        check(&["--memory-budget=64MiB"], "the least is 128MiB");
        check(&["--max-request-bytes=33554432"], "sixteenth");
        check(&["--initial-cluster-state=old"], "invalid value");
        check(&["--feature-gates=LeaseCheckpointPersist=true"], "requires enabling feature gate LeaseCheckpoint");
        check(&["--compact-hash-check-time=0"], "must be >0 (set to 0s)");
        check(&["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"], "is greater than");
        check(&["--discovery-token=x"], "both --discovery-token");
        check(&["--auth-token=foo"], "auth: invalid auth options");
        check(&["--auto-compaction-retention=xx"], "time: invalid duration \"xx\"");
        check(&["--cert-file=x"], "--cert-file is not implemented yet");
    }
}
