//! Settings of test runs, from the environment.

use std::{fmt::Display, str::FromStr};

/// The variable `name` as a `T`.
///
/// # Panics
/// When it is set to something else: a run with a misread setting proves nothing.
pub fn setting<T: FromStr>(name: &str) -> Option<T>
where
    T::Err: Display,
{
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => panic!("{name}={text}: {error}"),
    }
}

/// Whether the durations and counts of a long run are asked for (`TIDEGATE_LONG=1`).
pub fn long() -> bool {
    std::env::var("TIDEGATE_LONG").is_ok_and(|value| value == "1")
}
