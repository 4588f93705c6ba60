//! JSON schemas of settings, made once a type.

use std::{
    any::TypeId,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use schemars::JsonSchema;
use serde_json::Value;

/// One entry for each type of settings in the program.
static SCHEMAS: Mutex<BTreeMap<TypeId, Arc<Value>>> = Mutex::new(BTreeMap::new());

/// The schema of `T`, from its fields' types and comments.
pub fn schema_of<T: JsonSchema + 'static>() -> Arc<Value> {
    let mut schemas = SCHEMAS.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(schemas.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(schemars::schema_for!(T).to_value())))
}

/// Follows `$ref`, and the one branch of an `anyOf` that is not null.
pub(super) fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let mut at = schema;
    // Settings nest a few levels; the bound only keeps a wrong schema from going round.
    for _ in 0..16 {
        if let Some(name) = at.get("$ref").and_then(Value::as_str) {
            match name.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) {
                Some(target) => at = target,
                None => return at,
            }
        } else if let Some(branches) = at.get("anyOf").and_then(Value::as_array) {
            let mut given = branches.iter().filter(|branch| branch.get("type") != Some(&Value::from("null")));
            match (given.next(), given.next()) {
                (Some(only), None) => at = only,
                _ => return at,
            }
        } else {
            return at;
        }
    }
    at
}
