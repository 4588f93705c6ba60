//! Records of users in JSON or YAML, read within limits: anybody who may write custom data writes them.

use serde::de::DeserializeOwned;
use tidegate_base::{Budget, Holder};

/// Largest record that is read.
const RECORD_BYTES_MAX: usize = 64 << 10;
/// What an event of YAML takes, and what is made of it.
const EVENT_BYTES: usize = 192;
/// What a byte of JSON can take: `{"":0}` is a node of a map.
const JSON_FACTOR: usize = 128;

/// `None`: it is malformed or too large, has anchors, or there is no room to read it. What reading takes is leased meanwhile.
pub(crate) fn read<T: DeserializeOwned>(record: &[u8], budget: &Budget) -> Option<T> {
    if record.len() > RECORD_BYTES_MAX {
        return None;
    }
    let room = |bytes: usize| budget.try_lease(Holder::Gateway, bytes as u64);
    let lease = room(JSON_FACTOR * record.len())?;
    if let Ok(read) = serde_json::from_slice(record) {
        return Some(read);
    }
    drop(lease);
    // What an anchor names can come again and again, without any bound that the text would tell.
    if has_anchor(record) {
        return None;
    }
    let _lease = room(EVENT_BYTES * events_max(record) + record.len())?;
    serde_yaml_ng::from_slice(record).ok()
}

/// At most so many events come of a YAML text: each needs an indicator, and a dash, a colon or a question mark can open a
/// collection, stand for two empty scalars and close the collection again.
fn events_max(text: &[u8]) -> usize {
    let events = |byte: &u8| match byte {
        b'-' | b':' | b'?' => 3,
        b',' | b'[' | b']' | b'{' | b'}' | b'*' => 1,
        _ => 0,
    };
    8 + text.iter().map(events).sum::<usize>()
}

/// Whether there may be an anchor: a name behind `&` where a node can begin. In a quoted text it may be none.
fn has_anchor(text: &[u8]) -> bool {
    let begins =
        |before: &u8| before.is_ascii_whitespace() || b"[{,:-?!".contains(before) || !before.is_ascii_graphic();
    let named = |after: &u8| after.is_ascii_alphanumeric() || b"_-".contains(after);
    text.iter().enumerate().any(|(at, byte)| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        *byte == b'&' && before.is_none_or(begins) && text.get(at + 1).is_some_and(named)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_base::{ByteSize, Limits, Profile};

    use super::*;

    #[test]
    fn records_are_read_within_limits() {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        let text = "x".repeat(RECORD_BYTES_MAX);
        for (record, read) in [
            ("{\"a\": \"&b\"}".to_owned(), Some(json!({"a": "&b"}))),
            ("a: R & D\nb: x&y".to_owned(), Some(json!({"a": "R & D", "b": "x&y"}))),
            ("a: &b [1]\nc: *b".to_owned(), None),
            ("[&b 1, *b]".to_owned(), None),
            ("a: [".to_owned(), None),
            (format!("\"{}\"", &text[2..]), Some(text[2..].into())),
            (format!("\"{}\"", &text[1..]), None),
        ] {
            assert_eq!(super::read::<Value>(record.as_bytes(), &budget), read, "{}", record.len());
        }
        let rest = budget.try_lease(Holder::Gateway, budget.room(Holder::Gateway) - 1000).unwrap();
        assert_eq!(super::read::<Value>(b"a: 1", &budget), None, "its eleven events need more");
        drop(rest);
        assert_eq!(super::read::<Value>(b"a: 1", &budget), Some(json!({"a": 1})));
        assert_eq!(budget.used(Holder::Gateway), 0);
    }
}
