//! What filters see of a request's trace. Who makes spans, and where they go, is not known here.

use std::sync::Arc;

use tidegate_http::{message::RequestHead, upstream::Endpoint};

/// The span of a request at its server.
pub trait TraceSpan {
    /// Begins a span below it for a call to the server at `endpoint`, and writes its context into `head`, which is about to go there.
    /// `resend`: calls that this one repeats.
    fn call(&self, name: Arc<str>, endpoint: &Endpoint, resend: u32, head: &mut RequestHead) -> Box<dyn CallSpan>;
}

/// The span of a call. Dropped before its end, it ends as cancelled.
pub trait CallSpan {
    /// With the status of the answer, or why there is none.
    fn end(self: Box<Self>, answer: Result<u16, &'static str>);
}
