//! gRPC over real sockets, seen by a bare HTTP/2 client. After each test every holder of the budget is empty.

#![allow(clippy::unwrap_used, reason = "a test ends by a panic")]

mod admission;
mod answers;
mod connections;
mod idle;
mod messages;
mod patience;
mod raw;
mod support;
