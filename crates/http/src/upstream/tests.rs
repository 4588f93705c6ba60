//! The client for tools, against the server of this crate.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpListener;

use super::{Client, ClientError, EndpointError};
use crate::{
    h1::{
        Config, Handler, Request,
        tests::{run, start},
    },
    message::{Body, BodyError, Method, Response},
};

struct Answers;

impl Handler for Answers {
    async fn handle(&self, mut request: Request<'_>) -> Response {
        let line = format!("{} {}?{}", request.method().as_str(), request.path(), request.query());
        match &*request.path() {
            "/chunks" => {
                let pieces = ["ab", "cd"].map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
                Response::new(200).with_body(Body::chunks(futures_util::stream::iter(pieces)))
            }
            "/missing" => Response::json(404, "{}"),
            "/large" => Response::text(200, vec![b'x'; 2000]),
            _ => match request.body(1000).await {
                Ok(body) => {
                    let kind = request.content_type().unwrap_or("none").to_owned();
                    let mut text = BytesMut::from(format!("{line} {kind} ").as_bytes());
                    text.extend_from_slice(&body);
                    Response::text(200, text.freeze())
                }
                Err(error) => Response::text(error.status(), error.to_string()),
            },
        }
    }
}

#[test]
fn small_questions_are_answered() {
    run(|budget| async move {
        let (address, _shared) = start(Answers, Config::default(), &budget).await;
        let (client, base) = (Client { answer_bytes_max: 1000, ..Client::default() }, format!("http://{address}"));
        let text =
            |answer: Result<super::Answer, ClientError>| String::from_utf8(answer.unwrap().body.to_vec()).unwrap();
        assert_eq!(text(client.get(&base, "/a?b=c d").await), "GET /a?b=c%20d none ");
        assert_eq!(text(client.post(&base, "/p", "text/x", "hello").await), "POST /p? text/x hello");
        assert_eq!(text(client.get(&base, "/chunks").await), "abcd");
        assert_eq!(text(client.request(Method::Delete, &base, "/d", &[], "").await), "DELETE /d? none ");
        let missing = client.get(&base, "/missing").await.unwrap();
        assert_eq!((missing.status, &missing.body[..]), (404, &b"{}"[..]));
        let large = client.get(&base, "/large").await;
        assert!(matches!(large, Err(ClientError::Body(BodyError::TooLarge))), "{large:?}");
    });
}

#[test]
fn failures_have_names() {
    run(|_| async move {
        let client = Client { timeout: Duration::from_millis(50), ..Client::default() };
        let wrong = client.get("localhost:1", "/").await;
        assert!(matches!(wrong, Err(ClientError::Url(EndpointError::Malformed(_)))), "{wrong:?}");
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        let late = client.get(&format!("http://{address}"), "/").await;
        assert!(matches!(late, Err(ClientError::Timeout(_))), "{late:?}");
        drop(silent);
        let refused = client.get(&format!("http://{address}"), "/").await;
        assert!(matches!(refused, Err(ClientError::Io { action: "connect", .. })), "{refused:?}");
    });
}
