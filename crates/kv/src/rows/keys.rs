//! Keys of rows.

use crate::Version;

const HEAD: u8 = b'k';
const EVENT: u8 = b'e';
const VALUE: u8 = b'v';
const LEASE: u8 = b'l';
const LEASE_KEY: u8 = b'L';
const ALARM: u8 = b'a';
const MEMBER: u8 = b'm';

pub(crate) fn head_key(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    out.push(HEAD);
    out.extend_from_slice(key);
    out
}

/// The key that a head row is of.
pub(crate) fn head_user_key(row: &[u8]) -> Option<&[u8]> {
    row.strip_prefix(&[HEAD])
}

fn by_version(prefix: u8, version: Version) -> [u8; 13] {
    let mut out = [prefix; 13];
    out[1..9].copy_from_slice(&version.main.to_be_bytes());
    out[9..].copy_from_slice(&version.sub.to_be_bytes());
    out
}

pub(crate) fn event_key(version: Version) -> [u8; 13] {
    by_version(EVENT, version)
}

pub(crate) fn value_key(version: Version) -> [u8; 13] {
    by_version(VALUE, version)
}

/// The version that an event row is of.
pub(crate) fn event_version(row: &[u8]) -> Option<Version> {
    let numbers = row.strip_prefix(&[EVENT])?;
    let (main, sub) = numbers.split_first_chunk::<8>()?;
    Some(Version { main: i64::from_be_bytes(*main), sub: u32::from_be_bytes(sub.try_into().ok()?) })
}

/// What all version rows of `key` begin with: the key with zero bytes escaped, and an end that no other key has.
pub(crate) fn version_prefix(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 3 + 12);
    out.push(HEAD);
    for &byte in key {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 1]);
    out
}

fn push_reversed(out: &mut Vec<u8>, version: Version) {
    out.extend_from_slice(&(!version.main).to_be_bytes());
    out.extend_from_slice(&(!version.sub).to_be_bytes());
}

pub(crate) fn version_key(key: &[u8], version: Version) -> Vec<u8> {
    let mut out = version_prefix(key);
    push_reversed(&mut out, version);
    out
}

/// Where the versions of a key that are older than `before` begin: newest first.
pub(crate) fn version_seek(prefix: &[u8], before: Version) -> Vec<u8> {
    let mut out = Vec::with_capacity(prefix.len() + 13);
    out.extend_from_slice(prefix);
    push_reversed(&mut out, before);
    out.push(0);
    out
}

/// Behind the last version of a key.
pub(crate) fn versions_end(prefix: &[u8]) -> Vec<u8> {
    let mut out = prefix.to_vec();
    // The last byte is the 01 of the end mark.
    out.pop();
    out.push(2);
    out
}

fn by_id(prefix: u8, id: u64) -> [u8; 9] {
    let mut out = [prefix; 9];
    out[1..].copy_from_slice(&id.to_be_bytes());
    out
}

pub(crate) fn lease_key(id: i64) -> [u8; 9] {
    by_id(LEASE, id.cast_unsigned())
}

pub(crate) fn lease_id(row: &[u8]) -> Option<i64> {
    let id: [u8; 8] = row.strip_prefix(&[LEASE])?.try_into().ok()?;
    Some(i64::from_be_bytes(id))
}

pub(crate) fn lease_keys_key(id: i64, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + key.len());
    out.extend_from_slice(&by_id(LEASE_KEY, id.cast_unsigned()));
    out.extend_from_slice(key);
    out
}

/// The key that a row of [`lease_keys_key`] attaches.
pub(crate) fn lease_user_key(row: &[u8]) -> Option<&[u8]> {
    if row.first() == Some(&LEASE_KEY) { row.get(9..) } else { None }
}

fn behind(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if last < 0xff {
            prefix.push(last + 1);
            break;
        }
    }
    prefix
}

/// First row and end of the keys of a lease.
pub(crate) fn lease_keys_span(id: i64) -> (Vec<u8>, Vec<u8>) {
    let prefix = lease_keys_key(id, &[]);
    (prefix.clone(), behind(prefix))
}

pub(crate) fn leases_span() -> (Vec<u8>, Vec<u8>) {
    (vec![LEASE], vec![LEASE + 1])
}

pub(crate) fn alarm_key(member: u64, alarm: u8) -> [u8; 10] {
    let mut out = [alarm; 10];
    out[..9].copy_from_slice(&by_id(ALARM, member));
    out
}

pub(crate) fn alarms_span() -> (Vec<u8>, Vec<u8>) {
    (vec![ALARM], vec![ALARM + 1])
}

pub(crate) fn member_key(id: u64) -> [u8; 9] {
    by_id(MEMBER, id)
}

pub(crate) fn members_span() -> (Vec<u8>, Vec<u8>) {
    (vec![MEMBER], vec![MEMBER + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that are prefixes of each other, with bytes that look like the end mark.
    const KEYS: &[&[u8]] = &[
        b"", b"\0", b"\0\0", b"\0\x01", b"\0\xff", b"a", b"a\0", b"a\0\0", b"a\0\x01", b"a\0\xff", b"a\x01", b"ab",
        b"\xff",
    ];

    #[test]
    fn version_rows_keep_the_order_of_keys_and_lie_together() {
        for pair in KEYS.windows(2) {
            let (a, b) = (version_prefix(pair[0]), version_prefix(pair[1]));
            assert!(a < b, "{pair:?}");
            assert!(versions_end(&a) <= b, "{pair:?}: rows of the second key are among those of the first");
        }
        for key in KEYS {
            let newest = version_key(key, Version::new(i64::MAX, u32::MAX));
            let oldest = version_key(key, Version::new(0, 0));
            assert!(newest < oldest && oldest < versions_end(&version_prefix(key)));
        }
    }

    #[test]
    fn a_seek_finds_the_newest_version_before_a_bound() {
        let row = |main, sub| version_key(b"k", Version::new(main, sub));
        let seek = version_seek(&version_prefix(b"k"), Version::new(5, 3));
        assert!(row(5, 3) < seek && row(6, 0) < seek, "not before the bound");
        assert!(seek < row(5, 2) && seek < row(4, 9));
    }

    #[test]
    fn spans_hold_their_rows_only() {
        let (from, to) = lease_keys_span(-1);
        let row = lease_keys_key(-1, b"\xff\xff");
        assert!(from <= row && row < to);
        assert_eq!(lease_user_key(&row), Some(&b"\xff\xff"[..]));
        assert_eq!(event_version(&event_key(Version::new(7, 9))), Some(Version::new(7, 9)));
        assert_eq!(event_version(b"e123"), None);
        assert_eq!(lease_id(&lease_key(-5)), Some(-5));
    }
}
