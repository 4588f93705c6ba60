//! The gateway: objects from the store, built and swapped while traffic flows, and the admin API over them.
//!
//! ```text
//!   admin API ──► Txn in the store ──► watch ──► objects (loader) ──► Plane: builds what changed, swaps it
//!                                                  │        ▲
//!                                                  └─► last good configuration on the node's own disk
//! ```

mod acme;
pub mod admin;
mod custom;
pub mod data;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod listener;
pub mod objects;
mod router;

pub use acme::AutoCert;
pub use custom::StoreData;
