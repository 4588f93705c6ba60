//! A spec, read and checked: what would be stored, and what is wrong with it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tidegate_base::{Budget, ByteSize, Holder, Lease, clock};

use super::{AdminRequest, AdminResponse, error::AdminError, objects::STORED_LIMIT, service::Admin};
use crate::objects::{
    Meter, OBJECT_BYTES, Plane, Problem, ReadError, Review, SYSTEM_KINDS, Spec, building, built_bytes, read_json,
    read_text, system_review,
};

/// Most that one body may take while it is read.
pub(super) const READ_LIMIT: ByteSize = ByteSize::mib(12);

pub(super) struct Checked {
    pub(super) kind: String,
    pub(super) name: String,
    /// The form in which it is stored; empty for a deletion.
    pub(super) text: Bytes,
    /// What it takes on a node that runs it.
    pub(super) bytes: u64,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    /// Pays for the text until it is stored.
    _lease: Option<Lease>,
}

impl Checked {
    /// Reads and checks a body. What has no name or kind is an error at once: nothing else can be said about it.
    pub(super) async fn read(admin: &Admin, request: &AdminRequest) -> Result<Self, AdminError> {
        let says_json = request.says_json();
        let read = move |text: &[u8], meter: &mut Meter| read_text(text, says_json, meter);
        Self::on_worker(admin, request.body.clone(), READ_LIMIT, read).await
    }

    /// As [`Checked::read`], of what was stored once.
    pub(super) async fn of_text(admin: &Admin, text: Bytes) -> Result<Self, AdminError> {
        Self::on_worker(admin, text, STORED_LIMIT, read_json).await
    }

    async fn on_worker(
        admin: &Admin,
        text: Bytes,
        limit: ByteSize,
        read: impl FnOnce(&[u8], &mut Meter) -> Result<Value, ReadError> + Send + 'static,
    ) -> Result<Self, AdminError> {
        let (budget, plane) = (admin.budget.clone(), Arc::clone(&admin.plane));
        let lease = budget.try_lease(Holder::Gateway, text.len() as u64);
        let lease = lease.ok_or(AdminError::Unreadable(ReadError::NoRoom))?;
        let job = move || {
            let _lease = lease;
            let mut meter = Meter::new(&budget, limit);
            let value = read(&text, &mut meter).map_err(AdminError::Unreadable)?;
            Self::new(&*plane, &budget, value, &meter)
        };
        admin.worker.run(job).await?
    }

    pub(super) fn gone(name: &str) -> Self {
        Self {
            kind: String::new(),
            name: name.to_owned(),
            text: Bytes::new(),
            bytes: 0,
            problems: Vec::new(),
            warnings: Vec::new(),
            _lease: None,
        }
    }

    fn new(plane: &dyn Plane, budget: &Budget, value: Value, meter: &Meter) -> Result<Self, AdminError> {
        let mut spec = Spec::new(value).map_err(AdminError::Invalid)?;
        let no_room = || AdminError::Unreadable(ReadError::NoRoom);
        let _building = building(meter, budget).ok_or_else(no_room)?;
        let review = match spec.kind() {
            kind if SYSTEM_KINDS.contains(&kind) => system_review(kind, spec.body()),
            kind if plane.kinds().contains(&kind) => plane.review(kind, spec.body()),
            kind => {
                let problem = Problem::new("kind", format!("{kind} is not a kind that this version has"));
                Review { problems: vec![problem], ..Review::default() }
            }
        };
        let Review { problems, warnings, stored } = review;
        spec.set_body(stored);
        spec.stamp(clock::wall());
        let text = if problems.is_empty() { Bytes::from(spec.to_json()) } else { Bytes::new() };
        // Aliases, merges and defaults make the stored form longer than the body was.
        if text.len() > super::BODY_BYTES_MAX {
            return Err(AdminError::BodyTooLarge(super::BODY_BYTES_MAX));
        }
        let lease = budget.try_lease(Holder::Gateway, text.len() as u64).ok_or_else(no_room)?;
        // The old one stays until the new one is built, so an update needs room for both.
        let bytes = text.len() as u64 + OBJECT_BYTES + built_bytes(meter, &text);
        let (name, kind) = (spec.name().to_owned(), spec.kind().to_owned());
        Ok(Self { kind, name, text, bytes, problems, warnings, _lease: Some(lease) })
    }

    pub(super) fn removes(&self) -> bool {
        self.kind.is_empty()
    }

    pub(super) fn invalid(&self) -> Option<AdminError> {
        (!self.problems.is_empty()).then(|| AdminError::Invalid(self.problems.clone()))
    }

    /// All that is wrong and all that has no effect, with the status that the change would have been refused with.
    pub(super) fn dry_run(&self, action: &str, refusals: &[AdminError], yaml: bool) -> AdminResponse {
        let mut problems: Vec<Value> = Vec::new();
        for refusal in refusals {
            match refusal {
                AdminError::Invalid(list) => {
                    let told = |problem: &Problem| json!({"field": problem.field, "message": problem.message});
                    problems.extend(list.iter().map(told));
                }
                other => problems.push(json!({"field": "", "message": other.message()})),
            }
        }
        let mut told = Map::new();
        if let Some(first) = refusals.first() {
            told.insert("code".to_owned(), first.status().into());
            told.insert("message".to_owned(), first.message().into());
        }
        told.insert("dryRun".to_owned(), true.into());
        told.insert("action".to_owned(), action.into());
        told.insert("name".to_owned(), self.name.as_str().into());
        if !self.removes() {
            told.insert("kind".to_owned(), self.kind.as_str().into());
        }
        told.insert("problems".to_owned(), problems.into());
        told.insert("warnings".to_owned(), json!(self.warnings));
        let answer = AdminResponse::value(&told, yaml);
        AdminResponse { status: refusals.first().map_or(200, AdminError::status), ..answer }
    }
}
