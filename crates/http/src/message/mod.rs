//! HTTP messages as the data path holds them.
//!
//! A head is one buffer, copied once out of the receive buffer, and a list of places in it: what a filter does not touch
//! is written out again as it came. Names that the program itself looks for carry a small number, so that finding one is
//! a comparison of bytes and not of texts. Why not `http::HeaderMap`: filling and reading one costs 0.5 to 4 µs a message,
//! as much as all the rest of a proxied request.
//!
//! ```text
//!   bytes    GET /a?b HTTP/1.1␍␊Host: x␍␊Accept: */*␍␊␍␊X-Added: 1␍␊      (what is added goes to the end)
//!   entries            [Host][Accept][X-Added]    each: name, value, number of the name
//! ```

mod body;
mod headers;
mod method;
mod name;
mod request;
mod response;
pub(crate) mod text;

pub use body::{Body, BodyError, Length, Pieces};
pub use headers::{Headers, HeadersIter};
pub use method::{Method, Version};
pub use name::Known;
pub use request::RequestHead;
pub(crate) use request::Span;
pub use response::{Response, reason};
