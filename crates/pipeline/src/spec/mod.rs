//! Specs as people write them, made into settings.

mod decode;
mod duration;
mod problems;
mod schema;
mod stored;
#[cfg(test)]
mod tests;

pub use decode::decode;
pub use duration::GoDuration;
pub use problems::{Problem, Problems, Report};
pub use schema::schema_of;
use serde_json::Value;
pub use stored::stored_form;

/// Keys that every object, filter and policy may have beside its own.
pub const METADATA: &[&str] = &["name", "kind", "version", "labels", "createdAt"];

/// What stands under `key`, as keys match in all specs: exactly, or else in any case. A null is as good as nothing.
pub fn field<'a>(spec: &'a Value, key: &str) -> Option<&'a Value> {
    let told = |value: &&Value| !value.is_null();
    let similar = || {
        let mut pairs = spec.as_object()?.iter();
        pairs.find(|(other, value)| other.eq_ignore_ascii_case(key) && told(value)).map(|(_, value)| value)
    };
    spec.get(key).filter(told).or_else(similar)
}

/// The text under `key`; empty where there is none.
pub(crate) fn metadata<'a>(spec: &'a Value, key: &str) -> &'a str {
    field(spec, key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether `name` can name an object or a filter: 1 to 253 letters, digits, `-`, `_`, `.` and `~`.
pub fn is_url_name(name: &str) -> bool {
    (1..=253).contains(&name.chars().count())
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '~'))
}
