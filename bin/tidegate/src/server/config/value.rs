//! Values, from texts and from the file.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use tidegate_base::ByteSize;

use super::table::Kind;

/// A value that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Bool(bool),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
}

impl Value {
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(kind: Kind, text: &str) -> Result<Self, String> {
        let parts = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
        match kind {
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::Bool => match text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
                _ => Err("must be true or false".to_owned()),
            },
            Kind::List => Ok(Value::List(parts().map(str::to_owned).collect())),
            Kind::Map => {
                let pair = |part: &str| match part.split_once('=') {
                    Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
                    None => Err(format!("\"{part}\" must be formatted as key=value")),
                };
                parts().map(pair).collect::<Result<_, _>>().map(Value::Map)
            }
            Kind::Number => match text.parse::<u64>() {
                Ok(_) => Ok(Value::Text(text.to_owned())),
                Err(error) => Err(error.to_string()),
            },
            Kind::Duration => {
                serde_json::from_value::<tidegate_pipeline::GoDuration>(text.into())
                    .map_err(|error| error.to_string())?;
                Ok(Value::Text(text.to_owned()))
            }
            Kind::Bytes => match text.parse::<ByteSize>() {
                Ok(_) => Ok(Value::Text(text.to_owned())),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// # Errors
    /// As [`Value::parse`].
    pub(super) fn from_file(kind: Kind, value: &Json) -> Result<Self, String> {
        let word = |value: &Json| match value {
            Json::String(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            Json::Bool(on) => Some(on.to_string()),
            _ => None,
        };
        match (kind, value) {
            (_, Json::Null) => Self::parse(kind, ""),
            (Kind::List, Json::Array(list)) => {
                let list: Option<Vec<String>> = list.iter().map(word).collect();
                list.map(Value::List).ok_or_else(|| "must be a list of texts".to_owned())
            }
            // A map, or a list of maps with one key each.
            (Kind::Map, Json::Object(_) | Json::Array(_)) => {
                let maps: Vec<&Json> = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
                let pairs = maps.into_iter().map(Json::as_object).collect::<Option<Vec<_>>>();
                let pairs = pairs.ok_or_else(|| "must be a map".to_owned())?.into_iter().flatten();
                let pair = |(key, value): (&String, &Json)| {
                    word(value).map(|value| (key.clone(), value)).ok_or_else(|| format!("{key} must be a text"))
                };
                pairs.map(pair).collect::<Result<_, _>>().map(Value::Map)
            }
            (_, value) => match word(value) {
                Some(text) => Self::parse(kind, &text),
                None => Err("must be a single value".to_owned()),
            },
        }
    }

    pub(super) fn to_json(&self) -> Json {
        match self {
            Value::Text(text) => text.as_str().into(),
            Value::Bool(on) => (*on).into(),
            Value::List(list) => list.clone().into(),
            Value::Map(map) => map.iter().map(|(key, value)| (key.clone(), Json::from(value.as_str()))).collect(),
        }
    }
}
