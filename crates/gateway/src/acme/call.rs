//! Calls to the authority, over our own client: within a time, and up to a number of bytes.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use http::{HeaderName, Request, Uri};
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use serde::Deserialize;
use tidegate_http::{
    message::Method,
    tls,
    upstream::{Answer, Client},
};
use tokio::sync::{mpsc, oneshot};

/// From connecting to the last byte of an answer.
const CALL_MAX: Duration = Duration::from_secs(30);
/// Longest answer.
pub(super) const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Longest time that an authority may ask to be left alone in, in seconds: an order does not wait longer for anything.
const RETRY_AFTER_MAX: u64 = 3600;
const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
/// What is handed on of an answer's head.
const HEADERS: [&str; 2] = ["replay-nonce", "location"];

type Answered = Result<BytesResponse, Error>;

/// Asks by way of the task that [`caller`] has made: connections of ours stay on their thread, and this may be sent.
pub(super) struct Caller(mpsc::Sender<Asked>);

struct Asked {
    request: Request<BodyWrapper<Bytes>>,
    answer: oneshot::Sender<Answered>,
}

/// Both ends of a line to an authority; the second is to be polled as long as the first is used. Calls are made one after
/// another. With `secure`, none is made without TLS.
pub(super) fn caller(tls: tls::Client, secure: bool) -> (Box<Caller>, impl Future<Output = ()>) {
    let (asking, mut asked) = mpsc::channel::<Asked>(1);
    let client = Client { timeout: CALL_MAX, answer_bytes_max: ANSWER_BYTES_MAX, tls: Some(tls) };
    let work = async move {
        while let Some(Asked { request, answer }) = asked.recv().await {
            // Who does not wait any more needs no answer.
            answer.send(call(&client, request, secure).await).ok();
        }
    };
    (Box::new(Caller(asking)), work)
}

impl HttpClient for Caller {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Pin<Box<dyn Future<Output = Answered> + Send>> {
        let asking = self.0.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            asking.send(Asked { request, answer }).await.map_err(|_| Error::Str("the line is closed"))?;
            answered.await.map_err(|_| Error::Str("the line is closed"))?
        })
    }
}

async fn call(client: &Client, request: Request<BodyWrapper<Bytes>>, secure: bool) -> Answered {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await;
    let (base, target) = place(&head.uri, secure)?;
    let method = Method::of(head.method.as_str().as_bytes());
    let mut headers = vec![("User-Agent", AGENT)];
    let content_type = head.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    headers.extend(content_type.map(|value| ("Content-Type", value)));
    let answer = client.request(method, &base, &target, &headers, body.to_bytes()).await;
    let answer = answer.map_err(|error| Error::Other(Box::new(error)))?;
    if method == Method::Get && (200..300).contains(&answer.status) {
        check_directory(&answer.body)?;
    }
    handed_on(answer)
}

/// Server and path.
fn place(uri: &Uri, secure: bool) -> Result<(String, String), Error> {
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Error::Str("a URL of the authority has no host"));
    };
    if secure && scheme != "https" {
        return Err(Error::Str("the authority wants to be asked without TLS, and its directory is https"));
    }
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Ok((format!("{scheme}://{authority}"), target.to_owned()))
}

/// The library asks at this URL without a look at it, and would panic.
fn check_directory(body: &[u8]) -> Result<(), Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Directory {
        new_nonce: String,
    }
    let directory: Directory = serde_json::from_slice(body)?;
    directory.new_nonce.parse::<Uri>()?;
    Ok(())
}

/// Only what the library is to look at: a time that it cannot count up to would have it panic.
fn handed_on(answer: Answer) -> Answered {
    let Answer { status, headers, body } = answer;
    let mut response = http::Response::builder().status(status);
    for name in HEADERS {
        if let Some(value) = headers.find(name) {
            response = response.header(HeaderName::from_static(name), value);
        }
    }
    let wait =
        headers.find("retry-after").and_then(|value| std::str::from_utf8(value).ok()?.trim().parse::<u64>().ok());
    if let Some(seconds) = wait {
        response = response.header(http::header::RETRY_AFTER, seconds.min(RETRY_AFTER_MAX));
    }
    let (parts, ()) = response.body(())?.into_parts();
    Ok(BytesResponse { parts, body: Box::new(body) })
}

#[cfg(test)]
mod tests {
    use tidegate_http::message::Headers;

    use super::*;

    fn answer(status: u16, pairs: &[(&str, &str)]) -> Answer {
        let mut headers = Headers::new();
        pairs.iter().for_each(|(name, value)| headers.append(name, value.as_bytes()));
        Answer { status, headers, body: Bytes::from_static(b"{}") }
    }

    #[test]
    fn of_an_answers_head_only_what_is_harmless_is_handed_on() {
        let given = [
            ("Replay-Nonce", "n"),
            ("Location", "https://a/1"),
            ("Retry-After", "18446744073709551615"),
            ("Set-Cookie", "x"),
        ];
        let parts = handed_on(answer(201, &given)).map(|answer| answer.parts).unwrap();
        let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(parts.status, 201);
        assert_eq!(header("replay-nonce").as_deref(), Some("n"));
        assert_eq!(header("location").as_deref(), Some("https://a/1"));
        assert_eq!(header("retry-after").as_deref(), Some("3600"));
        assert_eq!(parts.headers.len(), 3);
        for odd in ["-1", "99999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", ""] {
            let parts = handed_on(answer(200, &[("Retry-After", odd)])).map(|answer| answer.parts).unwrap();
            assert!(parts.headers.is_empty(), "{odd}");
        }
        assert!(handed_on(answer(99, &[])).is_err());
    }

    #[test]
    fn a_directory_that_leads_nowhere_is_refused() {
        assert!(check_directory(br#"{"newNonce": "https://a/nonce"}"#).is_ok());
        for wrong in ["", "[]", "{}", r#"{"newNonce": 1}"#, r#"{"newNonce": "https://a b"}"#, r#"{"newNonce": ""}"#] {
            assert!(check_directory(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_authority_of_https_is_asked_by_tls_alone() {
        let check = |uri: &str, secure: bool| place(&uri.parse().unwrap(), secure).ok();
        let told = |base: &str, target: &str| Some((base.to_owned(), target.to_owned()));
        assert_eq!(check("https://a:1/b?c=d", true), told("https://a:1", "/b?c=d"));
        assert_eq!(check("http://a", false), told("http://a", "/"));
        assert_eq!(check("http://a/b", true), None);
        assert_eq!(check("/b", false), None);
    }
}
