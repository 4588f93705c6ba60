//! Custom data. Status codes are the reference's: it finds most errors in a transaction, and answers 503 for them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;
use tidegate_base::{Holder, Lease};

use super::{
    AdminResponse,
    audit::{Call, Subject},
    checked::READ_LIMIT,
    error::AdminError,
    list::{List, What},
    service::Admin,
};
use crate::{
    custom::{CustomError, CustomStore, Found, KINDS, Kind, SCHEMA_USE_BYTES, Schema, Work, items_prefix},
    objects::{Meter, ReadError, building, read_text},
};

impl From<CustomError> for AdminError {
    fn from(error: CustomError) -> Self {
        match error {
            CustomError::Store(error) => Self::Store(error),
            CustomError::Invalid(told) | CustomError::Refused(told) => Self::Refused(told),
        }
    }
}

impl Admin {
    fn custom(&self) -> CustomStore<'_> {
        CustomStore(&self.store)
    }

    pub(super) async fn list_kinds(&self, yaml: bool) -> Result<AdminResponse, AdminError> {
        List::open(self.store.clone(), self.budget.clone(), KINDS.to_owned(), What::Kinds, yaml).await
    }

    pub(super) async fn get_kind(&self, name: &str, yaml: bool) -> Result<AdminResponse, AdminError> {
        let found = self.custom().kind(name).await?;
        let missing = || AdminError::Failed(format!("the custom data kind {name} does not exist"));
        let (found, count) = found.ok_or_else(missing)?;
        let _using = self.using()?;
        self.spec(Bytes::from(found.read()?.with_len(count).to_string()), yaml)
    }

    pub(super) async fn put_kind(&self, call: &Call<'_>, new: bool) -> Result<AdminResponse, AdminError> {
        let job = |value: &Value| {
            let name = tidegate_pipeline::field(value, "name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let kind = Kind::new(value).map(|(kind, _)| kind);
            Ok((name, kind.map_err(|error| AdminError::Conflict(error.to_string()))))
        };
        let ((name, kind), _paid) = self.on_worker(call, job).await?;
        let done = match kind {
            Ok(kind) => self.custom().put_kind(&kind, new).await.map_err(AdminError::from),
            Err(error) => Err(error),
        };
        self.told(call, Subject { object: &name, kind: "CustomDataKind" }, done, if new { 201 } else { 200 })
    }

    pub(super) async fn delete_kind(&self, name: &str, call: &Call<'_>) -> Result<AdminResponse, AdminError> {
        let done = self.custom().delete_kind(name).await.map_err(AdminError::from);
        self.told(call, Subject { object: name, kind: "CustomDataKind" }, done, 200)
    }

    pub(super) async fn delete_kinds(&self, call: &Call<'_>) -> Result<AdminResponse, AdminError> {
        let done = self.custom().delete_kinds().await.map_err(AdminError::from);
        self.told(call, Subject { object: "*", kind: "CustomDataKind" }, done, 200)
    }

    pub(super) async fn list_items(&self, kind: &str, yaml: bool) -> Result<AdminResponse, AdminError> {
        let answer = List::open(self.store.clone(), self.budget.clone(), items_prefix(kind), What::Items, yaml);
        answer.await
    }

    pub(super) async fn get_item(&self, kind: &str, id: &str, yaml: bool) -> Result<AdminResponse, AdminError> {
        match self.custom().item(kind, id).await? {
            Some(text) => self.spec(text, yaml),
            None => Ok(AdminResponse::empty(200)),
        }
    }

    pub(super) async fn put_item(&self, kind: &str, call: &Call<'_>, new: bool) -> Result<AdminResponse, AdminError> {
        let done = async {
            let found = self.custom().needed(kind).await?;
            let job = move |item: &Value| {
                let (kind, schema) = compiled(&found)?;
                let (id, text) = record(&kind, schema.as_ref(), item, &mut Work::default())?;
                Ok((found, id, text))
            };
            let ((found, id, text), _paid) = self.on_worker(call, job).await?;
            Ok(self.custom().put_item(&found, &id, text, new).await?)
        };
        let done = done.await;
        self.told(call, Subject { object: kind, kind: "CustomData" }, done, if new { 201 } else { 200 })
    }

    pub(super) async fn delete_item(&self, kind: &str, id: &str, call: &Call<'_>) -> Result<AdminResponse, AdminError> {
        let done = async {
            let found = self.custom().needed(kind).await?;
            Ok(self.custom().delete_item(&found, id).await?)
        };
        let done = done.await;
        self.told(call, Subject { object: &format!("{kind}/{id}"), kind: "CustomData" }, done, 200)
    }

    pub(super) async fn delete_items(&self, kind: &str, call: &Call<'_>) -> Result<AdminResponse, AdminError> {
        let done = async {
            let found = self.custom().needed(kind).await?;
            Ok(self.custom().delete_items(&found).await?)
        };
        let done = done.await;
        self.told(call, Subject { object: kind, kind: "CustomData" }, done, 200)
    }

    /// `{"rebuild": false, "delete": [ids], "list": [records]}`. Every record is checked before the first is written.
    pub(super) async fn batch(&self, kind: &str, call: &Call<'_>) -> Result<AdminResponse, AdminError> {
        let done = async {
            let found = self.custom().needed(kind).await?;
            let ((found, batch), _paid) = self
                .on_worker(call, move |body| {
                    let batch = Batch::read(&found, body)?;
                    Ok((found, batch))
                })
                .await?;
            Ok(self.custom().batch(&found, batch.rebuild, &batch.delete, batch.list).await?)
        };
        let done = done.await;
        self.told(call, Subject { object: kind, kind: "CustomData" }, done, 200)
    }

    /// Reads the body, an object, and has it checked by `job`, off the I/O threads.
    async fn on_worker<T: Send + 'static>(
        &self,
        call: &Call<'_>,
        job: impl FnOnce(&Value) -> Result<T, AdminError> + Send + 'static,
    ) -> Result<(T, Paid), AdminError> {
        let (body, says_json) = (call.request.body.clone(), call.request.says_json());
        let no_room = || AdminError::Unreadable(ReadError::NoRoom);
        let lease = self.budget.try_lease(Holder::Gateway, body.len() as u64).ok_or_else(no_room)?;
        let budget = self.budget.clone();
        let job = move || {
            let _lease = lease;
            let mut meter = Meter::new(&budget, READ_LIMIT);
            let value = read_text(&body, says_json, &mut meter).map_err(|error| match error {
                ReadError::Syntax(told) => AdminError::Failed(format!("the body cannot be read: {told}")),
                other => AdminError::Unreadable(other),
            })?;
            if !value.is_object() {
                return Err(AdminError::Failed("the body must be an object".to_owned()));
            }
            let building = building(&meter, &budget).ok_or_else(no_room)?;
            let using = budget.try_lease(Holder::Gateway, SCHEMA_USE_BYTES).ok_or_else(no_room)?;
            Ok((job(&value)?, Paid { _meter: meter, _building: building, _using: using }))
        };
        self.worker.run(job).await?
    }

    /// Pays for a schema while it is used.
    fn using(&self) -> Result<Lease, AdminError> {
        let lease = self.budget.try_lease(Holder::Gateway, SCHEMA_USE_BYTES);
        lease.ok_or(AdminError::Unreadable(ReadError::NoRoom))
    }

    fn told(
        &self,
        call: &Call<'_>,
        subject: Subject<'_>,
        done: Result<i64, AdminError>,
        status: u16,
    ) -> Result<AdminResponse, AdminError> {
        let answer = done.map(|revision| {
            call.done(subject, revision);
            AdminResponse::empty(status)
        });
        call.audited(subject, answer)
    }
}

/// Pays for what was made of a body.
struct Paid {
    _meter: Meter,
    _building: Lease,
    _using: Lease,
}

struct Batch {
    rebuild: bool,
    delete: BTreeSet<String>,
    list: BTreeMap<String, String>,
}

impl Batch {
    fn read(found: &Found, body: &Value) -> Result<Self, CustomError> {
        let (kind, schema) = compiled(found)?;
        let array = |key: &str| match body.get(key) {
            None | Some(Value::Null) => Ok(&[][..]),
            Some(Value::Array(items)) => Ok(items.as_slice()),
            Some(_) => Err(CustomError::Invalid(format!("{key}: must be a list"))),
        };
        let mut delete = BTreeSet::new();
        for id in array("delete")? {
            let id = id.as_str().ok_or_else(|| CustomError::Invalid("delete: must be a list of ids".to_owned()))?;
            delete.insert(id.to_owned());
        }
        let (mut list, mut work) = (BTreeMap::new(), Work::default());
        for (index, item) in array("list")?.iter().enumerate() {
            let (id, text) = record(&kind, schema.as_ref(), item, &mut work)
                .map_err(|error| CustomError::Invalid(format!("list[{index}]: {error}")))?;
            list.insert(id, text);
        }
        let rebuild = body.get("rebuild").and_then(Value::as_bool).unwrap_or_default();
        Ok(Self { rebuild, delete, list })
    }
}

/// A stored kind with its schema.
fn compiled(found: &Found) -> Result<(Kind, Option<Schema>), CustomError> {
    Kind::new(&serde_json::to_value(found.read()?).unwrap_or_default())
}

/// Id and text of a record that its kind takes.
fn record(
    kind: &Kind,
    schema: Option<&Schema>,
    item: &Value,
    work: &mut Work,
) -> Result<(String, String), CustomError> {
    let id = kind.id(item)?;
    if let Some(schema) = schema {
        schema.check(item, work).map_err(CustomError::Invalid)?;
    }
    Ok((id.to_owned(), item.to_string()))
}
