//! Status of the objects of this node, written in pieces: it holds each spec, and so is as large as the configuration.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_api::{BoxFuture, Error};
use tidegate_base::{Budget, Holder, clock};

use super::{
    AdminResponse, Body, Chunk, Chunks,
    answer::{JSON, YAML},
    service::{Admin, is_traffic},
};
use crate::objects::{Meter, ObjectStatus, Plane, ReadError, SYSTEM_KINDS, Texts, read_json};

/// A piece ends after the object that fills it.
const PIECE_BYTES: usize = 64 << 10;
/// Counted for an object beside its texts.
const ENTRY_BYTES: usize = 512;

pub(super) struct StatusList {
    names: VecDeque<String>,
    statuses: Arc<std::collections::BTreeMap<String, ObjectStatus>>,
    texts: Arc<Texts>,
    plane: Arc<dyn Plane>,
    budget: Budget,
    member: String,
    now: u64,
    yaml: bool,
    first: bool,
    ended: bool,
}

impl StatusList {
    pub(super) fn new(admin: &Admin, only: Option<&str>) -> Self {
        let (statuses, texts) = admin.objects.objects();
        // The controller of traffic has no status of its own in the reference.
        let system = SYSTEM_KINDS.iter().filter(|kind| **kind != "TrafficController").map(|kind| (*kind).to_owned());
        let mut keys: Vec<(String, String)> = statuses
            .keys()
            .cloned()
            .chain(system.filter(|kind| !statuses.contains_key(kind)))
            .filter(|name| name != "TrafficController" && only.is_none_or(|only| only == name))
            .map(|name| (namespace(&name, &statuses).to_owned(), name))
            .collect();
        keys.sort_unstable();
        let names = keys.into_iter().map(|(_, name)| name).collect();
        let (budget, member) = (admin.budget.clone(), admin.node.options.name.clone());
        let now = clock::wall().as_secs();
        let plane = Arc::clone(&admin.plane);
        Self { names, statuses, texts, plane, budget, member, now, yaml: false, first: true, ended: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn answer(mut self, yaml: bool) -> AdminResponse {
        self.yaml = yaml;
        AdminResponse {
            status: 200,
            content_type: Some(if yaml { YAML } else { JSON }),
            headers: Vec::new(),
            body: Body::Chunks(Box::new(self)),
        }
    }

    fn piece(&mut self) -> Result<Option<Chunk>, Error> {
        if self.ended {
            return Ok(None);
        }
        let mut lease = self.budget.empty(Holder::Gateway);
        let mut out = String::new();
        while out.len() < PIECE_BYTES {
            let Some(name) = self.names.pop_front() else { break };
            let text = self.texts.get(&name).map_or(0, Bytes::len);
            // As YAML it may be longer; the rest is added below.
            if !lease.try_grow((text + name.len() + ENTRY_BYTES) as u64) {
                return Err(Error::TooManyRequests);
            }
            self.put(&mut out, &name)?;
        }
        if self.names.is_empty() {
            self.ended = true;
            out.push_str(match (self.yaml, self.first) {
                (false, true) => "{}",
                (false, false) => "}",
                (true, true) => "{}\n",
                (true, false) => "",
            });
        }
        let missing = (out.capacity() as u64).saturating_sub(lease.bytes());
        if missing > 0 && !lease.try_grow(missing) {
            return Err(Error::TooManyRequests);
        }
        Ok(Some(Chunk { bytes: Bytes::from(out), lease: Some(lease) }))
    }

    fn put(&mut self, out: &mut String, name: &str) -> Result<(), Error> {
        // What is not in the list is one that is always there.
        let system = || ObjectStatus { kind: name.to_owned(), ..ObjectStatus::default() };
        let status = self.statuses.get(name).cloned().unwrap_or_else(system);
        let key = format!("{}/{name}/{}", namespace(name, &self.statuses), self.member);
        let mut told = told(name, &status);
        if let Some(told) = told.as_object_mut() {
            told.extend(self.plane.numbers(name));
        }
        let first = std::mem::take(&mut self.first);
        let text = self.texts.get(name).filter(|_| is_traffic(&status.kind));
        // One spec that cannot be read must not make all of them unreadable.
        let mut meter = Meter::new(&self.budget, super::objects::STORED_LIMIT);
        let spec = match text.map(|text| read_json(text, &mut meter)) {
            Some(Err(ReadError::NoRoom)) => return Err(Error::TooManyRequests),
            Some(Ok(spec)) => Some(spec),
            Some(Err(ReadError::Syntax(_) | ReadError::TooLarge(..))) | None => None,
        };
        if self.yaml {
            let mut value = wrapped(told, spec, &status, self.now);
            value = json!({ key: value });
            let yaml = serde_yaml_ng::to_string(&value).map_err(Error::undecodable)?;
            out.push_str(&yaml);
            return Ok(());
        }
        out.push(if first { '{' } else { ',' });
        out.push_str(&Value::from(key).to_string());
        out.push(':');
        out.push_str(&wrapped(told, spec, &status, self.now).to_string());
        Ok(())
    }
}

/// Servers and pipelines stand in the namespace of the traffic, controllers in that of the system.
fn namespace(name: &str, statuses: &std::collections::BTreeMap<String, ObjectStatus>) -> &'static str {
    let kind = statuses.get(name).map_or(name, |status| status.kind.as_str());
    // What cannot be read is taken for traffic, as most of it is.
    if kind.is_empty() || is_traffic(kind) { "eg-traffic-default" } else { "default" }
}

fn told(name: &str, status: &ObjectStatus) -> Value {
    let error = status.error.as_deref().unwrap_or_default();
    let mut told = json!({});
    if status.kind == "HTTPServer" {
        told["name"] = name.into();
        told["state"] = if error.is_empty() { "running" } else { "failed" }.into();
    }
    told["health"] = error.into();
    if !status.warnings.is_empty() {
        told["warnings"] = json!(status.warnings);
    }
    told
}

/// Servers and pipelines are wrapped, with their spec; controllers stand for themselves.
fn wrapped(mut told: Value, spec: Option<Value>, status: &ObjectStatus, now: u64) -> Value {
    if !status.kind.is_empty() && !is_traffic(&status.kind) {
        told["timestamp"] = now.into();
        return told;
    }
    let mut out = serde_json::Map::new();
    out.extend(spec.map(|spec| ("spec".to_owned(), spec)));
    out.insert("status".to_owned(), told);
    out.insert("timestamp".to_owned(), now.into());
    Value::Object(out)
}

impl Chunks for StatusList {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Chunk, Error>>> {
        Box::pin(async move { self.piece().transpose() })
    }
}
