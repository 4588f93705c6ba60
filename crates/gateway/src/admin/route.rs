//! Method and path to what is meant. Pure.

use super::request::decode;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Apis,
    Health,
    About,
    Kinds,
    Resources,
    ListObjects,
    CreateObject,
    DeleteObjects,
    GetObject(String),
    PutObject(String),
    DeleteObject(String),
    ListStatus,
    GetStatus(String),
    Filters,
    Metrics,
    Memory,
    /// A route of the reference that is not there yet.
    Missing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoute {
    Unknown,
    /// The path is known, with other methods.
    Method,
}

/// Both prefixes lead to the same routes.
const PREFIXES: [&str; 2] = ["/apis/v2", "/apis/v1"];

/// Group, method and path of what is served, as the prefix itself lists them.
pub(super) const APIS: [(&str, &str, &str); 15] = [
    ("about", "GET", "/about"),
    ("about", "GET", "/healthz"),
    ("about", "GET", "/metrics"),
    ("metadata", "GET", "/metadata/objects/pipeline/filters"),
    ("object", "GET", "/object-api-resources"),
    ("object", "GET", "/object-kinds"),
    ("object", "DELETE", "/objects"),
    ("object", "GET", "/objects"),
    ("object", "POST", "/objects"),
    ("object", "DELETE", "/objects/{name}"),
    ("object", "GET", "/objects/{name}"),
    ("object", "PUT", "/objects/{name}"),
    ("status", "GET", "/status/objects"),
    ("status", "GET", "/status/objects/{name}"),
    ("memory", "GET", "/debug/memory"),
];

/// First segments of the reference's routes that answer 501.
const MISSING: [&str; 11] = [
    "ai-gateway",
    "customdata",
    "customdatakinds",
    "faas",
    "logs",
    "mesh",
    "metadata",
    "mqttproxy",
    "objects-yaml",
    "profile",
    "waf",
];

pub(super) fn route(method: &str, path: &str) -> Result<Route, NoRoute> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let (rest, prefixed) = match PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix)) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => (rest, true),
        Some(_) => return Err(NoRoute::Unknown),
        None => (path, false),
    };
    let segments: Option<Vec<String>> = rest.split('/').skip(1).map(|segment| decode(segment, false)).collect();
    let segments = segments.ok_or(NoRoute::Unknown)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if !prefixed {
        return match *segments {
            ["metrics"] => only("GET", method, Route::Metrics),
            ["debug", "memory"] => only("GET", method, Route::Memory),
            _ => Err(NoRoute::Unknown),
        };
    }
    let get = |route| only("GET", method, route);
    match *segments {
        [] => get(Route::Apis),
        ["healthz"] => get(Route::Health),
        ["about"] => get(Route::About),
        ["metrics"] => get(Route::Metrics),
        ["debug", "memory"] => get(Route::Memory),
        ["object-kinds"] => get(Route::Kinds),
        ["object-api-resources"] => get(Route::Resources),
        ["metadata", "objects", "pipeline", "filters"] => get(Route::Filters),
        ["status", "objects"] => get(Route::ListStatus),
        ["status", "objects", name] => get(Route::GetStatus(name.to_owned())),
        ["objects"] => match method {
            "GET" => Ok(Route::ListObjects),
            "POST" => Ok(Route::CreateObject),
            "DELETE" => Ok(Route::DeleteObjects),
            _ => Err(NoRoute::Method),
        },
        ["objects", name] if !name.is_empty() => match method {
            "GET" => Ok(Route::GetObject(name.to_owned())),
            "PUT" => Ok(Route::PutObject(name.to_owned())),
            "DELETE" => Ok(Route::DeleteObject(name.to_owned())),
            _ => Err(NoRoute::Method),
        },
        ["status", "members", ..] | ["wasm", "code" | "data", ..] => Ok(Route::Missing),
        [first, ..] if MISSING.contains(&first) => Ok(Route::Missing),
        _ => Err(NoRoute::Unknown),
    }
}

fn only(expected: &str, method: &str, route: Route) -> Result<Route, NoRoute> {
    if method == expected { Ok(route) } else { Err(NoRoute::Method) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_routes() {
        let check = |method: &str, path: &str, expected| assert_eq!(route(method, path), expected, "{method} {path}");
        let name = || "a b/ü".to_owned();
        check("GET", "/apis/v2", Ok(Route::Apis));
        check("GET", "/apis/v1/", Ok(Route::Apis));
        check("GET", "/apis/v2/objects/", Ok(Route::ListObjects));
        check("POST", "/apis/v1/objects", Ok(Route::CreateObject));
        check("GET", "/apis/v2/objects/a%20b%2F%c3%BC/", Ok(Route::GetObject(name())));
        check("PUT", "/apis/v2/objects/a%20b%2F%C3%BC", Ok(Route::PutObject(name())));
        check("DELETE", "/apis/v2/objects/a+b", Ok(Route::DeleteObject("a+b".to_owned())));
        check("PATCH", "/apis/v2/objects/a", Err(NoRoute::Method));
        check("PUT", "/apis/v2/objects", Err(NoRoute::Method));
        check("POST", "/apis/v2/healthz", Err(NoRoute::Method));
        check("GET", "/apis/v2/objects/%zz", Err(NoRoute::Unknown));
        check("GET", "/apis/v2/objects/%ff", Err(NoRoute::Unknown));
        check("GET", "/apis/v2/objects/a/b", Err(NoRoute::Unknown));
        check("GET", "/apis/v2/objects//", Err(NoRoute::Unknown));
        check("GET", "/apis/v20/objects", Err(NoRoute::Unknown));
        check("GET", "/apis/v3/objects", Err(NoRoute::Unknown));
        check("GET", "/", Err(NoRoute::Unknown));
        check("GET", "", Err(NoRoute::Unknown));
        check("GET", "/metrics", Ok(Route::Metrics));
        check("GET", "/apis/v2/metrics", Ok(Route::Metrics));
        check("GET", "/debug/memory", Ok(Route::Memory));
        check("DELETE", "/debug/memory", Err(NoRoute::Method));
        check("GET", "/apis/v2/status/members", Ok(Route::Missing));
        check("POST", "/apis/v2/profile/start/cpu", Ok(Route::Missing));
    }

    #[test]
    fn what_the_list_of_routes_says_is_routed() {
        for (_, method, path) in APIS {
            let path = format!("/apis/v2{}", path.replace("{name}", "x"));
            assert!(!matches!(route(method, &path), Err(_) | Ok(Route::Missing)), "{method} {path}");
        }
    }
}
