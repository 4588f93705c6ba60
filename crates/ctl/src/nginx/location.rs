//! Locations: a path of a rule each, and the pipeline behind it.

use serde_json::{Map, Value, json};

use super::{Directive, Scope, upstream::Upstream};

/// A path, and where it stands among those of its server.
pub(super) struct Located {
    order: (u8, usize),
    pub(super) path: Value,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Match {
    Exact,
    /// `^~`: before all expressions.
    Firm,
    Regexp,
    Prefix,
}

/// Variables that `setHeaders` has, besides those that begin with one of [`FAMILIES`].
const VARIABLES: [&str; 18] = [
    "request_method",
    "request_uri",
    "uri",
    "scheme",
    "query_string",
    "args",
    "host",
    "hostname",
    "server_name",
    "remote_addr",
    "remote_user",
    "proxy_add_x_forwarded_for",
    "time_iso8601",
    "time_local",
    "msec",
    "content_type",
    "content_length",
    "server_protocol",
];
const FAMILIES: [&str; 3] = ["http_", "arg_", "cookie_"];

/// The locations of a block, those inside locations too, in the order in which nginx would choose.
///
/// `outer` are the blocks around it, the innermost first: they say what a location does not say itself.
pub(super) fn read(block: &Directive, outer: &[&Directive], scope: &mut Scope<'_>) -> Vec<Value> {
    let mut found = Vec::new();
    collect(block, outer, scope, &mut found);
    // Stable: expressions stay in the order of the file.
    found.sort_by_key(|located| located.order);
    found.into_iter().map(|located| located.path).collect()
}

fn collect(block: &Directive, outer: &[&Directive], scope: &mut Scope<'_>, found: &mut Vec<Located>) {
    for location in block.named("location") {
        let around: Vec<&Directive> = [location].into_iter().chain(outer.iter().copied()).collect();
        found.extend(one(location, &around, scope));
        collect(location, &around, scope, found);
    }
    let firm = |located: &&Located| located.order.0 == 1;
    let prefixes = |located: &&Located| located.order.0 == 3;
    let path = |located: &Located| located.path["pathPrefix"].as_str().unwrap_or_default().to_owned();
    for plain in found.iter().filter(prefixes).map(path).collect::<Vec<_>>() {
        if found.iter().filter(firm).map(path).any(|firm| plain.starts_with(&firm)) {
            scope.warn(block, &format!("the prefix {plain} comes behind the ^~ prefix that it begins with"));
        }
    }
}

fn one(location: &Directive, around: &[&Directive], scope: &mut Scope<'_>) -> Option<Located> {
    let (kind, text) = match (location.arg(0), location.args.len()) {
        ("=", 2) => (Match::Exact, location.arg(1)),
        ("^~", 2) => (Match::Firm, location.arg(1)),
        ("~" | "~*", 2) => (Match::Regexp, location.arg(1)),
        (path, 1) if path.starts_with('/') => (Match::Prefix, path),
        _ => {
            scope.not_converted(location);
            return None;
        }
    };
    let mut pass = None;
    for directive in &location.children {
        match &*directive.name {
            "proxy_pass" => pass = Some(directive),
            "location" | "proxy_http_version" => {}
            name if super::server::INHERITED.contains(&name) => {}
            _ => scope.not_converted(directive),
        }
    }
    let Some(pass) = pass else {
        if location.named("location").next().is_none() {
            scope.warn(location, &format!("location {} has no proxy_pass: left out", location.args.join(" ")));
        }
        return None;
    };
    let (key, order) = match kind {
        Match::Exact => ("path", (0, 0)),
        // The longest prefix counts.
        Match::Firm => ("pathPrefix", (1, usize::MAX - text.len())),
        Match::Regexp => ("pathRegexp", (2, 0)),
        Match::Prefix => ("pathPrefix", (3, usize::MAX - text.len())),
    };
    let shown = match kind {
        Match::Regexp => scope.regexp(location, text, location.arg(0) == "~*")?,
        Match::Exact | Match::Firm | Match::Prefix => text.to_owned(),
    };
    let mut path = json!({key: shown});
    let backend = pipeline(pass, (kind, text), around, &mut path, scope)?;
    path["backend"] = backend.into();
    if let Some(limit) = inherited(around, "client_max_body_size").first() {
        match bytes(limit.arg(0)) {
            Some(0) => path["clientMaxBodySize"] = (-1).into(),
            Some(most) => path["clientMaxBodySize"] = most.into(),
            None => scope.not_converted(limit),
        }
    }
    Some(Located { order, path })
}

/// Directives of that name in the innermost block that has one: inner ones replace all outer ones.
pub(super) fn inherited<'a>(around: &[&'a Directive], name: &'a str) -> Vec<&'a Directive> {
    let all = around.iter().map(|block| block.named(name).collect::<Vec<_>>());
    all.into_iter().find(|found| !found.is_empty()).unwrap_or_default()
}

/// Makes the pipeline for `proxy_pass`; returns its name, and says in `path` what is rewritten and which headers are set.
fn pipeline(
    pass: &Directive,
    (kind, text): (Match, &str),
    around: &[&Directive],
    path: &mut Value,
    scope: &mut Scope<'_>,
) -> Option<String> {
    let url = pass.arg(0);
    let parts = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
    let Some((scheme, rest)) = parts.filter(|(_, rest)| !rest.contains('$') && !rest.starts_with("unix:")) else {
        scope.not_converted(pass);
        return None;
    };
    let (address, uri) = rest.find('/').map_or((rest, None), |slash| (&rest[..slash], Some(&rest[slash..])));
    let upstream = scope.upstreams.get(address).cloned().unwrap_or_else(|| Upstream::single(address));
    if upstream.is_empty() {
        scope.warn(pass, &format!("{address} has no servers: left out"));
        return None;
    }
    match (uri, kind) {
        (None, _) => {}
        (Some(_), Match::Regexp) => scope.warn(pass, &format!("the path of {url} is not converted")),
        (Some(uri), _) if uri == text => {}
        (Some(uri), _) => path["rewriteTarget"] = uri.into(),
    }
    let (mut headers, mut keep_host, mut host) = (Map::new(), false, None);
    for directive in inherited(around, "proxy_set_header") {
        let (name, value) = (directive.arg(0), directive.arg(1));
        match name.to_ascii_lowercase().as_str() {
            "host" if matches!(value, "$host" | "$http_host") => keep_host = true,
            "host" if value == "$proxy_host" => {}
            "host" if value.contains('$') => scope.not_converted(directive),
            "host" => (keep_host, host) = (true, Some(value)),
            // Connections are the proxy's own.
            "connection" | "upgrade" if value.is_empty() => {}
            "connection" | "upgrade" => scope.not_converted(directive),
            _ if !variables_are_known(value) => scope.not_converted(directive),
            _ => {
                headers.insert(name.to_owned(), value.into());
            }
        }
    }
    if !headers.is_empty() {
        path["setHeaders"] = Value::Object(headers);
    }
    let name = format!("{}-pipeline-{}", scope.prefix, scope.pipelines.len());
    let mut filters = Vec::new();
    filters.extend(host.map(|host| json!({"name": "host", "kind": "RequestAdaptor", "host": host})));
    filters.push(json!({"name": "proxy", "kind": "Proxy", "pools": [upstream.pool(scheme, keep_host)]}));
    let flow: Vec<Value> = filters.iter().map(|filter| json!({"filter": filter["name"]})).collect();
    scope.pipelines.push(json!({"name": name, "kind": "Pipeline", "flow": flow, "filters": filters}));
    Some(name)
}

fn variables_are_known(value: &str) -> bool {
    value.split('$').skip(1).all(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let name = &rest[..end];
        VARIABLES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
    })
}

/// `8m`, `1k`, `512`.
fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.chars().last()?.to_ascii_lowercase() {
        'k' => (&text[..text.len() - 1], 1 << 10),
        'm' => (&text[..text.len() - 1], 1 << 20),
        'g' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|bytes| i64::try_from(*bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in
            [("0", Some(0)), ("8m", Some(8 << 20)), ("1K", Some(1024)), ("", None), ("x", None), ("99999999999g", None)]
        {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn variables_are_those_of_set_headers() {
        for (value, known) in
            [("a", true), ("$host:$http_x", true), ("${host}x", true), ("$upstream_addr", false), ("a$", false)]
        {
            assert_eq!(variables_are_known(value), known, "{value}");
        }
    }
}
