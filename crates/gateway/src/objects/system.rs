//! Kinds as tools see them, and the objects that are always there.

use serde_json::{Value, json};
use tidegate_pipeline::GoDuration;

use super::{Problem, Review};

const SERVICE_REGISTRY: &str = "ServiceRegistry";
/// Between two looks at the registries, unless a spec says otherwise.
const SYNC_INTERVAL: &str = "10s";

/// Kinds of which there is one object each, under the name of the kind; nobody makes or removes it. Sorted.
pub const SYSTEM_KINDS: [&str; 4] =
    ["RawConfigTrafficController", SERVICE_REGISTRY, "StatusSyncController", "TrafficController"];

/// Kinds of which there may be one object, under a name of its user's choice.
pub const SINGLE_KINDS: [&str; 1] = ["AutoCertManager"];

/// A kind, as `object-api-resources` lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    pub category: &'static str,
    pub name: &'static str,
    pub aliases: &'static [&'static str],
}

/// What clients may call a kind. Source: the resources of Easegress 2.11.
pub fn resource(kind: &str) -> Option<Resource> {
    let (category, name, aliases): (_, _, &[&str]) = match kind {
        "AutoCertManager" => ("BusinessController", "autocertmanager", &["autocert", "autocerts", "autocertmanagers"]),
        "GlobalFilter" => ("BusinessController", "globalfilter", &["globalfilters"]),
        "HTTPServer" => ("TrafficGate", "httpserver", &["httpservers", "hs"]),
        "Pipeline" => ("Pipeline", "pipeline", &["pipelines", "pl"]),
        "RawConfigTrafficController" => ("SystemController", "rawconfigtrafficcontroller", &["rctc"]),
        SERVICE_REGISTRY => ("SystemController", "serviceregistry", &["sr", "serviceregistry"]),
        "StatusSyncController" => ("SystemController", "statussynccontroller", &["ssc"]),
        "TrafficController" => ("SystemController", "trafficcontroller", &["tc", "trafficcontroller"]),
        _ => return None,
    };
    Some(Resource { category, name, aliases })
}

/// Settings of a system kind to begin with.
pub fn system_template(kind: &str) -> Value {
    if kind == SERVICE_REGISTRY { json!({"syncInterval": SYNC_INTERVAL}) } else { json!({}) }
}

/// The object of a system kind, as long as nobody has changed it. Without `createdAt`: it was there before.
pub fn system_spec(kind: &str) -> Value {
    let mut spec = json!({"name": kind, "kind": kind, "version": super::spec::DEFAULT_VERSION});
    spec["labels"] = json!({super::spec::OWNER_LABEL: super::DEFAULT_OWNER});
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, system_template(kind)) {
        spec.extend(more);
    }
    spec
}

/// Checks the spec of a system kind. All that it may hold besides metadata is the registry's interval.
pub fn system_review(kind: &str, spec: &Value) -> Review {
    let mut review = Review { stored: json!({}), ..Review::default() };
    let (Value::Object(spec), Value::Object(stored)) = (spec, &mut review.stored) else { return review };
    let mut interval = None;
    for (key, value) in spec {
        if tidegate_pipeline::METADATA.contains(&key.as_str()) {
            stored.insert(key.clone(), value.clone());
        } else if kind == SERVICE_REGISTRY && key.eq_ignore_ascii_case("syncInterval") {
            interval = Some(value);
        } else {
            review.warnings.push(format!("{key}: is not known and has no effect"));
        }
    }
    if kind == SERVICE_REGISTRY {
        let text = interval.map_or(Some(SYNC_INTERVAL), Value::as_str);
        match text.map(|text| (text, text.parse::<GoDuration>())) {
            None => review.problems.push(Problem::new("syncInterval", "must be of type string")),
            Some((_, Err(message))) => review.problems.push(Problem::new("syncInterval", message)),
            Some((text, Ok(_))) => drop(stored.insert("syncInterval".to_owned(), text.into())),
        }
    }
    review
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_kind_has_a_resource_and_a_spec_that_passes() {
        assert!(SYSTEM_KINDS.is_sorted());
        for kind in SYSTEM_KINDS {
            let resource = resource(kind).expect("it is listed");
            assert_eq!((resource.category, resource.name), ("SystemController", &*kind.to_ascii_lowercase()));
            let spec = system_spec(kind);
            let review = system_review(kind, &spec);
            assert_eq!((review.problems, review.warnings, review.stored), (vec![], vec![], spec));
        }
    }

    #[test]
    fn the_interval_is_a_duration() {
        let check = |value: Value, problems: usize| {
            let review = system_review(SERVICE_REGISTRY, &json!({"SyncInterval": value}));
            assert_eq!(review.problems.len(), problems, "{value}");
        };
        check(json!("5s"), 0);
        check(json!("5"), 1);
        check(json!(5), 1);
    }
}
