//! What any bytes may be handed to. For the targets in `fuzz/`, and for the tests, which replay what those have found.

use std::sync::OnceLock;

use serde_json::Value;
use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};
use tidegate_http::io::Threads;
use tidegate_pipeline::{FilterKind, Registry};

use crate::{data::DataPlane, objects::Plane};

/// Rules of a server and requests that look for their way. See the panics in there.
pub fn router(data: &[u8]) {
    crate::router::fuzzing::router(data);
}

struct Checker {
    plane: DataPlane,
    budget: Budget,
    _threads: Threads,
}

/// A byte for the kind of the object, then its spec in YAML or JSON. `kinds`: of the filters that it may name.
///
/// # Panics
/// When memory that its check took does not come back, or its problems name nothing.
pub fn specs(data: &[u8], kinds: &'static [&'static dyn FilterKind]) {
    static CHECKER: OnceLock<Checker> = OnceLock::new();
    let Some((kind, text)) = data.split_first() else { return };
    let kind = ["HTTPServer", "Pipeline", "GlobalFilter", "Nothing", "AutoCertManager"][usize::from(kind % 5)];
    let Ok(spec) = serde_yaml_ng::from_slice::<Value>(text) else { return };
    let checker = CHECKER.get_or_init(|| {
        let threads = Threads::start(1, "io").expect("threads start");
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).expect("good limits"));
        let plane = DataPlane::new(threads.handle(), budget.clone(), Registry::new(kinds)).expect("a plane");
        Checker { plane, budget, _threads: threads }
    });
    let before = checker.budget.used(Holder::Gateway);
    if let Err(problems) = checker.plane.validate(kind, &spec) {
        assert!(!problems.is_empty(), "refused without a reason");
    }
    assert_eq!(checker.budget.used(Holder::Gateway), before, "what a check takes comes back");
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::corpus::replay;

    #[test]
    fn routers_find_what_a_list_of_their_rules_finds() {
        replay("router", super::router);
    }

    #[test]
    fn specs_are_good_or_refused_and_leave_nothing() {
        replay("specs", |data| super::specs(data, tidegate_filters::KINDS));
    }
}
