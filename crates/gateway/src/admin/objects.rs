//! Making, changing and removing objects.

use bytes::Bytes;
use tidegate_base::{ByteSize, Holder, clock};

use super::{
    AdminRequest, AdminResponse, Body, Chunk,
    answer::{JSON, YAML},
    error::AdminError,
    service::{Admin, VERSION_HEADER},
};
use crate::objects::{
    ChangeError, DEFAULT_OWNER, Meter, OBJECT_BYTES, Problem, ReadError, Refusal, SYSTEM_KINDS, Spec, Stored, building,
    built_bytes, read_json, read_text,
};

/// Most that one body may take while it is read.
const READ_LIMIT: ByteSize = ByteSize::mib(12);
/// A stored spec that is read only to be looked at or written differently.
const STORED_LIMIT: ByteSize = ByteSize::mib(24);
/// Warnings of one answer, and their length: they travel in headers.
const WARNINGS_MAX: usize = 16;
const WARNING_BYTES_MAX: usize = 200;

/// A spec that may be stored.
struct Checked {
    kind: String,
    name: String,
    text: Bytes,
    /// What it takes on a node that runs it.
    bytes: u64,
    warnings: Vec<String>,
}

impl Admin {
    pub(super) async fn create(&self, request: &AdminRequest) -> Result<AdminResponse, AdminError> {
        let checked = self.check(request, |spec| match SYSTEM_KINDS.contains(&spec.kind()) {
            true => Err(AdminError::SystemKind(spec.kind().to_owned())),
            false => Ok(()),
        })?;
        let decide = |stored: Option<&Stored>| match stored {
            Some(_) => Err(Refusal::Exists),
            None => Ok(Some(checked.text.clone())),
        };
        let created = if request.flag("dryRun") { 200 } else { 201 };
        self.change(request, "create", created, &checked, decide).await
    }

    pub(super) async fn update(&self, name: &str, request: &AdminRequest) -> Result<AdminResponse, AdminError> {
        let checked = self.check(request, |spec| match spec.name() == name {
            false => Err(AdminError::Mismatch(format!("the path names {name}, the spec {}", spec.name()))),
            true => Ok(()),
        })?;
        let decide = |stored: Option<&Stored>| {
            let old = self.owned(name, stored.ok_or(Refusal::NotFound)?)?;
            match old {
                Some(kind) if kind != checked.kind => {
                    Err(Refusal::Conflict(format!("{name} is a {kind} and cannot become a {}", checked.kind)))
                }
                _ => Ok(Some(checked.text.clone())),
            }
        };
        self.change(request, "update", 200, &checked, decide).await
    }

    pub(super) async fn delete(&self, name: &str, request: &AdminRequest) -> Result<AdminResponse, AdminError> {
        if SYSTEM_KINDS.contains(&name) {
            return Err(AdminError::Mismatch(format!("{name} runs by itself and cannot be deleted")));
        }
        let decide = |stored: Option<&Stored>| {
            self.owned(name, stored.ok_or(Refusal::NotFound)?)?;
            Ok(None)
        };
        let gone =
            Checked { kind: String::new(), name: name.to_owned(), text: Bytes::new(), bytes: 0, warnings: Vec::new() };
        self.change(request, "delete", 200, &gone, decide).await
    }

    pub(super) async fn delete_all(&self, request: &AdminRequest) -> Result<AdminResponse, AdminError> {
        if !request.flag("all") || request.flag("dryRun") {
            return Ok(AdminResponse::empty(200));
        }
        let changed = self.store.delete_all().await;
        let version = changed.map_err(|error| AdminError::Change { name: String::new(), error })?;
        tracing::info!(peer = request.peer, action = "delete all", version, "configuration changed");
        Ok(AdminResponse::empty(200).with(VERSION_HEADER, version.to_string()))
    }

    pub(super) async fn get(
        &self,
        name: &str,
        request: &AdminRequest,
        yaml: bool,
    ) -> Result<AdminResponse, AdminError> {
        let (version, stored) = self.store.get(name).await.map_err(AdminError::Store)?;
        let elsewhere = request.parameter("namespace").is_some_and(|namespace| !matches!(&*namespace, "" | "default"));
        let missing = || AdminError::Change { name: name.to_owned(), error: ChangeError::Refused(Refusal::NotFound) };
        let stored = stored.filter(|_| !elsewhere).ok_or_else(missing)?;
        let bytes = if yaml { self.yaml(&stored.text)? } else { stored.text };
        let lease = self.budget.try_lease(Holder::Gateway, bytes.len() as u64);
        let lease = Some(lease.ok_or(AdminError::Unreadable(ReadError::NoRoom))?);
        let body = Body::Whole(Chunk { bytes, lease });
        let content_type = Some(if yaml { YAML } else { JSON });
        Ok(AdminResponse { status: 200, content_type, headers: vec![(VERSION_HEADER, version.to_string())], body })
    }

    fn yaml(&self, text: &[u8]) -> Result<Bytes, AdminError> {
        let mut meter = Meter::new(&self.budget, STORED_LIMIT);
        let value = read_json(text, &mut meter).map_err(AdminError::Unreadable)?;
        let text = serde_yaml_ng::to_string(&value);
        text.map(Bytes::from).map_err(|error| AdminError::Unreadable(ReadError::Syntax(error.to_string())))
    }

    /// Reads and checks the body; `first` may refuse the spec before its kind looks at it.
    fn check(
        &self,
        request: &AdminRequest,
        first: impl FnOnce(&Spec) -> Result<(), AdminError>,
    ) -> Result<Checked, AdminError> {
        let mut meter = Meter::new(&self.budget, READ_LIMIT);
        let value = read_text(&request.body, request.says_json(), &mut meter).map_err(AdminError::Unreadable)?;
        let mut spec = Spec::new(value).map_err(AdminError::Invalid)?;
        first(&spec)?;
        if !self.plane.kinds().contains(&spec.kind()) {
            let told = format!("{} is not a kind that this version has", spec.kind());
            return Err(AdminError::Invalid(vec![Problem::new("kind", told)]));
        }
        let _building = building(&meter, &self.budget).ok_or(AdminError::Unreadable(ReadError::NoRoom))?;
        let warnings = self.plane.validate(spec.kind(), spec.body()).map_err(AdminError::Invalid)?;
        spec.stamp(clock::wall());
        let text = Bytes::from(spec.to_json());
        // Aliases and merges make the stored form longer than the body was.
        if text.len() > super::BODY_BYTES_MAX {
            return Err(AdminError::BodyTooLarge(super::BODY_BYTES_MAX));
        }
        // The old one stays until the new one is built, so an update needs room for both.
        let bytes = text.len() as u64 + OBJECT_BYTES + built_bytes(&meter, &text);
        Ok(Checked { kind: spec.kind().to_owned(), name: spec.name().to_owned(), text, bytes, warnings })
    }

    /// Kind of a stored object that users may change; `None` when it cannot be read, so that it can be repaired.
    fn owned(&self, name: &str, stored: &Stored) -> Result<Option<String>, Refusal> {
        let mut meter = Meter::new(&self.budget, STORED_LIMIT);
        let spec = match read_json(&stored.text, &mut meter) {
            Ok(value) => Spec::new(value).ok(),
            // Nobody's, so that it can be repaired.
            Err(ReadError::Syntax(_) | ReadError::TooLarge(..)) => None,
            // Who may change it is not known: nobody, for the moment.
            Err(ReadError::NoRoom) => return Err(Refusal::NoRoom),
        };
        let Some(spec) = spec else { return Ok(None) };
        match spec.owner() {
            DEFAULT_OWNER => Ok(Some(spec.kind().to_owned())),
            owner => Err(Refusal::Conflict(format!("{name} belongs to {owner} and changes with it only"))),
        }
    }

    async fn change(
        &self,
        request: &AdminRequest,
        action: &'static str,
        status: u16,
        checked: &Checked,
        mut decide: impl FnMut(Option<&Stored>) -> Result<Option<Bytes>, Refusal> + Send,
    ) -> Result<AdminResponse, AdminError> {
        let name = || checked.name.clone();
        let removes = checked.text.is_empty();
        let room = if removes { None } else { self.objects.reserve(checked.bytes, self.limit.0) };
        if !removes && room.is_none() {
            return Err(AdminError::ConfigurationFull(self.limit));
        }
        let version = if request.flag("dryRun") {
            let (version, stored) = self.store.get(&checked.name).await.map_err(AdminError::Store)?;
            let decided = decide(stored.as_ref()).map(|_| version);
            decided.map_err(|refusal| AdminError::Change { name: name(), error: ChangeError::Refused(refusal) })?
        } else {
            let changed = self.store.change(&checked.name, decide).await;
            let version = changed.map_err(|error| AdminError::Change { name: name(), error })?;
            if let Some(room) = room {
                room.written(version);
            }
            let (peer, name, kind) = (&request.peer, &checked.name, &checked.kind);
            tracing::info!(peer, action, name, kind, version, "configuration changed");
            version
        };
        let answer = AdminResponse::empty(status).with(VERSION_HEADER, version.to_string());
        let warnings = checked.warnings.iter().take(WARNINGS_MAX);
        Ok(warnings.fold(answer, |answer, warning| answer.with("Warning", warning_value(warning))))
    }
}

/// As RFC 9111 wrote it before it gave the header up: a code, who warns, a quoted text.
fn warning_value(text: &str) -> String {
    let plain = |c: char| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '\'' };
    format!("299 tidegate \"{}\"", text.chars().take(WARNING_BYTES_MAX).map(plain).collect::<String>())
}
