//! The configuration file: YAML or JSON with etcd's keys, which are the flags' names but for those that stand in a group.

use std::{fs, io};

use serde_yaml_ng::Value;

use super::{
    Origin, Values,
    table::{FLAGS, index},
    value::{Kind, gates},
};
use crate::{logging::go_text, store::url};

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum FileError {
    #[error("open {path}: {why}")]
    Open { path: String, why: String },
    #[error("error converting YAML to JSON: yaml: {0}")]
    Yaml(String),
    #[error("error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go {place}")]
    Type { found: String, place: String },
    #[error("invalid {0}")]
    Group(&'static str),
    #[error("unexpected clusterState \"{0}\"")]
    ClusterState(String),
    #[error("{0}")]
    Gates(String),
    /// The only one that etcd tells without its log.
    #[error("unexpected error setting up {flag}: {why}")]
    Urls { flag: &'static str, why: String },
}

/// Keys that stand in a group, and the flags that they are.
const GROUPS: &[(&str, &[(&str, &str)])] = &[
    (
        "client-transport-security",
        &[
            ("cert-file", "cert-file"),
            ("key-file", "key-file"),
            ("client-cert-file", "client-cert-file"),
            ("client-key-file", "client-key-file"),
            ("client-cert-auth", "client-cert-auth"),
            ("trusted-ca-file", "trusted-ca-file"),
            ("auto-tls", "auto-tls"),
            ("allowed-hostname", "client-cert-allowed-hostname"),
        ],
    ),
    (
        "peer-transport-security",
        &[
            ("cert-file", "peer-cert-file"),
            ("key-file", "peer-key-file"),
            ("client-cert-file", "peer-client-cert-file"),
            ("client-key-file", "peer-client-key-file"),
            ("client-cert-auth", "peer-client-cert-auth"),
            ("trusted-ca-file", "peer-trusted-ca-file"),
            ("auto-tls", "peer-auto-tls"),
            ("allowed-cn", "peer-cert-allowed-cn"),
            ("allowed-hostname", "peer-cert-allowed-hostname"),
            ("skip-client-san-verification", "peer-skip-client-san-verification"),
        ],
    ),
    ("socket-options", &[("reuse-port", "socket-reuse-port"), ("reuse-address", "socket-reuse-address")]),
    ("discovery-config", &[("token", "discovery-token")]),
];

/// Flags that are no keys.
const NO_KEYS: &[&str] = &[
    "config-file",
    "discovery-fallback",
    "v2-deprecation",
    "raft-read-timeout",
    "raft-write-timeout",
    "cert-file",
    "key-file",
    "client-cert-file",
    "client-key-file",
    "client-cert-auth",
    "trusted-ca-file",
    "auto-tls",
    "client-crl-file",
    "client-cert-allowed-hostname",
];

/// Reads the file into `values`. Keys that are none are passed over, as etcd does.
pub(super) fn read(path: &str, values: &mut Values) -> Result<(), FileError> {
    let wrong = |error: io::Error| FileError::Open { path: path.to_owned(), why: go_text(&error) };
    if fs::metadata(path).map_err(wrong)?.len() > FILE_BYTES_MAX {
        return Err(wrong(io::ErrorKind::FileTooLarge.into()));
    }
    take(&fs::read_to_string(path).map_err(wrong)?, values)
}

fn take(text: &str, values: &mut Values) -> Result<(), FileError> {
    let document: Value = serde_yaml_ng::from_str(text).map_err(|error| FileError::Yaml(error.to_string()))?;
    let map = match document {
        Value::Null => return Ok(()),
        Value::Mapping(map) => map,
        other => return Err(mismatch(&other, false, "value of type embed.configYAML".to_owned())),
    };
    for (key, value) in &map {
        let Some(key) = key.as_str() else { continue };
        if let Some((group, members)) = GROUPS.iter().find(|(group, _)| group.eq_ignore_ascii_case(key)) {
            let (part, go) = match *group {
                "socket-options" => ("Config", "transport.SocketOpts"),
                "discovery-config" => ("Config", "v3discovery.DiscoveryConfig"),
                _ => ("configJSON", "embed.securityConfig"),
            };
            let place = || format!("struct field configYAML.{part}.{group}");
            match value {
                // Of this one etcd looks at the keys, too, and there are none to look at.
                Value::Null if *group == "peer-transport-security" => return Err(FileError::Group(group)),
                Value::Null => continue,
                Value::Mapping(inside) => {
                    for (key, value) in inside {
                        let same =
                            |(name, _): &&(&str, &str)| key.as_str().is_some_and(|key| name.eq_ignore_ascii_case(key));
                        if let Some((name, flag)) = members.iter().find(same) {
                            set(flag, value, values, || format!("{}.{name}", place()))?;
                        }
                    }
                }
                other => return Err(mismatch(other, false, format!("{} of type {go}", place()))),
            }
            continue;
        }
        let flag = FLAGS.iter().find(|flag| flag.name.eq_ignore_ascii_case(key) && is_key(flag.name));
        if let Some(flag) = flag {
            let part = if is_raw(flag.name) { "configJSON" } else { "Config" };
            set(flag.name, value, values, || format!("struct field configYAML.{part}.{}", flag.name))?;
        }
    }
    check(values)
}

fn is_key(name: &str) -> bool {
    let grouped = name.starts_with("discovery-") && !name.starts_with("discovery-srv");
    !NO_KEYS.contains(&name) && !name.starts_with("peer-") && !name.starts_with("socket-") && !grouped
}

/// Keys that etcd reads as text and looks at later: its errors name them so.
fn is_raw(name: &str) -> bool {
    let urls = name.ends_with("-urls") && name != "listen-metrics-urls";
    urls || matches!(name, "cors" | "host-whitelist" | "feature-gates")
}

fn set(flag: &str, value: &Value, values: &mut Values, place: impl Fn() -> String) -> Result<(), FileError> {
    let at = index(flag).expect("the tables name flags");
    let kind = FLAGS[at].kind;
    let (text, go) = match kind {
        _ if value.is_null() => return Ok(()),
        Kind::Bool => (value.as_bool().map(|on| on.to_string()), "bool"),
        // In nanoseconds: "5s" is read on the command line only.
        Kind::Duration => (value.as_i64().map(|ns| format!("{ns}ns")), "time.Duration"),
        Kind::Int => (value.as_i64().map(|number| number.to_string()), "int"),
        Kind::Int64 => (value.as_i64().map(|number| number.to_string()), "int64"),
        Kind::Uint => (value.as_u64().map(|number| number.to_string()), "uint"),
        Kind::Uint64 => (value.as_u64().map(|number| number.to_string()), "uint64"),
        Kind::Uint32 => {
            (value.as_u64().filter(|number| u32::try_from(*number).is_ok()).map(|number| number.to_string()), "uint32")
        }
        Kind::Texts if flag != "host-whitelist" => {
            let texts = value.as_sequence().map(|list| list.iter().map(scalar).collect::<Option<Vec<_>>>());
            (texts.flatten().map(|texts| texts.join(",")), "[]string")
        }
        Kind::Text | Kind::Texts | Kind::OneOf(_) | Kind::Urls | Kind::Cors | Kind::Gates => (scalar(value), "string"),
    };
    let number = !matches!(kind, Kind::Bool | Kind::Text | Kind::Texts);
    let text = text.ok_or_else(|| mismatch(value, number, format!("{} of type {go}", place())))?;
    if kind != Kind::Urls || !text.is_empty() {
        values.values[at] = (text, Origin::File);
    }
    Ok(())
}

/// A scalar where a text is expected.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(on) => Some(on.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn mismatch(value: &Value, number: bool, place: String) -> FileError {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        // The number itself is told where another one would do.
        Value::Number(found) if number => format!("number {found}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Sequence(_) => "array".to_owned(),
        Value::Mapping(_) | Value::Tagged(_) => "object".to_owned(),
    };
    FileError::Type { found, place }
}

/// What the command line has checked at each flag.
fn check(values: &mut Values) -> Result<(), FileError> {
    gates(values.get("feature-gates")).map_err(FileError::Gates)?;
    for flag in FLAGS.iter().filter(|flag| flag.kind == Kind::Urls && !values.get(flag.name).is_empty()) {
        url::parse_list(values.get(flag.name)).map_err(|why| FileError::Urls { flag: flag.name, why })?;
    }
    let at = index("initial-cluster-state").expect("the name is in the table");
    match values.values[at].0.as_str() {
        "new" | "existing" => Ok(()),
        "" => {
            values.values[at].0 = "new".to_owned();
            Ok(())
        }
        other => Err(FileError::ClusterState(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Result<Values, String> {
        let mut values = Values::new();
        take(text, &mut values).map(|()| values).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_are_flags_and_groups_of_them() {
        let values = values(
            "name: 5\nHeartbeat-Interval: 50\nlog-outputs: [stdout, stderr]\ngrpc-keepalive-interval: 5000000000\n\
             peer-transport-security:\n  cert-file: c\n  allowed-cn: [a, b]\n  unknown: 1\n\
             client-transport-security:\nsocket-options: {reuse-port: true}\nlisten-client-urls: ''\nno-such-key: [1]\n",
        )
        .unwrap();
        for (flag, value) in [
            ("name", "5"),
            ("heartbeat-interval", "50"),
            ("log-outputs", "stdout,stderr"),
            ("grpc-keepalive-interval", "5000000000ns"),
            ("peer-cert-file", "c"),
            ("peer-cert-allowed-cn", "a,b"),
            ("cert-file", ""),
            ("socket-reuse-port", "true"),
            ("listen-client-urls", "http://localhost:2379"),
        ] {
            assert_eq!(values.get(flag), value, "{flag}");
        }
        assert!(super::tests::values("").is_ok() && super::tests::values("{\"name\": \"json\"}").is_ok());
    }

    #[test]
    fn what_is_wrong_is_told_in_etcds_words() {
        let json = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal ";
        let check = |text: &str, expected: &str| {
            let error = values(text).unwrap_err();
            assert!(error == expected || error == format!("{json}{expected}"), "{text}: {error}");
        };
        check("heartbeat-interval: x", "string into Go struct field configYAML.Config.heartbeat-interval of type uint");
        check(
            "heartbeat-interval: -5",
            "number -5 into Go struct field configYAML.Config.heartbeat-interval of type uint",
        );
        check("pre-vote: 5", "number into Go struct field configYAML.Config.pre-vote of type bool");
        check(
            "grpc-keepalive-interval: 5s",
            "string into Go struct field configYAML.Config.grpc-keepalive-interval of type time.Duration",
        );
        check("log-outputs: stderr", "string into Go struct field configYAML.Config.log-outputs of type []string");
        check(
            "listen-peer-urls: [x]",
            "array into Go struct field configYAML.configJSON.listen-peer-urls of type string",
        );
        check("peer-transport-security:", "invalid peer-transport-security");
        check("[1, 2]", "array into Go value of type embed.configYAML");
        check("feature-gates: X=true", "unrecognized feature gate: X");
        check("initial-cluster-state: foo", "unexpected clusterState \"foo\"");
        check(
            "listen-peer-urls: bogus",
            "unexpected error setting up listen-peer-urls: URL scheme must be http, https, unix, or unixs: bogus",
        );
    }
}
