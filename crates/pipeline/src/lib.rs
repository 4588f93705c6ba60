//! Plug-in traits of the gateway, what filters see of a request, and the interpreter of a pipeline's flow.
//!
//! ```text
//!   spec (JSON) ──decode──► Config ──Filter::new──► filter          problems: all of them, each with its field
//!                                                      │
//!   Context: request, response, locals ──Pipeline::run──► handle ──► Next | Result("…") ──jumpIf──► …
//! ```

mod context;
mod filter;
mod flow;
mod local;
mod pipeline;
pub mod resilience;
mod resolver;
mod spec;

pub use context::Context;
pub use filter::{AnyFilter, Deps, Filter, FilterKind, Kind, Outcome, Registry, Step};
pub use flow::{END, Flow, FlowNode};
pub use local::{Local, LocalKey, Locals};
pub use pipeline::Pipeline;
pub use resolver::Resolver;
pub use spec::{GoDuration, METADATA, Problem, Problems, Report, decode, is_url_name, schema_of, stored_form};
