//! Protobuf encoding of `WatchResponse` and its events, lengths first.

pub(super) use tidegate_base::put_varint;

use super::event::{EventKind, EventRef, PairRef, PairShape};

const EVENT: u8 = 0x5a;

/// Bytes that a number takes, where lengths are counted in 64 bits.
pub(super) fn varint_len(n: u64) -> u64 {
    tidegate_base::varint_len(n) as u64
}

/// The number at the front, and what is behind it.
pub(super) fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let len = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
    let (number, rest) = bytes.split_at(len);
    Some((number.iter().rev().fold(0, |n, byte| n << 7 | u64::from(byte & 0x7f)), rest))
}

/// A signed number on the wire: its two's complement in 64 bits.
fn unsigned(n: i64) -> u64 {
    n.cast_unsigned()
}

fn number_len(n: i64) -> u64 {
    if n == 0 { 0 } else { 1 + varint_len(unsigned(n)) }
}

fn put_number(out: &mut Vec<u8>, tag: u8, n: u64) {
    if n != 0 {
        out.push(tag);
        put_varint(out, n);
    }
}

fn bytes_len(len: usize) -> u64 {
    if len == 0 { 0 } else { 1 + varint_len(len as u64) + len as u64 }
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.push(tag);
        put_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

fn message_len(len: u64) -> u64 {
    1 + varint_len(len) + len
}

fn pair_len(pair: &PairShape) -> u64 {
    bytes_len(pair.key_len)
        + number_len(pair.create)
        + number_len(pair.modified)
        + number_len(pair.version)
        + bytes_len(pair.value_len)
        + number_len(pair.lease)
}

fn deleted_len(pair: &PairShape) -> u64 {
    bytes_len(pair.key_len) + number_len(pair.modified)
}

fn event_len(kind: EventKind, pair: &PairShape, previous: Option<&PairShape>) -> u64 {
    let now = match kind {
        EventKind::Put => message_len(pair_len(pair)),
        EventKind::Delete => 2 + message_len(deleted_len(pair)),
    };
    now + previous.map_or(0, |pair| message_len(pair_len(pair)))
}

pub(super) fn event_field_len(kind: EventKind, pair: &PairShape, previous: Option<&PairShape>) -> u64 {
    message_len(event_len(kind, pair, previous))
}

/// Appends an event as field 11 and answers where its key begins in `out`.
pub(super) fn put_event(out: &mut Vec<u8>, event: &EventRef<'_>) -> usize {
    let shape = event.pair.shape();
    let previous = event.previous.map(|pair| pair.shape());
    out.push(EVENT);
    put_varint(out, event_len(event.kind, &shape, previous.as_ref()));
    let key_at = match event.kind {
        EventKind::Put => put_pair(out, 0x12, &event.pair),
        EventKind::Delete => {
            out.extend_from_slice(&[0x08, 1, 0x12]);
            put_varint(out, deleted_len(&shape));
            let key_at = put_key(out, event.pair.key);
            put_number(out, 0x18, unsigned(event.pair.modified));
            key_at
        }
    };
    if let Some(pair) = &event.previous {
        put_pair(out, 0x1a, pair);
    }
    key_at
}

fn put_key(out: &mut Vec<u8>, key: &[u8]) -> usize {
    put_bytes(out, 0x0a, key);
    out.len() - key.len()
}

fn put_pair(out: &mut Vec<u8>, tag: u8, pair: &PairRef<'_>) -> usize {
    out.push(tag);
    put_varint(out, pair_len(&pair.shape()));
    let key_at = put_key(out, pair.key);
    put_number(out, 0x10, unsigned(pair.create));
    put_number(out, 0x18, unsigned(pair.modified));
    put_number(out, 0x20, unsigned(pair.version));
    put_bytes(out, 0x2a, pair.value);
    put_number(out, 0x30, unsigned(pair.lease));
    key_at
}

/// Ids that every response header carries.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ids {
    pub(super) cluster: u64,
    pub(super) member: u64,
    pub(super) term: u64,
}

/// Everything of a `WatchResponse` but its events.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Head<'a> {
    pub(super) revision: i64,
    pub(super) watch_id: i64,
    pub(super) created: bool,
    pub(super) canceled: bool,
    pub(super) compact_revision: i64,
    pub(super) cancel_reason: &'a str,
    pub(super) fragment: bool,
}

/// Appends header and scalar fields; events follow as they are.
pub(super) fn put_head(out: &mut Vec<u8>, ids: &Ids, head: &Head<'_>) {
    // Tag and length first; a header of four numbers of at most ten bytes each has a length of one byte.
    out.extend_from_slice(&[0x0a, 0]);
    let header_at = out.len();
    put_number(out, 0x08, ids.cluster);
    put_number(out, 0x10, ids.member);
    put_number(out, 0x18, unsigned(head.revision));
    put_number(out, 0x20, ids.term);
    out[header_at - 1] = u8::try_from(out.len() - header_at).expect("at most 44 bytes");
    put_number(out, 0x10, unsigned(head.watch_id));
    put_number(out, 0x18, head.created.into());
    put_number(out, 0x20, head.canceled.into());
    put_number(out, 0x28, unsigned(head.compact_revision));
    put_bytes(out, 0x32, head.cancel_reason.as_bytes());
    put_number(out, 0x38, head.fragment.into());
}
