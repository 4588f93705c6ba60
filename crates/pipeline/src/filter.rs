//! The traits of a filter and of its kind.

use std::{any::Any, marker::PhantomData, sync::Arc};

use futures_util::future::LocalBoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_base::Budget;
use tidegate_http::io::Handle;

use crate::{
    Context, CustomData, METADATA, Problems, Report, Resolver, decode, resilience::Policies, schema_of,
    stats::PoolTraffic,
};

/// How a filter ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The next filter goes on.
    Next,
    /// One of the kind's results. Where `jumpIf` does not name it, the flow ends.
    Result(&'static str),
}

/// Built once per node and shared by its I/O threads, so a limit is the node's. A filter that waits for nothing answers at
/// once; only one that waits pays for a boxed future, which stays on its thread.
pub enum Step<'a> {
    Done(Outcome),
    Wait(LocalBoxFuture<'a, Outcome>),
}

/// What a filter is built with.
#[derive(Clone)]
pub struct Deps {
    pub budget: Budget,
    /// I/O threads of the node: what is limited for the node and kept by threads is divided by it.
    pub threads: usize,
    /// Looks up names; none while a spec is only checked.
    pub resolver: Option<Arc<Resolver>>,
    /// Starts tasks on the I/O threads, such as health checks; none while a spec is only checked. A task ends by itself when
    /// its filter is gone.
    pub io: Option<Handle>,
    /// What pools may name of the pipeline's `resilience`.
    pub policies: Arc<Policies>,
    /// Records of users in the store; none while a spec is only checked, and on a node without a store.
    pub custom_data: Option<Arc<dyn CustomData>>,
}

impl Deps {
    /// Enough to check a spec.
    pub fn new(budget: Budget, threads: usize) -> Self {
        Self { budget, threads, resolver: None, io: None, policies: Arc::default(), custom_data: None }
    }
}

/// A filter with its settings.
pub trait Filter: Send + Sync + Sized + 'static {
    const KIND: &'static str;
    /// What `jumpIf` may name.
    const RESULTS: &'static [&'static str];
    /// A filter of this kind in YAML, as it stands in a pipeline's list.
    const EXAMPLE: &'static str;
    /// Whether it does without a request. A namespace may have none.
    const WITHOUT_REQUEST: bool = false;
    /// Whether it may send the body on as it comes, so that nothing of it is left for another.
    const SENDS_BODY: bool = false;
    type Config: DeserializeOwned + JsonSchema + 'static;

    /// Refuses what a schema cannot express. Once built, a filter never fails on its configuration. Runs off the I/O
    /// threads: no socket, timer or task.
    ///
    /// # Errors
    /// All problems, each with its field.
    fn new(config: Self::Config, deps: &Deps) -> Result<Self, Problems>;

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a>;

    /// Takes over what is to survive an edit from the filter of the same name and kind, which may still be in use.
    fn inherit(&mut self, _previous: &Self) {}

    /// What the pipeline's status shows of it; null for nothing.
    fn status(&self) -> Value {
        Value::Null
    }

    /// What it counts of its pools of servers, for the metrics.
    fn pools(&self) -> Vec<PoolTraffic> {
        Vec::new()
    }
}

/// A filter of some kind.
pub trait AnyFilter: Send + Sync {
    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a>;
    /// See [`Filter::inherit`]. A filter of another kind has nothing to give.
    fn inherit(&mut self, previous: &dyn AnyFilter);
    fn status(&self) -> Value;
    fn pools(&self) -> Vec<PoolTraffic>;
    fn without_request(&self) -> bool;
    fn sends_body(&self) -> bool;
    fn as_any(&self) -> &dyn Any;
}

impl<F: Filter> AnyFilter for F {
    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        Filter::handle(self, cx)
    }

    fn inherit(&mut self, previous: &dyn AnyFilter) {
        if let Some(previous) = previous.as_any().downcast_ref::<F>() {
            Filter::inherit(self, previous);
        }
    }

    fn status(&self) -> Value {
        Filter::status(self)
    }

    fn pools(&self) -> Vec<PoolTraffic> {
        Filter::pools(self)
    }

    fn without_request(&self) -> bool {
        F::WITHOUT_REQUEST
    }

    fn sends_body(&self) -> bool {
        F::SENDS_BODY
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A kind of filters.
pub trait FilterKind: Sync {
    fn name(&self) -> &'static str;
    fn results(&self) -> &'static [&'static str];
    fn example(&self) -> &'static str;
    /// JSON schema of the settings, without the keys that every filter has.
    fn schema(&self) -> Arc<Value>;
    /// Builds a filter from its spec, which stands at `path`; `None` when the report has problems of it.
    fn build(&self, spec: &Value, path: &str, deps: &Deps, report: &mut Report) -> Option<Box<dyn AnyFilter>>;
}

/// Adapts the typed trait to the boxed one.
pub struct Kind<F>(PhantomData<fn() -> F>);

impl<F> Kind<F> {
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<F> Default for Kind<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Filter> FilterKind for Kind<F> {
    fn name(&self) -> &'static str {
        F::KIND
    }

    fn results(&self) -> &'static [&'static str] {
        F::RESULTS
    }

    fn example(&self) -> &'static str {
        F::EXAMPLE
    }

    fn schema(&self) -> Arc<Value> {
        schema_of::<F::Config>()
    }

    fn build(&self, spec: &Value, path: &str, deps: &Deps, report: &mut Report) -> Option<Box<dyn AnyFilter>> {
        let config = decode::<F::Config>(spec, path, METADATA, report)?;
        match F::new(config, deps) {
            Ok(filter) => Some(Box::new(filter)),
            Err(problems) => {
                report.problems.extend_at(path, problems);
                None
            }
        }
    }
}

/// The kinds that a node has, by name.
#[derive(Clone, Default)]
pub struct Registry(Vec<&'static dyn FilterKind>);

impl Registry {
    /// Sorted by name; of two kinds with one name the first counts.
    pub fn new(kinds: &[&'static dyn FilterKind]) -> Self {
        let mut kinds = kinds.to_vec();
        kinds.sort_by_key(|kind| kind.name());
        kinds.dedup_by_key(|kind| kind.name());
        Self(kinds)
    }

    pub fn find(&self, name: &str) -> Option<&'static dyn FilterKind> {
        self.0.iter().find(|kind| kind.name() == name).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = &'static dyn FilterKind> {
        self.0.iter().copied()
    }
}
