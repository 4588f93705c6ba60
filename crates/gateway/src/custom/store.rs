//! Kinds and records in the store.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_api::{
    Error,
    pb::{Compare, KeyValue, RangeRequest, RequestOp, TxnRequest},
};

use super::schema::SCHEMA_BYTES_MAX;
use crate::objects::{
    Store,
    ops::{delete_op, prefix_range, put_op, range_op, ranges, read_op, same},
};

pub(crate) const KINDS: &str = "/custom-data-kinds/";
const ITEMS: &str = "/custom-data/";
/// Most kinds.
const KINDS_MAX: i64 = 256;
/// Longest text of a kind that is read: its schema, and name and id field as JSON.
const KIND_BYTES_MAX: usize = SCHEMA_BYTES_MAX + (4 << 10);
/// Operations of one transaction: the store takes 128.
const OPS_MAX: usize = 120;

/// A kind of records. Zero values are left out, as the reference does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kind {
    pub(crate) name: String,
    /// Field of a record that has its id; empty: `name`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) id_field: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) json_schema: Option<Value>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CustomError {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Refused(String),
    #[error("the store did not answer: {0}")]
    Store(#[from] Error),
}

/// The pair in which a kind is kept.
pub(crate) struct Found {
    name: String,
    pair: KeyValue,
}

pub(crate) struct CustomStore<'a>(pub(crate) &'a Store);

/// Where the records of a kind are.
pub(crate) fn items_prefix(kind: &str) -> String {
    format!("{ITEMS}{kind}/")
}

fn kind_key(kind: &str) -> String {
    format!("{KINDS}{kind}")
}

fn item_key(kind: &str, id: &str) -> String {
    format!("{ITEMS}{kind}/{id}")
}

fn count_op(kind: &str) -> RequestOp {
    range_op(RangeRequest { count_only: true, ..prefix_range(&items_prefix(kind), 0) })
}

impl CustomStore<'_> {
    async fn read<const N: usize>(&self, ops: [RequestOp; N]) -> Result<[tidegate_api::pb::RangeResponse; N], Error> {
        let txn = TxnRequest { success: ops.into(), ..TxnRequest::default() };
        ranges(self.0.kv().txn(txn).await?)
    }

    async fn write(&self, compare: Vec<Compare>, success: Vec<RequestOp>) -> Result<Option<i64>, Error> {
        let answer = self.0.kv().txn(TxnRequest { compare, success, failure: Vec::new() }).await?;
        Ok(answer.succeeded.then(|| answer.header.map_or(0, |header| header.revision)))
    }

    /// The number of records of a kind.
    pub(crate) async fn count(&self, kind: &str) -> Result<i64, Error> {
        let [count] = self.read([count_op(kind)]).await?;
        Ok(count.count)
    }

    /// A kind and the number of its records.
    pub(crate) async fn kind(&self, name: &str) -> Result<Option<(Found, i64)>, CustomError> {
        let [found, count] = self.read([read_op(kind_key(name)), count_op(name)]).await?;
        let Some(pair) = found.kvs.into_iter().next() else { return Ok(None) };
        Ok(Some((Found { name: name.to_owned(), pair }, count.count)))
    }

    /// The kind of records that are to be written.
    pub(crate) async fn needed(&self, name: &str) -> Result<Found, CustomError> {
        let missing = || CustomError::Refused(format!("the custom data kind {name} does not exist"));
        self.kind(name).await?.map(|(found, _)| found).ok_or_else(missing)
    }

    /// Makes a kind, or changes it, and returns the revision.
    pub(crate) async fn put_kind(&self, kind: &Kind, new: bool) -> Result<i64, CustomError> {
        let key = kind_key(&kind.name);
        let all = RangeRequest { count_only: true, ..prefix_range(KINDS, 0) };
        let [found, count] = self.read([read_op(key.clone()), range_op(all)]).await?;
        let (found, name) = (found.kvs.first(), &kind.name);
        if found.is_some() == new {
            let told = if new { "exists already" } else { "does not exist" };
            return Err(CustomError::Refused(format!("the custom data kind {name} {told}")));
        }
        if new && count.count >= KINDS_MAX {
            return Err(CustomError::Refused(format!("there are {KINDS_MAX} kinds already")));
        }
        let text = serde_json::to_string(kind).expect("our own types have text keys only");
        self.write(vec![same(&key, found)], vec![put_op(key.clone(), text)]).await?.ok_or_else(raced)
    }

    /// Removes a kind with its records.
    pub(crate) async fn delete_kind(&self, name: &str) -> Result<i64, CustomError> {
        let found = self.needed(name).await?;
        let key = kind_key(name);
        let ops = vec![delete_op(key.clone()), delete_all(&items_prefix(name))];
        self.write(vec![same(&key, Some(&found.pair))], ops).await?.ok_or_else(raced)
    }

    /// Removes every kind with all records.
    pub(crate) async fn delete_kinds(&self) -> Result<i64, CustomError> {
        let revision = self.write(Vec::new(), vec![delete_all(KINDS), delete_all(ITEMS)]).await?;
        Ok(revision.unwrap_or_default())
    }

    /// The text of a record.
    pub(crate) async fn item(&self, kind: &str, id: &str) -> Result<Option<Bytes>, CustomError> {
        let [found] = self.read([read_op(item_key(kind, id))]).await?;
        Ok(found.kvs.into_iter().next().map(|pair| pair.value))
    }

    /// Makes a record, or changes it.
    pub(crate) async fn put_item(&self, of: &Found, id: &str, text: String, new: bool) -> Result<i64, CustomError> {
        let key = item_key(&of.name, id);
        let [found] = self.read([read_op(key.clone())]).await?;
        let found = found.kvs.first();
        if found.is_some() == new {
            let told = if new { "exists already" } else { "does not exist" };
            return Err(CustomError::Refused(format!("{id} {told}")));
        }
        let compare = vec![of.unchanged(), same(&key, found)];
        self.write(compare, vec![put_op(key, text)]).await?.ok_or_else(raced)
    }

    pub(crate) async fn delete_item(&self, of: &Found, id: &str) -> Result<i64, CustomError> {
        let key = item_key(&of.name, id);
        let [found] = self.read([read_op(key.clone())]).await?;
        if found.kvs.is_empty() {
            return Err(CustomError::Refused(format!("{id} does not exist")));
        }
        self.write(vec![of.unchanged()], vec![delete_op(key)]).await?.ok_or_else(raced)
    }

    pub(crate) async fn delete_items(&self, of: &Found) -> Result<i64, CustomError> {
        self.write(vec![of.unchanged()], vec![delete_all(&items_prefix(&of.name))]).await?.ok_or_else(raced)
    }

    /// Deletes, then puts: in one transaction up to 120 records, beyond that in several.
    pub(crate) async fn batch(
        &self,
        of: &Found,
        rebuild: bool,
        delete: &BTreeSet<String>,
        list: BTreeMap<String, String>,
    ) -> Result<i64, CustomError> {
        let kind = &of.name;
        let mut revision = if rebuild { self.delete_items(of).await? } else { 0 };
        // A transaction must not write a key twice: what is deleted and put is put.
        let gone = delete.iter().filter(|id| !list.contains_key(*id)).map(|id| delete_op(item_key(kind, id)));
        let mut ops: Vec<RequestOp> = gone.collect();
        ops.extend(list.iter().map(|(id, text)| put_op(item_key(kind, id), Bytes::copy_from_slice(text.as_bytes()))));
        drop(list);
        let mut ops = ops.into_iter().peekable();
        while ops.peek().is_some() {
            let part: Vec<RequestOp> = ops.by_ref().take(OPS_MAX).collect();
            revision = self.write(vec![of.unchanged()], part).await?.ok_or_else(raced)?;
        }
        Ok(revision)
    }
}

impl Found {
    /// What the kind says; a schema's use must be paid for before.
    pub(crate) fn read(&self) -> Result<Kind, CustomError> {
        let text = Some(&self.pair.value).filter(|text| text.len() <= KIND_BYTES_MAX);
        let kind = text.and_then(|text| serde_json::from_slice(text).ok());
        kind.ok_or_else(|| CustomError::Refused(format!("the custom data kind {} cannot be read", self.name)))
    }

    fn unchanged(&self) -> Compare {
        same(&kind_key(&self.name), Some(&self.pair))
    }
}

fn delete_all(prefix: &str) -> RequestOp {
    let range = prefix_range(prefix, 0);
    crate::objects::ops::delete_span(range.key, range.range_end)
}

fn raced() -> CustomError {
    CustomError::Refused("it was changed by somebody else at the same time: try again".to_owned())
}
