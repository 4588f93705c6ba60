//! Making, changing and removing objects.

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_base::{ByteSize, Holder};

use super::{
    AdminRequest, AdminResponse, Body, Chunk,
    answer::{JSON, YAML},
    audit::{Call, Subject},
    checked::Checked,
    error::AdminError,
    service::{Admin, VERSION_HEADER, in_default},
};
use crate::objects::{
    Author, ChangeError, DEFAULT_OWNER, Meter, ObjectStatus, ReadError, Refusal, SINGLE_KINDS, SYSTEM_KINDS, Spec,
    Stored, read_json, resource, system_spec, system_template,
};

/// A stored spec that is read only to be looked at or written differently.
pub(super) const STORED_LIMIT: ByteSize = ByteSize::mib(24);
/// Warnings of one answer, and their length: they travel in headers.
const WARNINGS_MAX: usize = 16;
const WARNING_BYTES_MAX: usize = 200;

/// A change, and the status of its success.
struct Plan<'a> {
    action: &'static str,
    created: u16,
    checked: &'a Checked,
}

impl Admin {
    pub(super) async fn create(&self, call: &Call<'_>) -> Result<AdminResponse, AdminError> {
        let checked = match self.read(call, "create").await {
            Ok(checked) => checked,
            Err(answer) => return answer,
        };
        let decide = |stored: Option<&Stored>| match stored {
            Some(_) => Err(Refusal::Exists),
            None if SYSTEM_KINDS.contains(&checked.name.as_str()) => Err(Refusal::Exists),
            None => Ok(Some(checked.text.clone())),
        };
        let first = SYSTEM_KINDS.contains(&checked.kind.as_str()).then(|| AdminError::SystemKind(checked.kind.clone()));
        let first = first.or_else(|| self.another(&checked));
        let plan = Plan { action: "create", created: 201, checked: &checked };
        self.change(call, plan, first, decide).await
    }

    pub(super) async fn update(&self, name: &str, call: &Call<'_>) -> Result<AdminResponse, AdminError> {
        let checked = match self.read(call, "update").await {
            Ok(checked) => checked,
            Err(answer) => return answer,
        };
        let told = || AdminError::Conflict(format!("the path names {name}, the spec {}", checked.name));
        let first = (checked.name != name).then(told);
        let plan = Plan { action: "update", created: 200, checked: &checked };
        self.change(call, plan, first, |stored| self.replaces(&checked, stored, false)).await
    }

    /// Brings a former version back, as a new one.
    pub(super) async fn rollback(&self, name: &str, call: &Call<'_>) -> Result<AdminResponse, AdminError> {
        let asked = call.request.parameter("version").unwrap_or_default();
        let (version, text) = self.kept(name, &asked).await?;
        if text.is_empty() {
            return Err(AdminError::Conflict(format!("version {} of {name} is its deletion", version.version)));
        }
        let checked = Checked::of_text(self, text).await?;
        let plan = Plan { action: "rollback", created: 200, checked: &checked };
        self.change(call, plan, self.another(&checked), |stored| self.replaces(&checked, stored, true)).await
    }

    pub(super) async fn delete(&self, name: &str, call: &Call<'_>) -> Result<AdminResponse, AdminError> {
        let system = || AdminError::Conflict(format!("{name} runs by itself and cannot be deleted"));
        let first = SYSTEM_KINDS.contains(&name).then(system);
        let decide = |stored: Option<&Stored>| {
            self.owned(name, stored.ok_or(Refusal::NotFound)?)?;
            Ok(None)
        };
        let plan = Plan { action: "delete", created: 200, checked: &Checked::gone(name) };
        self.change(call, plan, first, decide).await
    }

    pub(super) async fn delete_all(&self, call: &Call<'_>) -> Result<AdminResponse, AdminError> {
        if !call.request.flag("all") {
            return Ok(AdminResponse::empty(200));
        }
        if call.dry() {
            let told = json!({"dryRun": true, "action": "delete all", "problems": [], "warnings": []});
            return Ok(AdminResponse::value(&told, call.request.wants_yaml()));
        }
        let subject = Subject { object: "*", kind: "" };
        let changed = self.store.delete_all().await;
        let changed = changed.map_err(|error| AdminError::Change { name: String::new(), error });
        let answer = changed.map(|changed| {
            call.changed(subject, changed);
            AdminResponse::empty(200).with(VERSION_HEADER, changed.version.to_string())
        });
        call.audited(subject, answer)
    }

    pub(super) async fn get(
        &self,
        name: &str,
        request: &AdminRequest,
        yaml: bool,
    ) -> Result<AdminResponse, AdminError> {
        let (version, stored) = self.store.get(name).await.map_err(AdminError::Store)?;
        let system = || SYSTEM_KINDS.contains(&name).then(|| Bytes::from(system_spec(name).to_string()));
        let text = stored.map(|stored| stored.text).or_else(system).filter(|_| in_default(request));
        let missing = || AdminError::Change { name: name.to_owned(), error: ChangeError::Refused(Refusal::NotFound) };
        Ok(self.spec(text.ok_or_else(missing)?, yaml)?.with(VERSION_HEADER, version.to_string()))
    }

    /// Metadata and defaults of a kind, for somebody to begin with.
    pub(super) fn template(&self, kind: &str, name: &str) -> Result<AdminResponse, AdminError> {
        let kinds = self.kinds();
        let known = kinds.iter().find(|known| {
            let aliases = resource(known).map_or(&[][..], |resource| resource.aliases);
            known.eq_ignore_ascii_case(kind) || aliases.iter().any(|alias| alias.eq_ignore_ascii_case(kind))
        });
        let kind = *known.ok_or_else(|| AdminError::NotFound(format!("{kind} is not a kind that this version has")))?;
        let mut spec = json!({"name": name, "kind": kind, "version": crate::objects::DEFAULT_VERSION});
        let system = SYSTEM_KINDS.contains(&kind);
        let more = if system { system_template(kind) } else { self.plane.template(kind) };
        if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
            spec.extend(more);
        }
        Ok(AdminResponse::value(&spec, true))
    }

    /// One spec, as it is kept or as YAML, under a lease.
    pub(super) fn spec(&self, text: Bytes, yaml: bool) -> Result<AdminResponse, AdminError> {
        let bytes = if yaml { self.yaml(&text)? } else { text };
        let lease = self.budget.try_lease(Holder::Gateway, bytes.len() as u64);
        let lease = Some(lease.ok_or(AdminError::Unreadable(ReadError::NoRoom))?);
        let body = Body::Whole(Chunk { bytes, lease });
        Ok(AdminResponse { status: 200, content_type: Some(if yaml { YAML } else { JSON }), headers: Vec::new(), body })
    }

    fn yaml(&self, text: &[u8]) -> Result<Bytes, AdminError> {
        let mut meter = Meter::new(&self.budget, STORED_LIMIT);
        let value = read_json(text, &mut meter).map_err(AdminError::Unreadable)?;
        let text = serde_yaml_ng::to_string(&value);
        text.map(Bytes::from).map_err(|error| AdminError::Unreadable(ReadError::Syntax(error.to_string())))
    }

    /// Reads the body; what cannot be read is told, as a dry run or as an error.
    async fn read(&self, call: &Call<'_>, action: &str) -> Result<Checked, Result<AdminResponse, AdminError>> {
        Checked::read(self, call.request).await.map_err(|error| match call.dry() {
            true => Ok(Checked::gone("").dry_run(action, &[error], call.request.wants_yaml())),
            false => call.audited(Subject { object: &call.request.path, kind: "" }, Err(error)),
        })
    }

    /// Where there may be one object of its kind: that there is another one, as far as this node knows. One that slips in beside
    /// it is not run.
    fn another(&self, checked: &Checked) -> Option<AdminError> {
        let statuses = SINGLE_KINDS.contains(&checked.kind.as_str()).then(|| self.objects.statuses())?;
        let other = |(name, status): &(&String, &ObjectStatus)| status.kind == checked.kind && **name != checked.name;
        let (name, status) = statuses.iter().find(other)?;
        Some(AdminError::Conflict(format!("there may be one {}, and {name} is one", status.kind)))
    }

    /// Whether a spec may take the place of what is stored; with `new` there may be nothing.
    fn replaces(&self, checked: &Checked, stored: Option<&Stored>, new: bool) -> Result<Option<Bytes>, Refusal> {
        let name = &checked.name;
        let old = match stored {
            Some(stored) => self.owned(name, stored)?,
            None if SYSTEM_KINDS.contains(&name.as_str()) => Some(name.clone()),
            None if new => None,
            None => return Err(Refusal::NotFound),
        };
        match old {
            Some(kind) if kind != checked.kind => {
                Err(Refusal::Conflict(format!("{name} is a {kind} and cannot become a {}", checked.kind)))
            }
            _ => Ok(Some(checked.text.clone())),
        }
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

    /// Makes the change, or tells what it would come to. `first` is what is wrong before the spec itself.
    async fn change(
        &self,
        call: &Call<'_>,
        plan: Plan<'_>,
        first: Option<AdminError>,
        mut decide: impl FnMut(Option<&Stored>) -> Result<Option<Bytes>, Refusal> + Send,
    ) -> Result<AdminResponse, AdminError> {
        let checked = plan.checked;
        let subject = Subject { object: &checked.name, kind: &checked.kind };
        if call.dry() {
            let (version, stored) = self.store.get(&checked.name).await.map_err(AdminError::Store)?;
            let name = checked.name.clone();
            let refused = decide(stored.as_ref()).err();
            let refused = refused.map(|refusal| AdminError::Change { name, error: ChangeError::Refused(refusal) });
            let full = !checked.removes() && self.objects.reserve(checked.bytes, self.limit.0).is_none();
            let full = full.then_some(AdminError::ConfigurationFull(self.limit));
            let refusals: Vec<_> = [first, checked.invalid(), refused, full].into_iter().flatten().collect();
            let answer = checked.dry_run(plan.action, &refusals, call.request.wants_yaml());
            return Ok(answer.with(VERSION_HEADER, version.to_string()));
        }
        let answer = match first.or_else(|| checked.invalid()) {
            Some(error) => Err(error),
            None => self.write(call, &plan, decide).await,
        };
        call.audited(subject, answer)
    }

    async fn write(
        &self,
        call: &Call<'_>,
        plan: &Plan<'_>,
        decide: impl FnMut(Option<&Stored>) -> Result<Option<Bytes>, Refusal> + Send,
    ) -> Result<AdminResponse, AdminError> {
        let checked = plan.checked;
        let room = if checked.removes() { None } else { self.objects.reserve(checked.bytes, self.limit.0) };
        if !checked.removes() && room.is_none() {
            return Err(AdminError::ConfigurationFull(self.limit));
        }
        let author = Author { who: &call.who, action: plan.action, kind: &checked.kind };
        let changed = self.store.change(&checked.name, author, decide).await;
        let changed = changed.map_err(|error| AdminError::Change { name: checked.name.clone(), error })?;
        if let Some(room) = room {
            room.written(changed.version);
        }
        call.changed(Subject { object: &checked.name, kind: &checked.kind }, changed);
        let answer = AdminResponse::empty(plan.created).with(VERSION_HEADER, changed.version.to_string());
        let warnings = checked.warnings.iter().take(WARNINGS_MAX);
        Ok(warnings.fold(answer, |answer, warning| answer.with("Warning", warning_value(warning))))
    }
}

/// As RFC 9111 wrote it before it gave the header up: a code, who warns, a quoted text.
fn warning_value(text: &str) -> String {
    let plain = |c: char| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '\'' };
    format!("299 tidegate \"{}\"", text.chars().take(WARNING_BYTES_MAX).map(plain).collect::<String>())
}
