//! The contract of the store with its clients: messages, errors and their texts, checks of requests, and the traits through
//! which the gateway reaches a store in the same process or behind a connection.
//!
//! Pure: nothing here reads a clock, opens a socket or holds state. Only this crate knows gRPC's codes.

mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod method;
pub mod pb;
mod range;
mod traits;
pub mod validate;
pub mod wire;

pub use error::{Code, Error};
pub use method::{Kind, Method};
pub use prost::Message;
pub use range::KeyRange;
pub use traits::{BoxFuture, Kv, Watch, WatchStream};
