//! What the leader writes.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_api::{
    Error, KeyRange, Kv,
    pb::{PutRequest, RangeRequest, TxnRequest},
};

use super::rows::Row;
use crate::objects::ops::{delete_op, delete_span};

/// Rows of certificates, tokens and accounts.
#[derive(Clone)]
pub(super) struct Rows(pub(super) Arc<dyn Kv>);

impl Rows {
    pub(super) async fn get(&self, row: Row<'_>) -> Result<Option<Bytes>, Error> {
        let request = RangeRequest { key: row.key().into(), ..RangeRequest::default() };
        Ok(self.0.range(request).await?.kvs.into_iter().next().map(|pair| pair.value))
    }

    pub(super) async fn put(&self, row: Row<'_>, value: impl Into<Bytes>) -> Result<(), Error> {
        let request = PutRequest { key: row.key().into(), value: value.into(), ..PutRequest::default() };
        self.0.put(request).await.map(drop)
    }

    pub(super) async fn remove(&self, row: Row<'_>) -> Result<(), Error> {
        let success = vec![delete_op(row.key())];
        self.0.txn(TxnRequest { success, ..TxnRequest::default() }).await.map(drop)
    }

    /// Removes what challenges of a name have left.
    pub(super) async fn clear(&self, domain: &str) -> Result<(), Error> {
        let tokens = Row::Token { domain, path: "" }.key();
        let (from, to) = KeyRange::prefix(tokens).into_request();
        let success = vec![delete_span(from, to), delete_op(Row::Challenge(domain).key())];
        self.0.txn(TxnRequest { success, ..TxnRequest::default() }).await.map(drop)
    }
}
