//! The last versions of each object, kept beside it and written in the transaction of the change.
//!
//! ```text
//!   /config/history/of/NAME/VERSION   what happened: JSON, a few hundred bytes
//!   /config/history/order/VERSION     COST NAME: which one is the oldest of all
//!   /config/history/text/VERSION      the spec, byte by byte; none for a deletion
//!   /config/history/total             sum of the costs
//! ```
//! VERSION is the version of the configuration that the change made, in twenty digits, so keys stand in the order of time.
//! Texts have keys of their own so that a list of versions costs kilobytes and not megabytes. A cost is the length of the
//! text and [`ENTRY_BYTES`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_api::{
    Error,
    pb::{KeyValue, RequestOp, TxnRequest},
};
use tidegate_base::{ByteSize, Moment, clock};

use super::{
    Author, Store,
    ops::{delete_op, delete_span, number_of, prefix_range, put_op, range_op, ranges, read_op, same},
};

/// Versions kept of one object, deletions included.
pub const VERSIONS_MAX: usize = 10;
/// Most that all versions of all objects may cost; the oldest go first.
pub const HISTORY_BYTES_MAX: ByteSize = ByteSize::mib(32);
/// Counted for each version beside its text.
const ENTRY_BYTES: u64 = 512;
/// Versions that one transaction of a trimming drops: three operations for all, and one for each.
const TRIM_MAX: i64 = 64;
/// Transactions of one trimming. What is left is for the next change.
const TRIM_ROUNDS: usize = 32;
/// Longest name of an author that is kept.
const WHO_BYTES_MAX: usize = 128;

const OF: &str = "/config/history/of/";
const ORDER: &str = "/config/history/order/";
const TEXT: &str = "/config/history/text/";
pub(super) const TOTAL: &str = "/config/history/total";

/// What one change did to an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Version of the configuration that the change made.
    pub version: u64,
    /// Revision of the store at which it happened. Not stored: it is the key's own.
    #[serde(default)]
    pub revision: i64,
    /// In UTC, as RFC 3339 has it.
    pub time: String,
    pub who: String,
    /// `create`, `update`, `delete` or `rollback`.
    pub action: String,
    pub kind: String,
    /// Length of the spec; 0 for a deletion.
    pub bytes: u64,
}

impl Version {
    pub(super) fn new(version: u64, author: &Author<'_>, text: Option<&Bytes>) -> Self {
        let who = &author.who[..author.who.floor_char_boundary(WHO_BYTES_MAX)];
        Self {
            version,
            revision: 0,
            time: Moment::new(clock::wall()).date_time() + "Z",
            who: who.to_owned(),
            action: author.action.to_owned(),
            kind: author.kind.to_owned(),
            bytes: text.map_or(0, |text| text.len() as u64),
        }
    }

    fn read(pair: &KeyValue) -> Option<Self> {
        let version: Self = serde_json::from_slice(&pair.value).ok()?;
        Some(Self { revision: pair.mod_revision, ..version })
    }

    fn cost(&self) -> u64 {
        self.bytes + ENTRY_BYTES
    }
}

fn of(name: &str, version: u64) -> String {
    format!("{OF}{name}/{version:020}")
}

fn order(version: u64) -> String {
    format!("{ORDER}{version:020}")
}

fn text_key(version: u64) -> String {
    format!("{TEXT}{version:020}")
}

/// What a change reads of the history: the versions of its object, and the total.
pub(super) fn read_ops(name: &str) -> [RequestOp; 2] {
    [range_op(prefix_range(&format!("{OF}{name}/"), 0)), read_op(TOTAL)]
}

/// What a change writes into the history, and the total after it.
pub(super) fn write_ops(
    name: &str,
    new: &Version,
    text: Option<&Bytes>,
    before: &[KeyValue],
    total: u64,
) -> (Vec<RequestOp>, u64) {
    let meta = serde_json::to_string(new).expect("our own types have text keys only");
    let mut ops = vec![put_op(of(name, new.version), meta)];
    ops.push(put_op(order(new.version), format!("{} {name}", new.cost())));
    ops.extend(text.map(|text| put_op(text_key(new.version), text.clone())));
    let mut total = total.saturating_add(new.cost());
    let known: Vec<Version> =
        before.iter().filter_map(Version::read).filter(|old| old.version != new.version).collect();
    let surplus = (known.len() + 1).saturating_sub(VERSIONS_MAX);
    for old in known.iter().take(surplus) {
        ops.extend([of(name, old.version), order(old.version), text_key(old.version)].map(delete_op));
        total = total.saturating_sub(old.cost());
    }
    ops.push(put_op(TOTAL, total.to_string()));
    (ops, total)
}

impl Store {
    /// The versions of an object, the newest first; empty for one that never was.
    ///
    /// # Errors
    /// What the store answered.
    pub async fn versions(&self, name: &str) -> Result<Vec<Version>, Error> {
        let found = self.kv().range(prefix_range(&format!("{OF}{name}/"), 0)).await?;
        Ok(found.kvs.iter().rev().filter_map(Version::read).collect())
    }

    /// One version of an object with its text; `None` for one that is not kept.
    ///
    /// # Errors
    /// What the store answered.
    pub async fn version(&self, name: &str, version: u64) -> Result<Option<(Version, Bytes)>, Error> {
        let reads = vec![read_op(of(name, version)), read_op(text_key(version))];
        let answer = self.kv().txn(TxnRequest { success: reads, ..TxnRequest::default() }).await?;
        let [meta, text] = ranges(answer)?;
        let text = text.kvs.into_iter().next().map(|pair| pair.value).unwrap_or_default();
        Ok(meta.kvs.first().and_then(Version::read).map(|meta| (meta, text)))
    }

    /// Drops the oldest versions of all until what is left costs at most `limit`.
    ///
    /// # Errors
    /// What the store answered.
    pub(super) async fn trim(&self, limit: u64) -> Result<(), Error> {
        for _ in 0..TRIM_ROUNDS {
            let reads = vec![read_op(TOTAL), range_op(prefix_range(ORDER, TRIM_MAX))];
            let answer = self.kv().txn(TxnRequest { success: reads, ..TxnRequest::default() }).await?;
            let [total, oldest] = ranges(answer)?;
            let sum = number_of(total.kvs.first());
            if sum <= limit {
                return Ok(());
            }
            let (mut left, mut ops, mut last) = (sum, Vec::new(), None);
            for pair in &oldest.kvs {
                if left <= limit {
                    break;
                }
                let version = std::str::from_utf8(&pair.key).ok().and_then(|key| key.strip_prefix(ORDER)?.parse().ok());
                let told = std::str::from_utf8(&pair.value).ok().and_then(|text| text.split_once(' '));
                if let (Some(version), Some((cost, name))) = (version, told) {
                    ops.push(delete_op(of(name, version)));
                    left = left.saturating_sub(cost.parse().unwrap_or(0));
                    last = Some(version);
                }
            }
            match last {
                Some(last) => {
                    ops.push(delete_span(ORDER, order(last) + "\0"));
                    ops.push(delete_span(TEXT, text_key(last) + "\0"));
                    ops.push(put_op(TOTAL, left.to_string()));
                }
                // A sum of nothing: somebody else wrote here.
                None => ops.push(put_op(TOTAL, "0")),
            }
            let compare = vec![same(TOTAL, total.kvs.first())];
            self.kv().txn(TxnRequest { compare, success: ops, failure: Vec::new() }).await?;
        }
        Ok(())
    }
}
