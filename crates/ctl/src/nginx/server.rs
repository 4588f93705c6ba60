//! Server blocks, and the HTTPServers that listen for them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Directive, Scope, location};
use crate::httpproxy::pem;

/// What inner blocks take from outer ones, and is read there.
pub(super) const INHERITED: [&str; 6] = [
    "client_max_body_size",
    "proxy_set_header",
    "ssl_certificate",
    "ssl_certificate_key",
    "ssl_client_certificate",
    "ssl_verify_client",
];

/// A server block.
pub(super) struct Server {
    place: Directive,
    listens: Vec<Listen>,
    names: Vec<Name>,
    paths: Vec<Value>,
    /// Certificates with their keys, as specs have them.
    certificates: Vec<(String, String)>,
    client_authority: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Listen {
    /// Empty for all addresses.
    address: String,
    port: u16,
    ssl: bool,
    default: bool,
}

/// A name of a server, in the order in which nginx looks: exact ones, the longest `*x`, the longest `x*`, expressions.
#[derive(Debug, Clone, PartialEq)]
enum Name {
    Exact(String),
    Leading(String),
    Trailing(String),
    Regexp(String),
}

impl Name {
    const fn order(&self) -> (u8, usize) {
        match self {
            Self::Exact(_) => (0, 0),
            Self::Leading(name) => (1, usize::MAX - name.len()),
            Self::Trailing(name) => (2, usize::MAX - name.len()),
            Self::Regexp(_) => (3, 0),
        }
    }

    const fn text(&self) -> &String {
        let (Self::Exact(text) | Self::Leading(text) | Self::Trailing(text) | Self::Regexp(text)) = self;
        text
    }
}

pub(super) fn read(http: &Directive, block: &Directive, scope: &mut Scope<'_>) -> Server {
    let (mut listens, mut names) = (Vec::new(), Vec::new());
    for directive in &block.children {
        match &*directive.name {
            "listen" => listens.extend(listen(directive, scope)),
            "server_name" => {
                for name in &directive.args {
                    name_of(directive, name, &mut names, scope);
                }
            }
            "location" => {}
            name if INHERITED.contains(&name) => {}
            _ => scope.not_converted(directive),
        }
    }
    if listens.is_empty() && block.named("listen").next().is_none() {
        listens.push(Listen { address: String::new(), port: 80, ssl: false, default: false });
    }
    let around = [block, http];
    let certificates = if listens.iter().any(|listen| listen.ssl) { certificates(&around, scope) } else { Vec::new() };
    let verified =
        location::inherited(&around, "ssl_verify_client").first().is_some_and(|verify| verify.arg(0) == "on");
    let authority = location::inherited(&around, "ssl_client_certificate").first().copied().filter(|_| verified);
    let client_authority = authority.and_then(|authority| file(authority, scope));
    let place = Directive { children: Vec::new(), ..block.clone() };
    let paths = location::read(block, &around, scope);
    Server { place, listens, names, paths, certificates, client_authority }
}

/// `80`, `127.0.0.1:80`, `[::1]:80`, `127.0.0.1`, and the words behind.
fn listen(directive: &Directive, scope: &mut Scope<'_>) -> Option<Listen> {
    let place = directive.arg(0);
    let (address, port) = match (place.parse::<u16>(), place.rsplit_once(':')) {
        (Ok(port), _) => ("", port),
        (_, Some((address, port))) if !place.starts_with("unix:") && !place.ends_with(']') => match port.parse() {
            Ok(port) => (address, port),
            Err(_) => (place, 0),
        },
        _ => (place, if place.starts_with("unix:") { 0 } else { 80 }),
    };
    if port == 0 {
        scope.not_converted(directive);
        return None;
    }
    let address = address.trim_matches(['[', ']']);
    let address = if matches!(address, "*" | "0.0.0.0" | "::") { "" } else { address };
    let mut listen = Listen { address: address.to_owned(), port, ssl: false, default: false };
    for word in directive.args.iter().skip(1) {
        match &**word {
            "ssl" => listen.ssl = true,
            "default_server" | "default" => listen.default = true,
            "http2" | "reuseport" | "ipv6only=on" | "ipv6only=off" => {}
            _ => scope.warn(directive, &format!("not converted: {word} of listen {place}")),
        }
    }
    Some(listen)
}

fn name_of(directive: &Directive, name: &str, names: &mut Vec<Name>, scope: &mut Scope<'_>) {
    let stars = name.matches('*').count();
    match (name.strip_prefix('~'), name.strip_prefix('.')) {
        // What nobody asks for: the server is reached by default only.
        _ if matches!(name, "" | "_") => {}
        (Some(expression), _) => names.extend(scope.regexp(directive, expression, true).map(Name::Regexp)),
        (_, Some(rest)) => {
            names.push(Name::Exact(rest.to_owned()));
            names.push(Name::Leading(format!("*.{rest}")));
        }
        _ if stars == 0 => names.push(Name::Exact(name.to_owned())),
        _ if stars == 1 && name.starts_with('*') => names.push(Name::Leading(name.to_owned())),
        _ if stars == 1 && name.ends_with('*') => names.push(Name::Trailing(name.to_owned())),
        _ => scope.warn(directive, &format!("not converted: the name {name}")),
    }
}

fn certificates(around: &[&Directive], scope: &mut Scope<'_>) -> Vec<(String, String)> {
    let certs = location::inherited(around, "ssl_certificate");
    let keys = location::inherited(around, "ssl_certificate_key");
    let pairs = certs.into_iter().zip(keys);
    pairs.filter_map(|(cert, key)| Some((file(cert, scope)?, file(key, scope)?))).collect()
}

/// The file that a directive names, or a warning.
fn file(directive: &Directive, scope: &mut Scope<'_>) -> Option<String> {
    let path = scope.folder.join(directive.arg(0));
    let read = pem(&path.to_string_lossy());
    read.map_err(|error| scope.warn(directive, &format!("{}: {error}", directive.name))).ok()
}

/// An HTTPServer for each address and port.
pub(super) fn listeners(servers: &[Server], scope: &mut Scope<'_>) -> Vec<Value> {
    let mut places: BTreeMap<(u16, String), Vec<(&Server, &Listen)>> = BTreeMap::new();
    for server in servers {
        for listen in &server.listens {
            let here = places.entry((listen.port, listen.address.clone())).or_default();
            // The same port for IPv4 and for IPv6.
            if !here.iter().any(|(other, _)| std::ptr::eq(*other, server)) {
                here.push((server, listen));
            }
        }
    }
    places.into_iter().filter_map(|((port, address), here)| listener(port, &address, &here, scope)).collect()
}

fn listener(port: u16, address: &str, here: &[(&Server, &Listen)], scope: &mut Scope<'_>) -> Option<Value> {
    let infix = if address.is_empty() { String::new() } else { format!("{}-", address.replace([':', '%'], "-")) };
    let mut spec = json!({"name": format!("{}-{infix}{port}", scope.prefix), "kind": "HTTPServer", "port": port});
    if !address.is_empty() {
        spec["address"] = address.into();
    }
    if here.iter().any(|(_, listen)| listen.ssl) {
        spec["https"] = true.into();
        let mut count = 0;
        for (server, _) in here {
            for (cert, key) in &server.certificates {
                let name = server.names.first().map_or("default", |name| name.text());
                let name = format!("{name}-{count}");
                count += 1;
                spec["certs"][&name] = cert.as_str().into();
                spec["keys"][&name] = key.as_str().into();
            }
        }
        if let (0, Some((server, _))) = (count, here.first()) {
            scope.warn(&server.place, &format!("port {port} has no certificate that could be read"));
        }
        if let Some(authority) = here.iter().find_map(|(server, _)| server.client_authority.as_ref()) {
            spec["caCertBase64"] = authority.as_str().into();
        }
    }
    let default = here.iter().position(|(_, listen)| listen.default).unwrap_or(0);
    let mut names: Vec<(usize, &Name)> = Vec::new();
    for (index, (server, _)) in here.iter().enumerate() {
        names.extend(server.names.iter().map(|name| (index, name)));
        if server.names.is_empty() && index != default {
            scope.warn(
                &server.place,
                &format!("this server has no name and is not the default of port {port}: left out"),
            );
        }
    }
    // Stable: expressions stay in the order of the file.
    names.sort_by_key(|(_, name)| name.order());
    // Names of one server that follow each other share a rule.
    let groups = names.chunk_by(|(one, _), (other, _)| one == other).filter_map(|group| {
        let paths = &here.get(group.first()?.0)?.0.paths;
        Some(rule(group.iter().map(|(_, name)| *name), paths))
    });
    let last = here.get(default).map(|(server, _)| json!({"paths": server.paths}));
    let rules: Vec<Value> =
        groups.chain(last).filter(|rule| rule["paths"].as_array().is_some_and(|paths| !paths.is_empty())).collect();
    if rules.is_empty() {
        scope.warnings.push(format!("nothing that is served on port {port} could be converted: left out"));
        return None;
    }
    spec["rules"] = rules.into();
    Some(spec)
}

fn rule<'a>(names: impl Iterator<Item = &'a Name>, paths: &[Value]) -> Value {
    let host = |name: &Name| json!({"value": name.text(), "isRegexp": matches!(name, Name::Regexp(_))});
    let hosts: Vec<Value> = names.map(host).collect();
    match &*hosts {
        [only] => {
            let key = if only["isRegexp"] == true { "hostRegexp" } else { "host" };
            json!({key: only["value"], "paths": paths})
        }
        _ => json!({"hosts": hosts, "paths": paths}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_takes_ports_and_addresses() {
        let check = |text: &str, expected: Option<(&str, u16)>| {
            let mut scope = Scope {
                prefix: "n",
                upstreams: BTreeMap::new(),
                folder: std::path::Path::new(""),
                pipelines: Vec::new(),
                warnings: Vec::new(),
            };
            let args = vec![text.to_owned()];
            let directive = Directive { name: "listen".to_owned(), args, children: Vec::new(), place: String::new() };
            let listen = listen(&directive, &mut scope);
            assert_eq!(listen.as_ref().map(|listen| (&*listen.address, listen.port)), expected, "{text}");
        };
        check("80", Some(("", 80)));
        check("*:8080", Some(("", 8080)));
        check("127.0.0.1", Some(("127.0.0.1", 80)));
        check("127.0.0.1:81", Some(("127.0.0.1", 81)));
        check("[::]:82", Some(("", 82)));
        check("[::1]", Some(("::1", 80)));
        check("unix:/run/x.sock", None);
        check("a:b", None);
        check("0", None);
    }
}
