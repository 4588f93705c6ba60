//! Custom data: small records of users' own kinds, kept in the store beside the objects and read by filters and tools.
//!
//! ```text
//!   /custom-data-kinds/KIND   {"name", "idField", "jsonSchema"}
//!   /custom-data/KIND/ID      the record
//! ```
//! Every write compares the revision of its kind, so no record slips in by a schema that is no longer the kind's.

mod follow;
mod schema;
mod store;

pub use follow::StoreData;
pub(crate) use schema::{Schema, USE_BYTES as SCHEMA_USE_BYTES, Work};
pub(crate) use store::{CustomError, CustomStore, Found, KINDS, Kind, items_prefix};

use serde_json::Value;
use tidegate_pipeline::field;

/// Longest id of a record, in bytes.
const ID_BYTES_MAX: usize = 512;
const ID_FIELD: &str = "name";

impl Kind {
    /// Reads and checks a kind.
    pub(crate) fn new(value: &Value) -> Result<(Self, Option<Schema>), CustomError> {
        let text = |key: &str| field(value, key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, id_field) = (text("name"), text("idField"));
        if !tidegate_pipeline::is_url_name(&name) {
            return Err(CustomError::Invalid(
                "name: must be 1 to 253 letters, digits, `-`, `_`, `.` or `~`".to_owned(),
            ));
        }
        if id_field.len() > ID_BYTES_MAX {
            return Err(CustomError::Invalid(format!("idField: must not be longer than {ID_BYTES_MAX} bytes")));
        }
        let schema = field(value, "jsonSchema");
        let compiled = schema.map(Schema::new).transpose();
        let compiled = compiled.map_err(|error| CustomError::Invalid(format!("jsonSchema: {error}")))?;
        Ok((Self { name, id_field, json_schema: schema.cloned() }, compiled))
    }

    /// A kind as it is listed; `None` for what somebody else wrote there.
    pub(crate) fn listed(value: Value, count: i64) -> Option<Value> {
        let kind = serde_json::from_value::<Self>(value).ok()?;
        Some(kind.with_len(count))
    }

    pub(crate) fn with_len(&self, count: i64) -> Value {
        let mut value = serde_json::to_value(self).expect("our own types have text keys only");
        value["len"] = count.into();
        value
    }

    fn id_field(&self) -> &str {
        if self.id_field.is_empty() { ID_FIELD } else { &self.id_field }
    }

    /// The id of a record, where it has one.
    pub(crate) fn id<'a>(&self, item: &'a Value) -> Result<&'a str, CustomError> {
        let field = self.id_field();
        match item.get(field).and_then(Value::as_str) {
            Some(id) if !id.is_empty() && id.len() <= ID_BYTES_MAX && !id.contains(char::is_control) => Ok(id),
            _ => Err(CustomError::Invalid(format!(
                "{field}: must be a text of 1 to {ID_BYTES_MAX} bytes without control characters: it is the id"
            ))),
        }
    }
}
