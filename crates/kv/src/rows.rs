//! The rows of the engine, byte by byte. The layouts are in `docs/formats.md`.

mod codec;
mod event;
mod head;
mod keys;
mod lease;
mod meta;
mod version;

pub(crate) use codec::{Reader as FieldReader, put_info, put_number, put_signed};
pub(crate) use event::EventRow;
pub(crate) use head::HeadRow;
pub(crate) use keys::{
    alarm_key, alarms_span, event_key, event_version, head_key, head_user_key, lease_id, lease_key, lease_keys_key,
    lease_keys_span, lease_user_key, leases_span, member_key, members_span, value_key, version_key, version_prefix,
    version_seek, versions_end,
};
pub(crate) use lease::LeaseRow;
pub(crate) use meta::{CursorKind, Meta, OpCursor};
pub(crate) use version::VersionRow;

/// Key of the one row that every space has.
pub(crate) const META_KEY: &[u8] = &[0];

/// Up to this many bytes of value stand in the head row itself.
pub(crate) const HEAD_VALUE_MAX: usize = 1 << 10;
/// From this many bytes on a value has a row of its own.
pub(crate) const BLOB_VALUE_LEAST: usize = 16 << 10;

/// Every row's value begins with it.
const ROW_VERSION: u8 = 1;

const DELETED: u8 = 1;
const HAS_PREVIOUS: u8 = 2;
const PREVIOUS_IS_BLOB: u8 = 4;
const VALUE_IN_HEAD: u8 = 8;
const VALUE_IS_BLOB: u8 = 16;

/// A row that is not what its key says. The engine's checksums were right: it was written so, or by something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a row of {space} cannot be read: {detail} (key {key:02x?})")]
pub struct BadRow {
    pub space: &'static str,
    pub detail: &'static str,
    /// The first bytes of the row's key.
    pub key: Vec<u8>,
}

impl BadRow {
    pub(crate) fn new(space: tidegate_engine::Space, key: &[u8], detail: &'static str) -> Self {
        Self { space: space.name(), detail, key: key[..key.len().min(64)].to_vec() }
    }
}

/// What a version of a key is, apart from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Info {
    pub deleted: bool,
    /// Revision of the key's creation; 0 for a deletion.
    pub create: i64,
    /// How many times it was written since its creation; 0 for a deletion.
    pub version: i64,
    pub lease: i64,
    pub value_len: u64,
}
