//! Text of specs to values, with the memory it takes leased beforehand.
//!
//! Both formats expand: `[1,1,…]` becomes forty times its length as values, a YAML alias repeats a whole subtree for two
//! bytes, and the YAML reader keeps every event of a document before it gives out the first. So values are built by a
//! visitor of our own that pays for each node before it exists, and the events of YAML are paid for by an upper bound
//! counted from the text.

use std::{cell::RefCell, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use tidegate_base::{Budget, ByteSize, Holder, Lease};

/// A value in a list: its size, and as much again for the growth of the list.
const VALUE_BYTES: usize = 2 * size_of::<Value>();
/// An entry of a map: hash, key, value, their growth, and the index.
const ENTRY_BYTES: usize = VALUE_BYTES + 2 * (size_of::<String>() + 8) + 32;
/// An event of the YAML reader with its mark, its text's allocation and the growth of the list.
const EVENT_BYTES: usize = 192;
/// Leased at once, so that small specs touch the shared account once.
const STEP_BYTES: u64 = 16 << 10;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("{0}")]
    Syntax(String),
    /// The text alone, or what it expands to, passes the limit of one reading.
    #[error("the text expands to more than {0}{1}")]
    TooLarge(ByteSize, &'static str),
    /// The node holds too much else at the moment.
    #[error("no memory is free for it at the moment")]
    NoRoom,
}

/// Pays for what one reading builds. Keep it as long as the values.
pub struct Meter {
    lease: Lease,
    used: u64,
    limit: u64,
    failed: Option<ReadError>,
}

impl Meter {
    /// A meter that takes its bytes from the gateway's holder, `limit` of them at most.
    pub fn new(budget: &Budget, limit: ByteSize) -> Self {
        Self { lease: budget.empty(Holder::Gateway), used: 0, limit: limit.0, failed: None }
    }

    /// Bytes paid for so far.
    pub const fn bytes(&self) -> u64 {
        self.used
    }

    fn pay(&mut self, bytes: usize) -> Result<(), ReadError> {
        let used = self.used.saturating_add(bytes as u64);
        if used > self.limit {
            return Err(ReadError::TooLarge(ByteSize(self.limit), ""));
        }
        let missing = used.saturating_sub(self.lease.bytes());
        if missing > 0 && !self.lease.try_grow(missing.max(STEP_BYTES)) && !self.lease.try_grow(missing) {
            return Err(ReadError::NoRoom);
        }
        self.used = used;
        Ok(())
    }

    fn give_back(&mut self, bytes: u64) {
        self.used -= bytes;
        self.lease.shrink_to(self.used);
    }
}

/// Reads one document of JSON.
///
/// # Errors
/// [`ReadError`]; the meter keeps what was paid for until it is dropped.
pub fn read_json(text: &[u8], meter: &mut Meter) -> Result<Value, ReadError> {
    let meter = RefCell::new(meter);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let read = Node { meter: &meter, yaml: false }.deserialize(&mut deserializer);
    let read = read.and_then(|value| deserializer.end().map(|()| value));
    finish(read, &mut meter.borrow_mut())
}

/// Reads one document of YAML or JSON, whatever the sender called it: JSON is taken for JSON when it begins like an
/// object and is well formed, since its reader needs far less memory.
///
/// # Errors
/// As [`read_json`].
pub fn read_text(text: &[u8], says_json: bool, meter: &mut Meter) -> Result<Value, ReadError> {
    let begins_as_json = text.trim_ascii_start().first() == Some(&b'{');
    let json = if begins_as_json || says_json { Some(read_json(text, meter)) } else { None };
    match json {
        Some(Err(ReadError::Syntax(told))) => {
            read_yaml(text, meter).map_err(|error| if says_json { ReadError::Syntax(told) } else { error })
        }
        Some(read) => read,
        None => read_yaml(text, meter),
    }
}

fn read_yaml(text: &[u8], meter: &mut Meter) -> Result<Value, ReadError> {
    let events = (events_max(text) * EVENT_BYTES + text.len()) as u64;
    meter.pay(usize::try_from(events).unwrap_or(usize::MAX)).map_err(|error| match error {
        ReadError::TooLarge(limit, _) => ReadError::TooLarge(limit, " as YAML; JSON needs less"),
        other => other,
    })?;
    let shared = RefCell::new(&mut *meter);
    let read = Node { meter: &shared, yaml: true }.deserialize(serde_yaml_ng::Deserializer::from_slice(text));
    let value = finish(read, &mut shared.borrow_mut());
    meter.give_back(events);
    value
}

/// At most so many events come of a text: each needs an indicator, and a dash, a colon or a question mark can open a
/// collection, stand for two empty scalars and close the collection again.
fn events_max(text: &[u8]) -> usize {
    text.iter().fold(8, |sum, byte| {
        sum + match byte {
            b'-' | b':' | b'?' => 3,
            b',' | b'[' | b']' | b'{' | b'}' | b'*' => 1,
            _ => 0,
        }
    })
}

fn finish<E: fmt::Display>(read: Result<Value, E>, meter: &mut Meter) -> Result<Value, ReadError> {
    read.map_err(|error| meter.failed.take().unwrap_or_else(|| ReadError::Syntax(error.to_string())))
}

#[derive(Clone, Copy)]
struct Node<'m, 'a> {
    meter: &'m RefCell<&'a mut Meter>,
    yaml: bool,
}

impl Node<'_, '_> {
    fn pay<E: de::Error>(&self, bytes: usize) -> Result<(), E> {
        let mut meter = self.meter.borrow_mut();
        meter.pay(bytes).map_err(|error| {
            let told = E::custom(&error);
            meter.failed = Some(error);
            told
        })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can express")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.pay(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    /// An empty document of YAML.
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            self.pay(VALUE_BYTES)?;
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        while let Some(key) = access.next_key_seed(Key { yaml: self.yaml })? {
            self.pay(ENTRY_BYTES + key.len())?;
            let value = access.next_value_seed(self)?;
            if self.yaml && key == "<<" {
                merged.push(value);
            } else if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("the key {key:?} stands twice in one mapping")));
            } else {
                map.insert(key, value);
            }
        }
        merge(&mut map, merged).map_err(de::Error::custom)?;
        Ok(Value::Object(map))
    }
}

/// YAML's merge key: what the mapping itself says wins, then the first source that knows the key.
fn merge(map: &mut Map<String, Value>, sources: Vec<Value>) -> Result<(), &'static str> {
    for source in sources {
        match source {
            Value::Object(entries) => {
                for (key, value) in entries {
                    map.entry(key).or_insert(value);
                }
            }
            // One level only: a list in this list is no mapping.
            Value::Array(list) if list.iter().all(Value::is_object) => merge(map, list)?,
            _ => return Err("`<<` takes a mapping or a list of mappings"),
        }
    }
    Ok(())
}

/// A key of a mapping. YAML keys such as `200` or `true` become the text they were written as.
struct Key {
    yaml: bool,
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        if self.yaml { deserializer.deserialize_any(self) } else { deserializer.deserialize_str(self) }
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }

    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }
}

#[cfg(test)]
mod tests;
