//! What the client port answers over HTTP: health, version, metrics, and where the memory is.

use std::rc::Rc;

use tidegate_api::{Error, pb::etcdserverpb::AlarmType};
use tidegate_engine::Engine;
use tidegate_http::{
    h1::{Handler, Request},
    message::{Method, Response},
};

use crate::{
    local::Local,
    version::{STORAGE_VERSION, VERSION},
};

/// Text of an answer that is not JSON.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers the paths of etcd's client port that are no gRPC, and `/debug/memory`.
pub struct Endpoints<E: Engine> {
    local: Rc<Local<E>>,
}

impl<E: Engine> Clone for Endpoints<E> {
    fn clone(&self) -> Self {
        Self { local: Rc::clone(&self.local) }
    }
}

/// One check of `/livez` and `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }
}

const LIVE: &[Check] = &[Check::SerializableRead];
const READY: &[Check] = &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

/// Whether there is a path for `check`; without a name it is that of all.
fn exists(checks: &[Check], check: &str) -> bool {
    check.is_empty() || checks.iter().any(|one| one.name() == check)
}

impl<E: Engine> Handler for Endpoints<E> {
    async fn handle(&self, request: Request<'_>) -> Response {
        let (path, query) = (request.path().into_owned(), request.query().into_owned());
        let local_peer = request.peer().is_none_or(|peer| peer.ip().is_loopback());
        let check = match path.split_once('/').map(|(_, rest)| rest.split_once('/').unwrap_or((rest, ""))) {
            Some(("livez", check)) if exists(LIVE, check) => Some((LIVE, check)),
            Some(("readyz", check)) if exists(READY, check) => Some((READY, check)),
            _ => None,
        };
        // As the real one: metrics are told whatever the method, and nothing else but to GET.
        if request.method() != Method::Get && (check.is_some() || matches!(&*path, "/version" | "/health")) {
            return Response::text(405, "Method Not Allowed\n").with_header("allow", "GET");
        }
        match path.as_str() {
            "/version" => {
                let body = format!(
                    "{{\"etcdserver\":\"{VERSION}\",\"etcdcluster\":\"{STORAGE_VERSION}\",\"storage\":\"{STORAGE_VERSION}\"}}"
                );
                Response::json(200, body)
            }
            "/health" => self.health(&query).await,
            "/metrics" => Response::full(200, METRICS_TYPE, crate::metrics::text(&self.local.shared)),
            "/debug/memory" if local_peer => Response::json(200, self.local.shared.memory().to_json().to_string()),
            "/debug/memory" => Response::text(403, "asked from loopback only\n"),
            _ => match check {
                Some((checks, only)) => self.checks(checks, only, &query).await,
                None => Response::text(404, "404 page not found\n"),
            },
        }
    }
}

impl<E: Engine> Endpoints<E> {
    pub(crate) fn new(local: Rc<Local<E>>) -> Self {
        Self { local }
    }

    async fn health(&self, query: &str) -> Response {
        let answer = |reason: &str| {
            let health = reason.is_empty();
            let body = format!("{{\"health\":\"{health}\",\"reason\":\"{reason}\"}}");
            Response::json(if health { 200 } else { 503 }, body)
        };
        let excluded: Vec<&str> = values(query, "exclude").collect();
        let serializable = values(query, "serializable").any(|value| value == "true");
        let reader = self.local.shared.reader.clone();
        let alarms = match self.local.work(move || reader.alarms()).await {
            Ok(Ok(alarms)) => alarms,
            Ok(Err(error)) => return answer(&format!("RANGE ERROR:{error}")),
            Err(error) => return answer(&format!("RANGE ERROR:{error}")),
        };
        for alarm in alarms {
            let name = match alarm.alarm() {
                AlarmType::Nospace => "NOSPACE",
                AlarmType::Corrupt => "CORRUPT",
                AlarmType::None => "UNKNOWN",
            };
            if !excluded.contains(&name) {
                return answer(&format!("ALARM {name}"));
            }
        }
        if !serializable && self.local.shared.consensus.leader() == 0 {
            return answer("RAFT NO LEADER");
        }
        match self.read(!serializable).await {
            Ok(()) => answer(""),
            Err(error) => answer(&format!("RANGE ERROR:{error}")),
        }
    }

    /// Reads one key, as a client would.
    async fn read(&self, linearizable: bool) -> Result<(), Error> {
        if linearizable {
            self.local.read_barrier().await?;
        }
        let reader = self.local.shared.reader.clone();
        let read = move || {
            let bound = tidegate_kv::Bound::at(reader.visible());
            reader.find(b"\0", bound, tidegate_engine::Tier::All).map(|_| ())
        };
        self.local.work(read).await?.map_err(|error| Error::other(tidegate_api::Code::Unavailable, error.to_string()))
    }

    async fn checks(&self, checks: &[Check], only: &str, query: &str) -> Response {
        let excluded: Vec<&str> = values(query, "exclude").collect();
        let verbose = values(query, "verbose").next().is_some();
        let chosen: Vec<Check> = checks
            .iter()
            .copied()
            .filter(|check| only.is_empty() || check.name() == only)
            .filter(|check| !excluded.contains(&check.name()))
            .collect();
        let (mut lines, mut failed) = (String::new(), false);
        for check in chosen {
            let result = match check {
                Check::DataCorruption | Check::NonLearner => self.state_check().await,
                Check::SerializableRead => self.read(false).await,
                Check::LinearizableRead => self.read(true).await,
            };
            match result {
                Ok(()) => lines.push_str(&format!("[+]{} ok\n", check.name())),
                Err(error) => {
                    failed = true;
                    lines.push_str(&format!("[-]{} failed: {error}\n", check.name()));
                }
            }
        }
        match (failed, verbose) {
            (true, _) => Response::text(503, lines),
            (false, true) => Response::text(200, lines + "ok\n"),
            (false, false) => Response::text(200, "ok\n"),
        }
    }

    /// A member alone is a voter; what is left to fail is a CORRUPT alarm.
    async fn state_check(&self) -> Result<(), Error> {
        let reader = self.local.shared.reader.clone();
        let unreadable =
            |error: tidegate_kv::ReadError| Error::other(tidegate_api::Code::Unavailable, error.to_string());
        let alarms = self.local.work(move || reader.alarms()).await?.map_err(unreadable)?;
        if alarms.iter().any(|alarm| alarm.alarm() == AlarmType::Corrupt) {
            return Err(Error::other(tidegate_api::Code::DataLoss, "alarm activated: CORRUPT"));
        }
        Ok(())
    }
}

/// Values of a query's key, in order. A key without `=` has an empty value.
fn values<'a>(query: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    query.split('&').filter_map(move |part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (name == key).then_some(value)
    })
}
