//! Watches over a connection.

use tidegate_api::{
    BoxFuture, Code, Error, Method, Watch, WatchStream,
    pb::{WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion},
};

use crate::{Client, Stream};

/// One watch on a stream of its own. It ends with its connection: who wants to go on opens a new one behind the last
/// revision seen.
pub struct Watcher {
    stream: Stream<WatchRequest, WatchResponse>,
    /// Revision of the store when the watch was made.
    pub created_at: i64,
    ended: bool,
}

impl Client {
    /// Opens a watch. The server's answer that it exists is consumed.
    ///
    /// # Errors
    /// As [`Client::stream`]; the reason when the server refuses the watch.
    pub async fn watcher(&self, request: WatchCreateRequest) -> Result<Watcher, Error> {
        let mut stream: Stream<WatchRequest, WatchResponse> = self.stream(Method::Watch).await?;
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(request)) };
        let sent = stream.send(&create).await;
        let Some(answer) = stream.next().await? else {
            return Err(sent.err().unwrap_or_else(|| Error::other(Code::Unavailable, "the stream has ended")));
        };
        if answer.canceled {
            return Err(refusal(&answer));
        }
        if !answer.created {
            return Err(Error::other(Code::Internal, "the first answer does not say that the watch exists"));
        }
        let created_at = answer.header.unwrap_or_default().revision;
        Ok(Watcher { stream, created_at, ended: false })
    }
}

fn refusal(answer: &WatchResponse) -> Error {
    if answer.compact_revision > 0 {
        return Error::Compacted;
    }
    // Reasons quote an error of gRPC, or are a bare text.
    let text = answer.cancel_reason.split_once(" desc = ").map_or(answer.cancel_reason.as_str(), |(_, text)| text);
    Error::from_wire(Code::Unknown, text)
}

impl Watcher {
    /// Asks for an answer that carries the revision up to which everything was delivered.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn request_progress(&mut self) -> Result<(), Error> {
        let request = RequestUnion::ProgressRequest(tidegate_api::pb::WatchProgressRequest {});
        self.stream.send(&WatchRequest { request_union: Some(request) }).await
    }

    /// The next answer, as [`WatchStream::next`].
    pub async fn next(&mut self) -> Option<Result<WatchResponse, Error>> {
        if self.ended {
            return None;
        }
        let answer = self.stream.next().await.transpose();
        self.ended = match &answer {
            Some(Ok(answer)) => answer.canceled,
            Some(Err(_)) | None => true,
        };
        answer
    }
}

impl WatchStream for Watcher {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<WatchResponse, Error>>> {
        Box::pin(Watcher::next(self))
    }
}

impl Watch for Client {
    fn watch(&self, request: WatchCreateRequest) -> BoxFuture<'_, Result<Box<dyn WatchStream>, Error>> {
        Box::pin(async move {
            let watcher = self.watcher(request).await?;
            Ok(Box::new(watcher) as Box<dyn WatchStream>)
        })
    }
}
