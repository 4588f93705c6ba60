//! The text of a request that a signature is made over.

use tidegate_http::message::RequestHead;

use super::Literal;
use crate::text::{form_encode, form_pairs, is_unreserved, percent};

pub(super) struct Canonical<'a> {
    pub(super) literal: &'a Literal,
    pub(super) head: &'a RequestHead,
    /// Names of the signed headers, in order.
    pub(super) names: &'a [&'a str],
    /// The signature stands in the query.
    pub(super) presigned: bool,
    pub(super) body_hash: &'a str,
}

impl Canonical<'_> {
    pub(super) fn text(&self) -> String {
        let mut out = String::from_utf8_lossy(self.head.method_text()).into_owned();
        out.push('\n');
        for byte in self.head.path() {
            if is_unreserved(*byte) || *byte == b'/' { out.push(char::from(*byte)) } else { percent(*byte, &mut out) }
        }
        out.push('\n');
        self.query(&mut out);
        out.push('\n');
        for name in self.names {
            out.push_str(name);
            out.push(':');
            if *name == "host" {
                out.push_str(&self.host())
            } else {
                self.header(name, &mut out)
            }
            out.push('\n');
        }
        out.push('\n');
        out.push_str(&self.names.join(";"));
        out.push('\n');
        out.push_str(self.body_hash);
        out
    }

    /// In order of names, without the signature. Values of one name keep theirs (Go's `url.Values.Encode`).
    fn query(&self, out: &mut String) {
        let Literal { signature, algorithm_name, credential, date, expires, signed_headers, .. } = self.literal;
        let others = [algorithm_name, credential, date, expires, signed_headers];
        let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = form_pairs(self.head.query()).collect();
        pairs.retain(|(name, _)| {
            let is = |known: &String| known.as_bytes() == *name;
            !is(signature) && (self.presigned || !others.into_iter().any(is))
        });
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
        for (index, (name, value)) in pairs.iter().enumerate() {
            if index > 0 {
                out.push('&');
            }
            form_encode(name, out);
            out.push('=');
            form_encode(value, out);
        }
    }

    /// The values of a header behind each other, each without the blanks around it and with one where several follow.
    fn header(&self, name: &str, out: &mut String) {
        for (index, value) in self.head.headers.matching(name).enumerate() {
            if index > 0 {
                out.push(',');
            }
            let value = String::from_utf8_lossy(value);
            let words: Vec<&str> = value.split(' ').filter(|word| !word.is_empty()).collect();
            out.push_str(&words.join(" "));
        }
    }

    /// The host as the client named it; a colon without a port behind it, or the port that goes without saying, is left out.
    fn host(&self) -> String {
        let host = String::from_utf8_lossy(self.head.authority()).into_owned();
        let port = match self.head.scheme() {
            Some("http") => ":80",
            Some("https") => ":443",
            _ => ":",
        };
        host.strip_suffix(port).or_else(|| host.strip_suffix(':')).map(str::to_owned).unwrap_or(host)
    }
}
