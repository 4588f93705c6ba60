//! Fields put into JSON text. Pure: the text is gone through once and nothing of it is kept but what is written.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tidegate_base::Lease;

/// Where a rewritten text goes.
pub(super) struct Out<'a> {
    pub(super) text: Vec<u8>,
    pub(super) lease: &'a mut Lease,
    /// Most bytes of it.
    pub(super) most: u64,
    /// There was no room, or it grew too large.
    pub(super) full: bool,
}

impl Out<'_> {
    fn put<E: Error>(&mut self, part: &[u8]) -> Result<(), E> {
        let needed = self.text.len() + part.len();
        if needed > self.text.capacity() {
            let target = needed.max(self.text.capacity() * 2);
            let paid = needed as u64 <= self.most && self.lease.try_grow((target - self.text.capacity()) as u64);
            if !paid {
                self.full = true;
                return Err(E::custom("no room"));
            }
            self.text.reserve_exact(target - self.text.len());
        }
        self.text.extend_from_slice(part);
        Ok(())
    }
}

/// Names and values, both as JSON strings.
pub(super) type Fields = [(String, String)];

/// Writes `text` with `fields` in its object, or in each object of its array; those that an object has already are replaced. A text of
/// blanks becomes an object.
///
/// # Errors
/// It is no JSON, neither an object nor an array of objects, or there is no room.
pub(super) fn rewrite(text: &[u8], fields: &Fields, out: &mut Out<'_>) -> serde_json::Result<()> {
    if text.trim_ascii().is_empty() {
        return add(fields, true, out).and_then(|()| out.put(b"}"));
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    Part { fields, out, inner: false }.deserialize(&mut reader)?;
    reader.end()
}

/// Opens an object with the fields; `empty`: there is nothing before them.
fn add<E: Error>(fields: &Fields, empty: bool, out: &mut Out<'_>) -> Result<(), E> {
    if empty {
        out.put(b"{")?;
    }
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 || !empty {
            out.put(b",")?;
        }
        out.put(name.as_bytes())?;
        out.put(b":")?;
        out.put(value.as_bytes())?;
    }
    Ok(())
}

struct Part<'a, 'b> {
    fields: &'a Fields,
    out: &'a mut Out<'b>,
    /// It stands in an array.
    inner: bool,
}

impl<'de> DeserializeSeed<'de> for Part<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.inner { "an object" } else { "an object or an array of objects" })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut empty = true;
        while let Some(name) = map.next_key::<Name<'de>>()? {
            let value: &RawValue = map.next_value()?;
            let name = serde_json::to_string(&name.0).map_err(A::Error::custom)?;
            if self.fields.iter().any(|(field, _)| *field == name) {
                continue;
            }
            self.out.put(if empty { b"{" } else { b"," })?;
            self.out.put(name.as_bytes())?;
            self.out.put(b":")?;
            self.out.put(value.get().as_bytes())?;
            empty = false;
        }
        add(self.fields, empty, self.out)?;
        self.out.put(b"}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { fields, out, inner } = self;
        if inner {
            return Err(A::Error::custom("expected an object"));
        }
        out.put(b"[")?;
        let mut first = true;
        loop {
            let before = out.text.len();
            if !first {
                out.put(b",")?;
            }
            if seq.next_element_seed(Part { fields, out: &mut *out, inner: true })?.is_none() {
                out.text.truncate(before);
                return out.put(b"]");
            }
            first = false;
        }
    }
}

/// A name in an object, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};

    use super::*;

    fn run(text: &str, most: u64) -> Result<String, bool> {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        let mut lease = budget.empty(Holder::Gateway);
        let mut out = Out { text: Vec::new(), lease: &mut lease, most, full: false };
        let fields = [("\"u\"".to_owned(), "\"x\\\"y\"".to_owned()), ("\"v\"".to_owned(), "\"1\"".to_owned())];
        let done = rewrite(text.as_bytes(), &fields, &mut out);
        let (full, text) = (out.full, out.text);
        assert!(lease.bytes() >= text.len() as u64);
        done.map(|()| String::from_utf8(text).unwrap()).map_err(|_| full)
    }

    #[test]
    fn fields_come_into_every_object_and_the_rest_stays_as_it_is() {
        for (text, expected) in [
            ("", r#"{"u":"x\"y","v":"1"}"#),
            (" {} ", r#"{"u":"x\"y","v":"1"}"#),
            (
                r#"{"b": 12345678901234567890.10, "u" : [1, {"u":2}], "a\n":null}"#,
                r#"{"b":12345678901234567890.10,"a\n":null,"u":"x\"y","v":"1"}"#,
            ),
            ("[]", "[]"),
            (r#"[{}, {"a":1}]"#, r#"[{"u":"x\"y","v":"1"},{"a":1,"u":"x\"y","v":"1"}]"#),
            (r#"{"\u0075":0}"#, r#"{"u":"x\"y","v":"1"}"#),
        ] {
            assert_eq!(run(text, u64::MAX).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused_and_what_grows_ends() {
        for wrong in ["1", "\"a\"", "null", "{", "{} x", "[1]", "[[{}]]", "[{},]", "{\"a\"}", "{\"a\":1,}"] {
            assert_eq!(run(wrong, u64::MAX), Err(false), "{wrong}");
        }
        let many = format!("[{}{{}}]", "{},".repeat(10_000));
        assert_eq!(run(&many, many.len() as u64), Err(true));
        assert_eq!(run(&"[".repeat(100_000), u64::MAX), Err(false), "deep nesting");
    }
}
