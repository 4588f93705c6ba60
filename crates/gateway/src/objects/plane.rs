//! What objects need from the half that moves the traffic.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::{Map, Value};

use super::Texts;

/// One thing that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Path of the field, such as `rules[0].paths[2].path`; empty for the whole spec.
    pub field: String,
    pub message: String,
}

impl Problem {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.field.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.field, self.message)
    }
}

/// Longest error or warning kept, and warnings of one object: a spec must not make its status large.
const TEXT_BYTES_MAX: usize = 1 << 10;
const WARNINGS_MAX: usize = 16;

/// How one object stands on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus {
    /// Kind of the object; empty where its spec cannot be read.
    #[serde(skip)]
    pub kind: String,
    /// Why the newest spec does not run; the one before it still does, if there was one.
    pub error: Option<String>,
    /// What was accepted and has no effect, such as unknown keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Bytes that what runs of it holds.
    #[serde(skip)]
    pub bytes: u64,
}

impl ObjectStatus {
    /// Cuts what is too long to be kept.
    pub fn shorten(&mut self) {
        self.warnings.truncate(WARNINGS_MAX);
        for text in self.warnings.iter_mut().chain(&mut self.error) {
            if text.len() > TEXT_BYTES_MAX {
                text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
                text.shrink_to_fit();
            }
        }
    }
}

/// What checking a spec found: all of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Review {
    pub problems: Vec<Problem>,
    pub warnings: Vec<String>,
    /// The spec as it is kept, defaults included; it means something only where there are no problems.
    pub stored: Value,
}

/// What tools ask about a kind of filters.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterInfo {
    pub description: String,
    /// JSON schema of its settings, metadata included, without references.
    pub schema: Value,
    pub results: Vec<&'static str>,
}

/// Builds and runs objects.
pub trait Plane: Send + Sync + 'static {
    /// Kinds that it can build, sorted.
    fn kinds(&self) -> Vec<&'static str>;

    /// Kinds of filters that pipelines may use, sorted.
    fn filters(&self) -> Vec<&'static str>;

    /// What a kind of filters is; `None` for one that it does not have.
    fn filter(&self, _kind: &str) -> Option<FilterInfo> {
        None
    }

    /// Checks one spec of a kind it knows. Builds nothing, so it may run on any thread.
    fn review(&self, kind: &str, spec: &Value) -> Review;

    /// A spec of this kind to begin with, without its metadata.
    fn template(&self, _kind: &str) -> Value {
        Value::Object(Map::new())
    }

    /// As [`Plane::review`], for those who want warnings or problems.
    ///
    /// # Errors
    /// Every problem at once.
    fn validate(&self, kind: &str, spec: &Value) -> Result<Vec<String>, Vec<Problem>> {
        let Review { problems, warnings, .. } = self.review(kind, spec);
        if problems.is_empty() { Ok(warnings) } else { Err(problems) }
    }

    /// What a server or pipeline of this name has counted, for its status. Waits for nothing.
    fn numbers(&self, _name: &str) -> Map<String, Value> {
        Map::new()
    }

    /// Metrics in the text format of Prometheus, in pieces of some KiB; each series has `labels`.
    fn metrics(&self, _labels: &[(&str, &str)]) -> Box<dyn Iterator<Item = String> + Send> {
        Box::new(std::iter::empty())
    }

    /// Makes `texts` what runs: reads ([`Given`](super::Given)) and builds whole what is new or differs, one after another,
    /// swaps it, stops what is gone. An object that fails to build leaves its predecessor running. Returns the status of every object. Blocks
    /// for as long as building takes, so it is never called on an I/O thread.
    fn apply(&self, texts: &Texts) -> BTreeMap<String, ObjectStatus>;
}
