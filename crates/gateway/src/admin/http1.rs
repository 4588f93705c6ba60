//! The admin API behind an HTTP/1.1 connection.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use tidegate_base::Lease;
use tidegate_http::{
    h1::{Handler, Request},
    message::{Body as HttpBody, BodyError, Known, Response},
};

use super::{Admin, AdminRequest, AdminResponse, BODY_BYTES_MAX, Body, Chunk, Chunks};

/// Answers what comes over a connection. Cheap to clone: one on each I/O thread.
#[derive(Clone)]
pub struct AdminHandler {
    admin: Arc<Admin>,
    certificates: bool,
}

impl AdminHandler {
    pub const fn new(admin: Arc<Admin>) -> Self {
        Self { admin, certificates: false }
    }

    /// Whether every connection that comes here has a client certificate that was verified.
    #[must_use]
    pub const fn with_certificates(mut self, verified: bool) -> Self {
        self.certificates = verified;
        self
    }
}

impl Handler for AdminHandler {
    async fn handle(&self, mut request: Request<'_>) -> Response {
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let mut asked = AdminRequest {
            method: String::from_utf8_lossy(request.head().method_text()).into_owned(),
            path: request.path().into_owned(),
            query: request.query().into_owned(),
            content_type: text(request.content_type()),
            accept: text(request.header("Accept")),
            origin: text(request.header("Origin")),
            host: text(request.headers().text(Known::Host)),
            authorization: text(request.header("Authorization")),
            certificate: self.certificates,
            peer: request.peer().map(|peer| peer.to_string()).unwrap_or_default(),
            body: Bytes::new(),
        };
        // Nothing is read of who may not ask.
        if let Err(refused) = self.admin.admit(&asked) {
            return respond(refused);
        }
        match request.body(BODY_BYTES_MAX as u64).await {
            Ok(body) => asked.body = body,
            Err(error) => {
                let refused = Err(super::error::AdminError::Body(error));
                return respond(self.admin.finish(&asked, refused));
            }
        }
        respond(self.admin.handle(asked).await)
    }
}

fn respond(answer: AdminResponse) -> Response {
    let mut response = Response::new(answer.status);
    if let Some(content_type) = answer.content_type {
        response.headers.append_known(Known::ContentType, content_type.as_bytes());
    }
    for (name, value) in answer.headers {
        response.headers.append(name, value.as_bytes());
    }
    response.body = match answer.body {
        Body::Whole(Chunk { bytes, .. }) if bytes.is_empty() => HttpBody::Empty,
        Body::Whole(Chunk { bytes, lease: Some(lease) }) => HttpBody::Leased(bytes, lease),
        Body::Whole(Chunk { bytes, lease: None }) => HttpBody::Full(bytes),
        Body::Chunks(chunks) => HttpBody::chunks(stream::unfold((chunks, None), next)),
    };
    response
}

/// A piece, and with the rest its lease: the next piece is asked for when this one has gone out.
async fn next(
    (mut chunks, sent): (Box<dyn Chunks>, Option<Lease>),
) -> Option<(Result<Bytes, BodyError>, (Box<dyn Chunks>, Option<Lease>))> {
    drop(sent);
    match chunks.next().await? {
        Ok(Chunk { bytes, lease }) => Some((Ok(bytes), (chunks, lease))),
        Err(error) => {
            tracing::warn!(%error, "a listing of the admin API is cut short");
            Some((Err(BodyError::Lost), (chunks, None)))
        }
    }
}
