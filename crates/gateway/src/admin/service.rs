//! Routes to answers.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};
use tidegate_base::{Budget, ByteSize, clock};

use super::{
    AdminRequest, AdminResponse,
    answer::TEXT,
    error::AdminError,
    list::List,
    request::BODY_BYTES_MAX,
    route::{APIS, NoRoute, Route, route},
};
use crate::objects::{Handle, ObjectStatus, Plane, SYSTEM_KINDS, Store};

/// Reports of the process that the API only passes on. Each is made when it is asked for.
pub trait Reports: Send + Sync + 'static {
    /// Metrics in the text format of Prometheus.
    fn metrics(&self) -> AdminResponse;
    /// The account of memory, as JSON.
    fn memory(&self) -> AdminResponse;
}

/// The admin API of one node. Handles any number of requests at a time.
pub struct Admin {
    pub(super) store: Store,
    pub(super) plane: Arc<dyn Plane>,
    pub(super) objects: Handle,
    pub(super) budget: Budget,
    pub(super) limit: ByteSize,
    member: String,
    reports: Arc<dyn Reports>,
    local: bool,
}

impl Admin {
    /// `limit` is what the loader of this node takes for all objects, `member` the name of this node.
    pub fn new(
        store: Store,
        plane: Arc<dyn Plane>,
        objects: Handle,
        budget: Budget,
        limit: ByteSize,
        member: String,
        reports: Arc<dyn Reports>,
    ) -> Self {
        Self { store, plane, objects, budget, limit, member, reports, local: false }
    }

    /// With `local`, requests must name this machine as their host. A page of a site whose name is made to stand for the
    /// loopback address names that site, in `Host` and `Origin` alike.
    #[must_use]
    pub fn for_this_machine(mut self, local: bool) -> Self {
        self.local = local;
        self
    }

    /// Answers one request. Cancel safe for reads; a write that is dropped may have happened.
    pub async fn handle(&self, request: AdminRequest) -> AdminResponse {
        self.finish(self.answer(&request).await)
    }

    pub(super) fn finish(&self, answer: Result<AdminResponse, AdminError>) -> AdminResponse {
        let answer = answer.unwrap_or_else(|error| error.answer());
        if answer.headers.iter().any(|(name, _)| *name == VERSION_HEADER) {
            return answer;
        }
        answer.with(VERSION_HEADER, self.objects.version().to_string())
    }

    async fn answer(&self, request: &AdminRequest) -> Result<AdminResponse, AdminError> {
        if request.is_foreign() || self.local && !request.is_for_this_machine() {
            return Err(AdminError::Foreign);
        }
        if request.body.len() > BODY_BYTES_MAX {
            return Err(AdminError::BodyTooLarge(BODY_BYTES_MAX));
        }
        let route = route(&request.method, &request.path).map_err(|no| match no {
            NoRoute::Unknown => AdminError::NoRoute,
            NoRoute::Method => AdminError::Method,
        })?;
        let yaml = request.wants_yaml();
        Ok(match route {
            Route::Apis => AdminResponse::value(&apis(), yaml),
            Route::Health => AdminResponse::empty(200),
            Route::About => AdminResponse::new(200, Some(TEXT), concat!("Tidegate ", env!("CARGO_PKG_VERSION"), "\n")),
            Route::Kinds => AdminResponse::value(&self.plane.kinds(), yaml),
            Route::Resources => AdminResponse::value(&self.resources(), yaml),
            Route::Filters => AdminResponse::value(&self.plane.filters(), yaml),
            Route::ListObjects => self.list(request, yaml).await?,
            Route::CreateObject => self.create(request).await?,
            Route::GetObject(name) => self.get(&name, request, yaml).await?,
            Route::PutObject(name) => self.update(&name, request).await?,
            Route::DeleteObject(name) => self.delete(&name, request).await?,
            Route::DeleteObjects => self.delete_all(request).await?,
            Route::ListStatus => AdminResponse::value(&self.statuses(None), yaml),
            Route::GetStatus(name) => {
                let found = self.statuses(Some(&name));
                if found.is_empty() {
                    return Err(AdminError::Change { name, error: NOT_FOUND });
                }
                AdminResponse::value(&found, yaml)
            }
            Route::Metrics => self.reports.metrics(),
            Route::Memory => self.reports.memory(),
            Route::Missing => {
                return Err(AdminError::Missing { method: request.method.clone(), path: request.path.clone() });
            }
        })
    }

    async fn list(&self, request: &AdminRequest, yaml: bool) -> Result<AdminResponse, AdminError> {
        let (namespace, all) = (request.parameter("namespace"), request.flag("all-namespaces"));
        let known = |namespace: &str| matches!(namespace, "" | "default");
        match namespace {
            Some(_) if all => Err(AdminError::Query("namespace and all-namespaces exclude each other")),
            Some(namespace) if !known(&namespace) => Ok(AdminResponse::value(&json!([]), yaml)),
            _ => List::open(self.store.clone(), self.budget.clone(), yaml, all).await,
        }
    }

    /// What the objects of this node are at, under the keys that clients of the reference look for.
    fn statuses(&self, only: Option<&str>) -> Map<String, Value> {
        let statuses = self.objects.statuses();
        let wanted = statuses.iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
        let now = clock::wall().as_secs();
        wanted.map(|(name, status)| (self.status_key(name), status_value(status, now))).collect()
    }

    fn status_key(&self, name: &str) -> String {
        format!("eg-traffic-default/{name}/{}", self.member)
    }

    fn resources(&self) -> Vec<BTreeMap<&'static str, Value>> {
        let kinds = self.plane.kinds();
        let row = |kind: &'static str| {
            let (category, name, aliases): (_, _, &[&str]) = match kind {
                "GlobalFilter" => ("BusinessController", "globalfilter", &["globalfilters"]),
                "HTTPServer" => ("TrafficGate", "httpserver", &["httpservers", "hs"]),
                "Pipeline" => ("Pipeline", "pipeline", &["pipelines", "pl"]),
                other => {
                    return BTreeMap::from([
                        ("Category", json!("BusinessController")),
                        ("Kind", json!(other)),
                        ("Name", json!(other.to_ascii_lowercase())),
                        ("Aliases", json!([])),
                    ]);
                }
            };
            BTreeMap::from([
                ("Category", json!(category)),
                ("Kind", json!(kind)),
                ("Name", json!(name)),
                ("Aliases", json!(aliases)),
            ])
        };
        kinds.into_iter().filter(|kind| !SYSTEM_KINDS.contains(kind)).map(row).collect()
    }
}

pub(super) const VERSION_HEADER: &str = "X-Config-Version";
const NOT_FOUND: crate::objects::ChangeError = crate::objects::ChangeError::Refused(crate::objects::Refusal::NotFound);

fn status_value(status: &ObjectStatus, now: u64) -> Value {
    let mut told = json!({"health": status.error.as_deref().unwrap_or_default()});
    if !status.warnings.is_empty() {
        told["warnings"] = json!(status.warnings);
    }
    json!({"status": told, "timestamp": now})
}

fn apis() -> Value {
    let mut groups: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (group, method, path) in APIS {
        groups.entry(group).or_default().push(json!({"path": path, "method": method}));
    }
    groups.into_iter().map(|(group, entries)| json!({"Group": group, "Entries": entries})).collect()
}
