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
pub use stored::stored_form;

/// Keys that every object, filter and policy may have beside its own.
pub const METADATA: &[&str] = &["name", "kind", "version", "labels", "createdAt"];

/// Whether `name` can name an object or a filter: 1 to 253 letters, digits, `-`, `_`, `.` and `~`.
pub fn is_url_name(name: &str) -> bool {
    (1..=253).contains(&name.chars().count())
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '~'))
}
