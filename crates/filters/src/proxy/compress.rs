//! Answers packed for clients that can unpack them.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_base::Budget;
use tidegate_http::message::{Known, Length, RequestHead, Response};

use crate::gzip::{may_code, pack_answer, recoded};

/// When answers are packed.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Compression {
    /// Least length of a body that is packed; one without a length is packed always.
    #[serde(default)]
    min_length: u64,
}

impl Compression {
    /// Packs the body on its way, where the client takes that and it is of use.
    pub(super) fn pack(self, accepts: bool, answer: &mut Response, budget: &Budget) {
        let length = match answer.body.length() {
            Length::Known(bytes) => bytes > 0 && bytes >= self.min_length,
            Length::Unknown => true,
        };
        let headers = &answer.headers;
        let bare = [Known::ContentEncoding, Known::ContentRange].into_iter().all(|name| headers.get(name).is_none());
        if !length || !bare || matches!(answer.status, 204 | 206 | 304) || !may_code(headers) {
            return;
        }
        // Whoever gets it as it is got that because of what he takes.
        if !accepts {
            answer.headers.append_known(Known::Vary, b"Accept-Encoding");
            return;
        }
        match pack_answer(std::mem::take(&mut answer.body), budget) {
            Ok(body) => {
                answer.body = body;
                recoded(&mut answer.headers, Some(b"gzip"));
                // The second is what Easegress says; caches go by the first.
                answer.headers.append_known(Known::Vary, b"Accept-Encoding, Content-Encoding");
            }
            Err(body) => answer.body = body,
        }
    }
}

/// Whether the client takes gzip: it says so, or says nothing.
pub(super) fn accepts(head: &RequestHead) -> bool {
    let mut lines = head.headers.all(Known::AcceptEncoding).peekable();
    if lines.peek().is_none() {
        return true;
    }
    lines.flat_map(|line| line.split(|byte| *byte == b',')).any(|coding| {
        let mut parts = coding.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let refused =
            parts.any(|part| part.strip_prefix(b"q=").is_some_and(|q| q.iter().all(|byte| b"0.".contains(byte))));
        !refused && [&b"gzip"[..], b"*/*", b"*"].iter().any(|known| name.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use tidegate_base::{ByteSize, Limits, Profile};
    use tidegate_http::message::Body;

    use super::*;

    #[test]
    fn clients_say_what_they_take() {
        for (lines, taken) in [
            (&[][..], true),
            (&["gzip, br"], true),
            (&["br", "GZIP;q=0.5"], true),
            (&["*/*"], true),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000"], false),
            (&["br"], false),
            (&[""], false),
        ] {
            let mut head = RequestHead::default();
            lines.iter().for_each(|line| head.headers.append("Accept-Encoding", line.as_bytes()));
            assert_eq!(accepts(&head), taken, "{lines:?}");
        }
    }

    #[test]
    fn only_what_is_worth_it_is_packed() {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        for (status, body, headers, accepts, packed, varies) in [
            (200, "12345", &[][..], true, true, true),
            (200, "1234", &[], true, false, false),
            (200, "12345", &[], false, false, true),
            (200, "12345", &[("Content-Encoding", "br")], false, false, false),
            (200, "12345", &[("Content-Range", "bytes 0-4/9")], true, false, false),
            (206, "12345", &[], true, false, false),
            (200, "12345", &[("Cache-Control", "public, No-Transform")], true, false, false),
        ] {
            let mut answer = Response::new(status).with_body(Body::Full(body.into()));
            headers.iter().for_each(|(name, value)| answer.headers.append(name, value.as_bytes()));
            Compression { min_length: 5 }.pack(accepts, &mut answer, &budget);
            let coded = answer.headers.get(Known::ContentEncoding) == Some(b"gzip");
            assert_eq!((coded, matches!(answer.body, Body::Chunks(_))), (packed, packed), "{body} {headers:?}");
            assert_eq!(answer.headers.get(Known::Vary).is_some(), varies, "{status} {body} {headers:?}");
        }
    }
}
