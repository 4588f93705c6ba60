//! Changes of headers, shared by the adaptors.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_http::message::Headers;
use tidegate_pipeline::Problems;

/// Changes of headers: first `del`, then `set`, then `add`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HeaderChange {
    /// Names to remove.
    pub(crate) del: Vec<String>,
    /// Values that take the place of all there are under their name.
    pub(crate) set: BTreeMap<String, String>,
    /// Values that come beside those that are there.
    pub(crate) add: BTreeMap<String, String>,
}

impl HeaderChange {
    pub(crate) fn apply(&self, headers: &mut Headers) {
        for name in &self.del {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.set(name, value.as_bytes());
        }
        for (name, value) in &self.add {
            headers.append(name, value.as_bytes());
        }
    }
}

/// Adds what is wrong with the keys that both adaptors have for the body.
pub(crate) fn check_codings(compress: &str, decompress: &str, body: &str, template: &str, problems: &mut Problems) {
    for (field, coding) in [("compress", compress), ("decompress", decompress)] {
        problems.require(matches!(coding, "" | "gzip"), field, "must be gzip");
    }
    let alone = compress.is_empty() && body.is_empty();
    problems.require(decompress.is_empty() || alone, "decompress", "excludes compress and body");
    problems.require(template.is_empty(), "template", "unimplemented");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removals_come_first_and_additions_last() {
        let change: HeaderChange = serde_json::from_value(serde_json::json!({
            "del": ["X-A", "x-b"], "set": {"X-C": "3", "X-B": "2"}, "add": {"x-c": "4"},
        }))
        .unwrap();
        let mut headers = Headers::new();
        for (name, value) in [("X-A", "1"), ("X-B", "1"), ("X-C", "1"), ("X-C", "2"), ("X-D", "1")] {
            headers.append(name, value.as_bytes());
        }
        change.apply(&mut headers);
        let values = |name: &str| headers.matching(name).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!((values("x-a"), values("x-b")), (vec![], vec![b"2".to_vec()]));
        assert_eq!((values("x-c"), values("x-d")), (vec![b"3".to_vec(), b"4".to_vec()], vec![b"1".to_vec()]));
    }
}
