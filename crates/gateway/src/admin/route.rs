//! Method and path to what is meant. Pure.

use super::request::decode;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Apis,
    Health,
    About,
    Metrics,
    Memory,
    Kinds,
    Resources,
    ListObjects,
    CreateObject,
    DeleteObjects,
    GetObject(String),
    PutObject(String),
    DeleteObject(String),
    Versions(String),
    Version(String, String),
    Rollback(String),
    /// Kind and name.
    Template(String, String),
    ListStatus,
    GetStatus(String),
    Members,
    PurgeMember(String),
    Filters,
    FilterDescription(String),
    FilterSchema(String),
    FilterResults(String),
    ListKinds,
    PostKind,
    PutKind,
    DeleteKinds,
    GetKind(String),
    DeleteKind(String),
    ListItems(String),
    PostItem(String),
    PutItem(String),
    Batch(String),
    DeleteItems(String),
    /// Kind and id.
    GetItem(String, String),
    DeleteItem(String, String),
    Profile,
    StartCpu,
    StartMemory,
    StopProfile,
    Logs,
    Level,
    SetLevel(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoute {
    Unknown,
    /// The path is known, with other methods.
    Method,
}

/// Both prefixes lead to the same routes.
const PREFIXES: [&str; 2] = ["/apis/v2", "/apis/v1"];

/// What is served at a path, in which `{…}` stands for one segment that is not empty.
pub(super) struct Entry {
    pub(super) group: &'static str,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    make: fn(String, String) -> Route,
}

macro_rules! entries {
    ($($group:literal $method:literal $path:literal => $make:expr;)*) => {
        &[$(Entry { group: $group, method: $method, path: $path, make: $make }),*]
    };
}

/// Every route below the prefix, by group, path and method. Of two that fit a path, the first with the method counts.
#[rustfmt::skip]
pub(super) const ENTRIES: &[Entry] = entries! {
    "about" "GET" "/about" => |_, _| Route::About;
    "about" "GET" "/healthz" => |_, _| Route::Health;
    "customdata" "DELETE" "/customdata/{kind}/items" => |kind, _| Route::DeleteItems(kind);
    "customdata" "POST" "/customdata/{kind}/items" => |kind, _| Route::Batch(kind);
    "customdata" "GET" "/customdata/{kind}" => |kind, _| Route::ListItems(kind);
    "customdata" "POST" "/customdata/{kind}" => |kind, _| Route::PostItem(kind);
    "customdata" "PUT" "/customdata/{kind}" => |kind, _| Route::PutItem(kind);
    "customdata" "DELETE" "/customdata/{kind}/{id}" => Route::DeleteItem;
    "customdata" "GET" "/customdata/{kind}/{id}" => Route::GetItem;
    "customdata" "DELETE" "/customdatakinds" => |_, _| Route::DeleteKinds;
    "customdata" "GET" "/customdatakinds" => |_, _| Route::ListKinds;
    "customdata" "POST" "/customdatakinds" => |_, _| Route::PostKind;
    "customdata" "PUT" "/customdatakinds" => |_, _| Route::PutKind;
    "customdata" "DELETE" "/customdatakinds/{name}" => |name, _| Route::DeleteKind(name);
    "customdata" "GET" "/customdatakinds/{name}" => |name, _| Route::GetKind(name);
    "logs" "GET" "/logs" => |_, _| Route::Logs;
    "logs" "GET" "/logs/level" => |_, _| Route::Level;
    "logs" "PUT" "/logs/level/{level}" => |level, _| Route::SetLevel(level);
    "memory" "GET" "/debug/memory" => |_, _| Route::Memory;
    "metadata" "GET" "/metadata/objects/pipeline/filters" => |_, _| Route::Filters;
    "metadata" "GET" "/metadata/objects/pipeline/filters/{kind}/description" => |kind, _| Route::FilterDescription(kind);
    "metadata" "GET" "/metadata/objects/pipeline/filters/{kind}/results" => |kind, _| Route::FilterResults(kind);
    "metadata" "GET" "/metadata/objects/pipeline/filters/{kind}/schema" => |kind, _| Route::FilterSchema(kind);
    "metrics" "GET" "/metrics" => |_, _| Route::Metrics;
    "object" "GET" "/object-api-resources" => |_, _| Route::Resources;
    "object" "GET" "/object-kinds" => |_, _| Route::Kinds;
    "object" "DELETE" "/objects" => |_, _| Route::DeleteObjects;
    "object" "GET" "/objects" => |_, _| Route::ListObjects;
    "object" "POST" "/objects" => |_, _| Route::CreateObject;
    "object" "DELETE" "/objects/{name}" => |name, _| Route::DeleteObject(name);
    "object" "GET" "/objects/{name}" => |name, _| Route::GetObject(name);
    "object" "PUT" "/objects/{name}" => |name, _| Route::PutObject(name);
    "object" "POST" "/objects/{name}/rollback" => |name, _| Route::Rollback(name);
    "object" "GET" "/objects/{name}/versions" => |name, _| Route::Versions(name);
    "object" "GET" "/objects/{name}/versions/{version}" => Route::Version;
    "object" "GET" "/objects-yaml/{kind}/{name}" => Route::Template;
    "profile" "GET" "/profile" => |_, _| Route::Profile;
    "profile" "POST" "/profile/start/cpu" => |_, _| Route::StartCpu;
    "profile" "POST" "/profile/start/memory" => |_, _| Route::StartMemory;
    "profile" "POST" "/profile/stop" => |_, _| Route::StopProfile;
    "status" "GET" "/status/members" => |_, _| Route::Members;
    "status" "DELETE" "/status/members/{member}" => |member, _| Route::PurgeMember(member);
    "status" "GET" "/status/objects" => |_, _| Route::ListStatus;
    "status" "GET" "/status/objects/{name}" => |name, _| Route::GetStatus(name);
};

pub(super) fn route(method: &str, path: &str) -> Result<Route, NoRoute> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let rest = match PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix)) {
        Some("") => return only("GET", method, Route::Apis),
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) => return Err(NoRoute::Unknown),
        None => {
            return match path {
                "/metrics" => only("GET", method, Route::Metrics),
                "/debug/memory" => only("GET", method, Route::Memory),
                _ => Err(NoRoute::Unknown),
            };
        }
    };
    let segments: Option<Vec<String>> = rest.split('/').map(|segment| decode(segment, false)).collect();
    let segments = segments.ok_or(NoRoute::Unknown)?;
    let mut no = NoRoute::Unknown;
    for entry in ENTRIES {
        let Some((first, second)) = fits(entry.path, &segments) else { continue };
        if entry.method == method {
            return Ok((entry.make)(first, second));
        }
        no = NoRoute::Method;
    }
    Err(no)
}

/// The segments that stand for `{…}`, of which no path has more than two.
fn fits(pattern: &str, segments: &[String]) -> Option<(String, String)> {
    let mut found = [String::new(), String::new()];
    let (mut next, mut parts) = (found.iter_mut(), pattern.split('/'));
    for segment in segments {
        let part = parts.next()?;
        if part.starts_with('{') && !segment.is_empty() {
            next.next()?.clone_from(segment);
        } else if part != segment {
            return None;
        }
    }
    let [first, second] = found;
    parts.next().is_none().then_some((first, second))
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
        check("POST", "/apis/v1/", Err(NoRoute::Method));
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
        check("GET", "/apis/v2/objects/a/versions/3", Ok(Route::Version("a".to_owned(), "3".to_owned())));
        check("GET", "/apis/v2/customdata/k/items", Ok(Route::GetItem("k".to_owned(), "items".to_owned())));
        check("DELETE", "/apis/v2/customdata/k/items", Ok(Route::DeleteItems("k".to_owned())));
        check("PUT", "/apis/v2/customdata/k/items", Err(NoRoute::Method));
        check("GET", "/apis/v20/objects", Err(NoRoute::Unknown));
        check("GET", "/apis/v3/objects", Err(NoRoute::Unknown));
        check("GET", "/", Err(NoRoute::Unknown));
        check("GET", "", Err(NoRoute::Unknown));
        check("GET", "/metrics", Ok(Route::Metrics));
        check("GET", "/apis/v2/metrics", Ok(Route::Metrics));
        check("GET", "/debug/memory", Ok(Route::Memory));
        check("DELETE", "/debug/memory", Err(NoRoute::Method));
        for path in
            ["mesh/tenants", "faas/f", "mqttproxy/m/session/query", "ai-gateway/providers", "waf/metrics", "wasm/code"]
        {
            check("GET", &format!("/apis/v2/{path}"), Err(NoRoute::Unknown));
        }
    }

    #[test]
    fn every_entry_is_reached_and_they_are_sorted_by_group() {
        assert!(ENTRIES.is_sorted_by_key(|entry| entry.group));
        for Entry { method, path, make, .. } in ENTRIES {
            let segments: Vec<&str> =
                path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
            let captured = |index: usize| path.split('{').nth(index + 1).map_or("", |_| "x").to_owned();
            let path = format!("/apis/v2{}", segments.join("/"));
            assert_eq!(route(method, &path), Ok(make(captured(0), captured(1))), "{method} {path}");
        }
    }
}
