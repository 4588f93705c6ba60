use std::io::Write as _;

use super::*;

fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<ServerConfig, String> {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match ServerConfig::parse(&arguments, environment) {
        Ok(Asked::Run(config)) => Ok(*config),
        Ok(Asked::Text(text)) => Err(text),
        Err(error) => Err(error.to_string()),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn a_flag_wins_over_a_variable_a_variable_over_the_file() {
    let file = file(
        "name: a\nlog-dir: /f\napi-addr: 1.1.1.1:1\ndebug: true\nunknown: 1\nbasic-auth: {u: p}\n\
         cluster:\n  listen-client-urls: [\"http://f:1\"]\n  initial-cluster:\n  - d: http://f:2\n",
    );
    let path = file.path().to_str().unwrap();
    let config = read(
        &["-f", path, "--name=d", "--labels", "k=v", "--labels=l=w", "--disable-access"],
        &[
            ("EG_NAME", "b"),
            ("EASEGRESS_NAME", "c"),
            ("EG_API_ADDR", "2.2.2.2:2"),
            ("EG_CLUSTER_LISTEN_PEER_URLS", "http://e:3"),
        ],
    )
    .unwrap();
    assert_eq!((config.text("name"), config.text("api-addr"), config.text("log-dir")), ("d", "2.2.2.2:2", "/f"));
    assert_eq!(
        (config.list("listen-client-urls"), config.list("listen-peer-urls")),
        (&["http://f:1".to_owned()][..], &["http://e:3".to_owned()][..])
    );
    assert_eq!(config.map("initial-cluster")["d"], "http://f:2");
    assert_eq!(config.map("labels").len(), 2);
    assert!(config.is("debug") && config.is("disable-access-log"));
    assert_eq!(config.map("basic-auth")["u"], "p");
    assert_eq!(config.notes, ["the config file's unknown is no setting"]);
}

#[test]
fn what_is_left_open_follows_from_the_rest() {
    let config = read(&["--name=", "--api-addr=127.0.0.1:1", "--home-dir=/h", "--log-dir=l"], &[]).unwrap();
    let name = config.text("name").to_owned();
    assert!(name.ends_with("-127.0.0.1-1"), "{name}");
    assert_eq!(config.map("initial-cluster")[&name], "http://localhost:2380");
    assert_eq!((config.dir("data-dir"), config.dir("log-dir")), ("/h/data".into(), "/h/l".into()));
    assert_eq!(config.memory_budget(), ByteSize::mib(256));
}

#[test]
fn what_cannot_be_is_refused() {
    let file = file("cluster: 1");
    let path = file.path().to_str().unwrap();
    for (arguments, expected) in [
        (&["--bogus"][..], "unknown flag: --bogus"),
        (&["name"], "unknown flag: name"),
        (&["--name"], "flag needs an argument: --name"),
        (&["--debug=maybe"], "--debug: invalid value \"maybe\": must be true or false"),
        (&["--cluster-role=secondary"], "cluster-role secondary is not implemented yet"),
        (&["--cluster-role=king"], "cluster-role: \"king\" is none of primary, secondary, reader, writer"),
        (&["--state-flag=existing"], "state-flag existing is not implemented yet"),
        (&["--wal-dir=/w"], "wal-dir is not implemented yet"),
        (&["--tls"], "tls: needs cert-file and key-file"),
        (&["--client-ca-file=x"], "client-ca-file: needs tls"),
        (&["--initial-cluster=other=http://o:1"], "initial-cluster: the member \"eg-default-name\" is not in it"),
        (&["--signal-upgrade"], "signal-upgrade is not implemented yet"),
        (&["-f", "/nonexistent/x"], "config file /nonexistent/x: no such file or directory"),
    ] {
        assert_eq!(read(arguments, &[]).unwrap_err(), expected, "{arguments:?}");
    }
    assert!(read(&["-f", path], &[]).unwrap_err().ends_with("cluster must be a map"));
    let several = read(&["--initial-cluster=eg-default-name=http://a:1,b=http://b:1"], &[]).unwrap_err();
    assert_eq!(several, "a cluster of several members is not implemented yet");
    assert!(read(&["--memory-budget=lots"], &[]).unwrap_err().starts_with("--memory-budget: invalid value"));
    assert!(!read(&["--basic-auth", "admin:hunter2"], &[]).unwrap_err().contains("hunter2"));
    let config = read(&["--objects-dump-interval=1h"], &[]).unwrap();
    assert_eq!(config.notes, ["objects-dump-interval has no effect: Objects are kept on disk at each change"]);
}

#[test]
fn what_is_printed_can_be_read_again() {
    let printed = read(&["-c", "--basic-auth=u=secret", "--api-addr=127.0.0.1:9"], &[]).unwrap_err();
    assert!(!printed.contains("secret"), "{printed}");
    let file = file(&printed);
    let config = read(&["-f", file.path().to_str().unwrap()], &[]).unwrap();
    assert_eq!((config.text("api-addr"), config.notes.len()), ("127.0.0.1:9", 0));
    assert!(read(&["--help"], &[]).unwrap_err().contains("--memory-budget <bytes>"));
}
