//! Plug-in traits of the gateway, what filters see of a request, and the interpreter of a pipeline's flow.
//!
//! ```text
//!   spec (JSON) ──decode──► Config ──Filter::new──► filter          problems: all of them, each with its field
//!                                                      │
//!   Context: request, response, locals ──Pipeline::run──► handle ──► Next | Result("…") ──jumpIf──► …
//! ```

mod context;
mod custom;
mod filter;
mod flow;
mod local;
mod namespaces;
mod pipeline;
pub mod regexp;
pub mod resilience;
mod resolver;
mod spec;
pub mod stats;
mod tags;
mod trace;

pub use context::Context;
pub use custom::{CUSTOM_DATA_PREFIX, CustomData, CustomDataError, Extent, Follower, Following};
pub use filter::{AnyFilter, Deps, Filter, FilterKind, Kind, Outcome, Registry, Step};
pub use flow::{END, Flow, FlowNode, Node};
pub use local::{Local, LocalKey, Locals};
pub use namespaces::DEFAULT;
pub use pipeline::{Parts, Pipeline};
pub use resolver::Resolver;
pub use spec::{GoDuration, METADATA, Problem, Problems, Report, decode, field, is_url_name, schema_of, stored_form};
pub use trace::{CallSpan, TraceSpan};
