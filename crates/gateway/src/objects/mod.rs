//! Objects: what they are, how they are kept in the store, and how a node follows them.
//!
//! ```text
//!   admin ──► Store::change ──► Txn [version and object unchanged?] put object, its history, version + 1
//!                                  │
//!   store:  /config/version        │ watch from the revision of the list + 1
//!           /config/objects/NAME ──┘
//!                 ▼
//!   Loader (thread `objects`): list in pages, follow, wait for a burst to end ──► Plane::apply(everything)
//!                 │                                                                   │
//!                 └─► last good configuration, a file on this node ◄── what was built ┘
//! ```
//! The version takes the place of a lock: two writers that read the same version cannot both win, and nobody who dies
//! leaves something locked behind. Every node sees whole configurations only: the loader hands over the full map, the
//! plane works out what changed.

mod cache;
mod given;
mod loader;
mod plane;
mod read;
mod spec;
mod status;
mod store;
mod system;
mod tree;

pub use given::{Given, Unread};
pub(crate) use given::{building, built_bytes};
pub use loader::{Config, Loader};
pub use plane::{FilterInfo, ObjectStatus, Plane, Problem, Review};
pub use read::{Meter, ReadError, read_json, read_text};
pub use spec::{DEFAULT_OWNER, DEFAULT_VERSION, Spec};
pub use status::{Handle, Reservation};
pub(crate) use store::ops;
pub use store::{
    Author, ChangeError, Changed, HISTORY_BYTES_MAX, Listed, OBJECTS_PREFIX, Page, Refusal, Store, Stored, VERSION_KEY,
    VERSIONS_MAX, Version,
};
pub use system::{Resource, SINGLE_KINDS, SYSTEM_KINDS, resource, system_review, system_spec, system_template};
pub(crate) use tree::OBJECT_BYTES;
pub use tree::Texts;

#[cfg(test)]
mod tests;
