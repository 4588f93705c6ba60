//! Routes to answers.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use serde_json::{Value, json};
use tidegate_base::{Budget, ByteSize};

use super::{
    AdminRequest, AdminResponse,
    access::Access,
    audit::Call,
    error::AdminError,
    list::{List, What},
    members::Node,
    request::BODY_BYTES_MAX,
    route::{ENTRIES, NoRoute, Route, route},
    worker::Worker,
};
use crate::objects::{Handle, OBJECTS_PREFIX, Plane, SYSTEM_KINDS, Store};

/// Reports of the process that the API only passes on. Each is made when it is asked for.
pub trait Reports: Send + Sync + 'static {
    /// Metrics in the text format of Prometheus.
    fn metrics(&self) -> AdminResponse;
    /// The account of memory, as JSON.
    fn memory(&self) -> AdminResponse;
    /// The last `tail` lines of the log, all of them for `None`, and with `follow` those that come. `None`: there is no file.
    fn logs(&self, _tail: Option<u64>, _follow: bool) -> Option<AdminResponse> {
        None
    }
    /// `debug` or `info`; `None` when the log cannot tell.
    fn level(&self) -> Option<&'static str> {
        None
    }
    /// Has the log say more, or less; `false` when it cannot.
    fn set_debug(&self, _debug: bool) -> bool {
        false
    }
}

/// The admin API of one node. Handles any number of requests at a time.
pub struct Admin {
    pub(super) store: Store,
    pub(super) plane: Arc<dyn Plane>,
    pub(super) objects: Handle,
    pub(super) budget: Budget,
    pub(super) limit: ByteSize,
    pub(super) node: Node,
    pub(super) reports: Arc<dyn Reports>,
    /// Reads and checks what clients send.
    pub(super) worker: Worker,
    access: Access,
    local: bool,
}

pub(super) const VERSION_HEADER: &str = "X-Config-Version";
/// Methods and headers that pages of allowed origins may use, and how long they may remember that, in seconds.
const CORS: [(&str, &str); 4] = [
    ("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS"),
    ("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type"),
    ("Access-Control-Expose-Headers", "X-Config-Version, Warning"),
    ("Access-Control-Max-Age", "300"),
];

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
        let (node, access, worker) = (Node::named(&member), Access::open(), Worker::start());
        Self { store, plane, objects, budget, limit, node, reports, worker, access, local: false }
    }

    /// With `local`, requests must name this machine as their host. A page of a site whose name is made to stand for the
    /// loopback address names that site, in `Host` and `Origin` alike.
    #[must_use]
    pub fn for_this_machine(mut self, local: bool) -> Self {
        self.local = local;
        self
    }

    /// Asks every client for a credential, where `access` has some.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// What the list of members tells of this node.
    #[must_use]
    pub fn with_node(mut self, node: Node) -> Self {
        self.node = node;
        self
    }

    /// Answers one request. Cancel safe for reads; a write that is dropped may have happened.
    pub async fn handle(&self, request: AdminRequest) -> AdminResponse {
        if let Some(answer) = self.preflight(&request) {
            return self.finish(&request, Ok(answer));
        }
        let answer = match self.who(&request) {
            Ok(who) => {
                // A bug must not take the connection with it, and clients get an answer that says so.
                let answer = AssertUnwindSafe(self.answer(&Call { request: &request, who })).catch_unwind().await;
                answer.unwrap_or(Err(AdminError::Panicked))
            }
            Err(error) => Err(error),
        };
        self.finish(&request, answer)
    }

    /// Answers a request of the process's own, which asks for no credential; `who` is named in the history and the audit log.
    pub async fn handle_own(&self, request: AdminRequest, who: &str) -> AdminResponse {
        let answer = self.answer(&Call { request: &request, who: who.to_owned() }).await;
        self.finish(&request, answer)
    }

    /// Refuses who may not ask, before the body is read.
    pub(super) fn admit(&self, request: &AdminRequest) -> Result<(), AdminResponse> {
        if self.preflight(request).is_some() {
            return Ok(());
        }
        self.who(request).map(drop).map_err(|error| self.finish(request, Err(error)))
    }

    fn who(&self, request: &AdminRequest) -> Result<String, AdminError> {
        let foreign = request.is_foreign() && !self.access.allows_origin(&request.origin);
        if foreign || self.local && !request.is_for_this_machine() {
            return Err(AdminError::Foreign);
        }
        if route(&request.method, &request.path) == Ok(Route::Health) {
            return Ok(String::new());
        }
        self.access.who(request).ok_or_else(|| AdminError::Unauthorized(self.access.challenges()))
    }

    /// What a browser asks before it sends a page's request. It never has a credential.
    fn preflight(&self, request: &AdminRequest) -> Option<AdminResponse> {
        let asks = request.method == "OPTIONS" && self.access.allows_origin(&request.origin);
        (asks && route("GET", &request.path) != Err(NoRoute::Unknown)).then(|| AdminResponse::empty(200))
    }

    pub(super) fn finish(&self, request: &AdminRequest, answer: Result<AdminResponse, AdminError>) -> AdminResponse {
        let mut answer = answer.unwrap_or_else(|error| error.answer());
        if !answer.headers.iter().any(|(name, _)| *name == VERSION_HEADER) {
            answer = answer.with(VERSION_HEADER, self.objects.version().to_string());
        }
        if !self.access.allows_origin(&request.origin) {
            return answer;
        }
        answer.headers.push(("Access-Control-Allow-Origin", request.origin.clone()));
        answer.headers.push(("Vary", "Origin".to_owned()));
        answer.headers.extend(CORS.map(|(name, value)| (name, value.to_owned())));
        answer
    }

    /// Every kind, sorted: those that the plane builds, and those that run by themselves.
    pub(super) fn kinds(&self) -> Vec<&'static str> {
        let mut kinds = self.plane.kinds();
        kinds.extend(SYSTEM_KINDS);
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    async fn answer(&self, call: &Call<'_>) -> Result<AdminResponse, AdminError> {
        let request = call.request;
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
            Route::About => AdminResponse::text(concat!("Tidegate ", env!("CARGO_PKG_VERSION"), "\n")),
            Route::Metrics => self.metrics(),
            Route::Memory => self.reports.memory(),
            Route::Kinds => AdminResponse::value(&self.kinds(), yaml),
            Route::Resources => AdminResponse::value(&self.resources(), yaml),
            Route::ListObjects => self.list(request, yaml).await?,
            Route::CreateObject => self.create(call).await?,
            Route::DeleteObjects => self.delete_all(call).await?,
            Route::GetObject(name) => self.get(&name, request, yaml).await?,
            Route::PutObject(name) => self.update(&name, call).await?,
            Route::DeleteObject(name) => self.delete(&name, call).await?,
            Route::Versions(name) => self.versions(&name, yaml).await?,
            Route::Version(name, version) => self.version(&name, &version, yaml).await?,
            Route::Rollback(name) => self.rollback(&name, call).await?,
            Route::Template(kind, name) => self.template(&kind, &name)?,
            Route::ListStatus => self.statuses(None, yaml)?,
            Route::GetStatus(name) if in_default(request) => self.statuses(Some(&name), yaml)?,
            Route::GetStatus(name) => return Err(AdminError::NotFound(format!("the object {name} does not exist"))),
            Route::Members => self.members(yaml),
            Route::PurgeMember(member) => self.purge(&member)?,
            Route::Filters => AdminResponse::value(&self.plane.filters(), yaml),
            Route::FilterDescription(kind) => AdminResponse::text(self.filter(&kind)?.description),
            Route::FilterSchema(kind) => AdminResponse::value(&self.filter(&kind)?.schema, yaml),
            Route::FilterResults(kind) => AdminResponse::value(&self.filter(&kind)?.results, yaml),
            Route::ListKinds => self.list_kinds(yaml).await?,
            Route::PostKind => self.put_kind(call, true).await?,
            Route::PutKind => self.put_kind(call, false).await?,
            Route::DeleteKinds => self.delete_kinds(call).await?,
            Route::GetKind(kind) => self.get_kind(&kind, yaml).await?,
            Route::DeleteKind(kind) => self.delete_kind(&kind, call).await?,
            Route::ListItems(kind) => self.list_items(&kind, yaml).await?,
            Route::PostItem(kind) => self.put_item(&kind, call, true).await?,
            Route::PutItem(kind) => self.put_item(&kind, call, false).await?,
            Route::Batch(kind) => self.batch(&kind, call).await?,
            Route::DeleteItems(kind) => self.delete_items(&kind, call).await?,
            Route::GetItem(kind, id) => self.get_item(&kind, &id, yaml).await?,
            Route::DeleteItem(kind, id) => self.delete_item(&kind, &id, call).await?,
            Route::Profile => AdminResponse::value(&json!({"cpuPath": "", "memoryPath": ""}), yaml),
            Route::StartCpu => return Err(missing("there is no CPU profile: use perf on the process")),
            Route::StartMemory => {
                return Err(missing("there is no profile of memory: GET /debug/memory tells who holds it"));
            }
            Route::StopProfile => AdminResponse::empty(200),
            Route::Logs => self.logs(request)?,
            Route::Level => {
                let level = self.reports.level().ok_or_else(|| missing("the level of the log is not known"))?;
                AdminResponse::text(level)
            }
            Route::SetLevel(level) => self.set_level(&level, call)?,
        })
    }

    async fn list(&self, request: &AdminRequest, yaml: bool) -> Result<AdminResponse, AdminError> {
        let all = request.flag("all-namespaces");
        if all && request.parameter("namespace").is_some() {
            return Err(AdminError::Query("namespace and all-namespaces exclude each other"));
        }
        if !in_default(request) {
            return Ok(AdminResponse::value(&json!([]), yaml));
        }
        let what = if all { What::Namespaces } else { What::Objects };
        List::open(self.store.clone(), self.budget.clone(), OBJECTS_PREFIX.to_owned(), what, yaml).await
    }

    fn filter(&self, kind: &str) -> Result<crate::objects::FilterInfo, AdminError> {
        self.plane.filter(kind).ok_or_else(|| AdminError::NotFound(format!("{kind} is not a kind of filters")))
    }

    fn logs(&self, request: &AdminRequest) -> Result<AdminResponse, AdminError> {
        let follow = match request.parameter("follow").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(AdminError::Failed("follow must be true or false".to_owned())),
        };
        let tail = match request.parameter("tail").map(|tail| tail.parse::<i64>()) {
            None => Some(500),
            Some(Ok(-1)) => None,
            Some(Ok(lines)) if lines >= 0 => Some(lines.unsigned_abs()),
            Some(_) => return Err(AdminError::Failed("tail must be a number of lines, or -1 for all".to_owned())),
        };
        let none = || AdminError::Failed("the log is not written to a file of this process".to_owned());
        self.reports.logs(tail, follow).ok_or_else(none)
    }

    fn set_level(&self, level: &str, call: &Call<'_>) -> Result<AdminResponse, AdminError> {
        let debug = match level {
            "debug" => true,
            "info" => false,
            _ => return Err(AdminError::Query("the level must be debug or info")),
        };
        if !self.reports.set_debug(debug) {
            return Err(missing("the level of the log cannot be changed while the process runs"));
        }
        call.done(super::audit::Subject { object: "log level", kind: level }, 0);
        Ok(AdminResponse::text(format!("the level of the log is {level}\n")))
    }
}

/// Users' objects are in one namespace; no other has any yet.
pub(super) fn in_default(request: &AdminRequest) -> bool {
    request.parameter("namespace").is_none_or(|namespace| matches!(&*namespace, "" | "default"))
}

/// Whether objects of this kind stand in the namespace of the traffic.
pub(super) fn is_traffic(kind: &str) -> bool {
    matches!(kind, "HTTPServer" | "Pipeline")
}

fn missing(told: &str) -> AdminError {
    AdminError::Missing(told.to_owned())
}

fn apis() -> Value {
    let mut groups: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for entry in ENTRIES {
        groups.entry(entry.group).or_default().push(json!({"path": entry.path, "method": entry.method}));
    }
    groups.into_iter().map(|(group, entries)| json!({"Group": group, "Entries": entries})).collect()
}
