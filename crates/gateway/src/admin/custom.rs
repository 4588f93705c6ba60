//! Custom data. Status codes are the reference's: it finds most errors in a transaction, and answers 503 for them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;
use tidegate_base::Holder;

use super::{
    AdminResponse,
    audit::{Call, Subject},
    checked::READ_LIMIT,
    error::AdminError,
    list::{List, What},
    service::Admin,
};
use crate::{
    custom::{CustomError, CustomStore, Kind, SCHEMA_USE_BYTES, Schema, items_prefix},
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
        let kinds = self.custom().kinds().await?;
        let kinds: Vec<Value> = kinds.into_iter().map(|(kind, count)| with_len(&kind, count)).collect();
        self.spec(Bytes::from(Value::from(kinds).to_string()), yaml)
    }

    pub(super) async fn get_kind(&self, name: &str, yaml: bool) -> Result<AdminResponse, AdminError> {
        let found = self.custom().kind(name).await?;
        let missing = || AdminError::Failed(format!("the custom data kind {name} does not exist"));
        let (found, count) = found.ok_or_else(missing)?;
        self.spec(Bytes::from(with_len(&found.kind, count).to_string()), yaml)
    }

    pub(super) async fn put_kind(&self, call: &Call<'_>, new: bool) -> Result<AdminResponse, AdminError> {
        let mut meter = Meter::new(&self.budget, READ_LIMIT);
        let value = self.body(call, &mut meter)?;
        let _using = self.using()?;
        let kind = Kind::new(&value).map(|(kind, _)| kind).map_err(|error| AdminError::Conflict(error.to_string()));
        let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
        let subject = Subject { object: name, kind: "CustomDataKind" };
        let done = match kind {
            Ok(kind) => self.custom().put_kind(&kind, new).await.map_err(AdminError::from),
            Err(error) => Err(error),
        };
        self.told(call, subject, done, if new { 201 } else { 200 })
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
        let mut meter = Meter::new(&self.budget, READ_LIMIT);
        let item = self.body(call, &mut meter)?;
        let done = async {
            let found = self.custom().needed(kind).await?;
            let _using = self.using()?;
            let (_, schema) = Kind::new(&serde_json::to_value(&found.kind).unwrap_or_default())?;
            let (id, text) = record(&found.kind, schema.as_ref(), &item)?;
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
        let mut meter = Meter::new(&self.budget, READ_LIMIT);
        let body = self.body(call, &mut meter)?;
        let _building = building(&meter, &self.budget).ok_or(AdminError::Unreadable(ReadError::NoRoom))?;
        let done = async {
            let found = self.custom().needed(kind).await?;
            let _using = self.using()?;
            let (_, schema) = Kind::new(&serde_json::to_value(&found.kind).unwrap_or_default())?;
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
            let mut list = BTreeMap::new();
            for (index, item) in array("list")?.iter().enumerate() {
                let (id, text) = record(&found.kind, schema.as_ref(), item)
                    .map_err(|error| CustomError::Invalid(format!("list[{index}]: {error}")))?;
                list.insert(id, text);
            }
            let rebuild = body.get("rebuild").and_then(Value::as_bool).unwrap_or_default();
            Ok(self.custom().batch(&found, rebuild, &delete, list).await?)
        };
        let done = done.await;
        self.told(call, Subject { object: kind, kind: "CustomData" }, done, 200)
    }

    fn body(&self, call: &Call<'_>, meter: &mut Meter) -> Result<Value, AdminError> {
        let request = call.request;
        let value = read_text(&request.body, request.says_json(), meter).map_err(|error| match error {
            ReadError::Syntax(told) => AdminError::Failed(format!("the body cannot be read: {told}")),
            other => AdminError::Unreadable(other),
        })?;
        match value.is_object() {
            true => Ok(value),
            false => Err(AdminError::Failed("the body must be an object".to_owned())),
        }
    }

    /// Pays for a schema while it is used.
    fn using(&self) -> Result<tidegate_base::Lease, AdminError> {
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

/// Id and text of a record that its kind takes.
fn record(kind: &Kind, schema: Option<&Schema>, item: &Value) -> Result<(String, String), CustomError> {
    let id = kind.id(item)?;
    if let Some(schema) = schema {
        schema.check(item).map_err(CustomError::Invalid)?;
    }
    Ok((id.to_owned(), item.to_string()))
}

fn with_len(kind: &Kind, count: i64) -> Value {
    let mut value = serde_json::to_value(kind).expect("our own types have text keys only");
    value["len"] = count.into();
    value
}
