//! What the admin API passes on of the process.

use std::{
    path::PathBuf,
    sync::{PoisonError, RwLock},
};

use tidegate_base::Budget;
use tidegate_gateway::admin::{AdminResponse, Body, Reports};
use tidegate_member::Handle;
use tidegate_rocks::RocksEngine;
use tracing::level_filters::LevelFilter;

use super::logs::LogLines;
use crate::logging;

/// Of the member, until it stops, and of the log.
pub(super) struct NodeReports {
    member: RwLock<Option<Handle<RocksEngine>>>,
    log: Option<PathBuf>,
    budget: Budget,
}

impl NodeReports {
    /// `log`: the file of the log, where it has one.
    pub(super) fn new(member: Handle<RocksEngine>, log: Option<PathBuf>, budget: Budget) -> Self {
        Self { member: RwLock::new(Some(member)), log, budget }
    }

    pub(super) fn stop(&self) {
        self.member.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn ask(&self, content_type: &'static str, make: impl Fn(&Handle<RocksEngine>) -> String) -> AdminResponse {
        match &*self.member.read().unwrap_or_else(PoisonError::into_inner) {
            Some(member) => AdminResponse::new(200, Some(content_type), make(member)),
            None => AdminResponse::new(503, None, "the node stops\n"),
        }
    }
}

impl Reports for NodeReports {
    fn metrics(&self) -> AdminResponse {
        self.ask("text/plain; version=0.0.4; charset=utf-8", Handle::metrics)
    }

    fn memory(&self) -> AdminResponse {
        self.ask("application/json", |member| member.memory().to_json().to_string())
    }

    fn logs(&self, tail: Option<u64>, follow: bool) -> Option<AdminResponse> {
        let Some(lines) = LogLines::start(self.log.clone()?, &self.budget, tail, follow) else {
            return Some(AdminResponse::new(503, None, "too many read the log already\n"));
        };
        let mut answer = AdminResponse::new(200, Some("text/plain; charset=utf-8"), "");
        answer.body = Body::Chunks(Box::new(lines));
        Some(answer)
    }

    fn level(&self) -> Option<&'static str> {
        Some(if logging::level() == LevelFilter::DEBUG { "debug" } else { "info" })
    }

    fn set_debug(&self, debug: bool) -> bool {
        logging::set_level(if debug { LevelFilter::DEBUG } else { LevelFilter::INFO });
        true
    }
}
