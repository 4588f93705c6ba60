//! Responses.

use bytes::Bytes;

use super::{Body, Headers, Known};

/// A response on its way to the client: what a handler or a filter made, or what an upstream sends.
#[derive(Debug, Default)]
pub struct Response {
    /// 200 to 599; another number is sent as 500.
    pub status: u16,
    pub headers: Headers,
    pub body: Body,
}

impl Response {
    /// No headers, no body.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Headers::new(), body: Body::Empty }
    }

    pub fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self::full(status, "text/plain; charset=utf-8", body)
    }

    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::full(status, "application/json", body)
    }

    pub fn full(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let mut response = Self::new(status);
        response.headers.append_known(Known::ContentType, content_type.as_bytes());
        response.body = Body::Full(body.into());
        response
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.append(name, value.as_ref());
        self
    }

    #[must_use]
    pub fn with_body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }
}

/// The usual words for a status; empty for one without.
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        511 => "Network Authentication Required",
        _ => "",
    }
}
