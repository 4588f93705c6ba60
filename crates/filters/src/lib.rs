//! The filters of the gateway, a folder for each kind, and the list of them.

mod adapt;
mod builder;
mod cors;
mod fallback;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gzip;
mod header_lookup;
mod header_to_json;
mod matcher;
mod mock;
mod proxy;
mod rate_limiter;
mod record;
mod redirector;
mod request_adaptor;
mod response_adaptor;
mod signature;
mod text;
mod validator;

pub use builder::{Config as BuilderConfig, RequestBuilder, ResponseBuilder};
pub use cors::{Config as CorsAdaptorConfig, CorsAdaptor};
pub use fallback::{Config as FallbackConfig, Fallback};
pub use header_lookup::{Config as HeaderLookupConfig, HeaderLookup};
pub use header_to_json::{Config as HeaderToJsonConfig, HeaderToJson};
pub use mock::{Config as MockConfig, Mock};
pub use proxy::{Config as ProxyConfig, Proxy};
pub use rate_limiter::{Config as RateLimiterConfig, RateLimiter};
pub use redirector::{Config as RedirectorConfig, Redirector};
pub use request_adaptor::{Config as RequestAdaptorConfig, RequestAdaptor};
pub use response_adaptor::{Config as ResponseAdaptorConfig, ResponseAdaptor};
use tidegate_pipeline::{FilterKind, Kind};
pub use validator::{Config as ValidatorConfig, Validator};

/// Every kind, sorted by name.
pub static KINDS: &[&dyn FilterKind] = &[
    &Kind::<CorsAdaptor>::new(),
    &Kind::<Fallback>::new(),
    &Kind::<HeaderLookup>::new(),
    &Kind::<HeaderToJson>::new(),
    &Kind::<Mock>::new(),
    &Kind::<Proxy>::new(),
    &Kind::<RateLimiter>::new(),
    &Kind::<Redirector>::new(),
    &Kind::<RequestAdaptor>::new(),
    &Kind::<RequestBuilder>::new(),
    &Kind::<ResponseAdaptor>::new(),
    &Kind::<ResponseBuilder>::new(),
    &Kind::<Validator>::new(),
];

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tidegate_base::{Budget, ByteSize, Limits, Profile};
    use tidegate_pipeline::{Deps, Report};

    use super::*;

    /// Every property of a schema, those of its parts included, with its path.
    fn properties(at: &str, schema: &Value, found: &mut Vec<(String, bool)>) {
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{at}.{name}");
            found.push((path.clone(), property.get("description").is_some_and(Value::is_string)));
            properties(&path, property, found);
        }
        for (name, part) in schema.get("$defs").and_then(Value::as_object).into_iter().flatten() {
            properties(&format!("{at}({name})"), part, found);
        }
    }

    #[test]
    fn every_kind_is_described_shown_and_built() {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name()).collect();
        assert!(names.is_sorted() && names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        let limits = Limits::new(ByteSize::mib(256), Profile::Server).unwrap();
        let deps = Deps::new(Budget::new(limits), 2);
        for kind in KINDS {
            let mut found = Vec::new();
            properties(kind.name(), &kind.schema(), &mut found);
            assert!(!found.is_empty());
            for (path, described) in found {
                assert!(described, "{path} has no description");
            }
            let spec: Value = serde_yaml_ng::from_str(kind.example()).unwrap();
            assert_eq!(spec["kind"], kind.name());
            let mut report = Report::default();
            assert!(kind.build(&spec, "", &deps, &mut report).is_some(), "{report:?}");
            assert_eq!(report, Report::default(), "the example of {} is without warnings", kind.name());
            let page = format!("{}/../../docs/filters/{}.md", env!("CARGO_MANIFEST_DIR"), kind.name());
            let page = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{page}: {error}"));
            assert!(page.contains(kind.example().trim()), "the page of {} shows its example", kind.name());
            for result in kind.results() {
                assert!(page.contains(&format!("`{result}`")), "the page of {} tells of {result}", kind.name());
            }
        }
    }
}
