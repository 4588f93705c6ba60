//! What a scenario asks for, and the program that asks.

use std::path::Path;

use anyhow::Result;

use super::{fleet::Proxy, h2load, handshakes, idle::Protocol, pki::Certificate, wrk};

/// What a generator saw.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) requests: f64,
    pub(super) seconds: f64,
    /// Milliseconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Socket errors and answers that are no success.
    pub(super) failed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Load {
    /// Connections with one request at a time, over HTTP/1.1.
    Plain { connections: Connections, headers: Headers, body: usize },
    /// The same GET over TLS.
    Secure,
    /// A connection for each request.
    Handshakes { resume: bool },
    /// Requests side by side on 16 connections, over HTTP/2 and TLS.
    Streams,
    /// Connections that had one request and wait.
    Idle(Protocol),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Connections {
    /// As many as the run is told to use.
    Given,
    Thousand,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Headers {
    Few,
    /// 24, 2.1 KiB, as browsers and clients of APIs send them.
    Many,
}

impl Load {
    /// One measurement. Not for [`Load::Idle`], which measures memory.
    pub(super) fn run(
        self,
        proxy: &Proxy,
        path: &str,
        certificate: &Certificate,
        dir: &Path,
        args: (usize, u64),
    ) -> Result<Outcome> {
        let (given, seconds) = args;
        let plain = format!("http://{}{path}", proxy.plain);
        let secure = format!("https://{}{path}", proxy.secure);
        let few = wrk::Request { headers: &[], body: 0 };
        match self {
            Self::Plain { connections, headers, body } => {
                let count = if connections == Connections::Given { given } else { 1000 };
                let many = many_headers();
                let many: Vec<_> = many.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let headers = if headers == Headers::Few { &[][..] } else { &many };
                wrk::run(dir, &plain, count, wrk::Request { headers, body }, seconds)
            }
            Self::Secure => wrk::run(dir, &secure, given, few, seconds),
            Self::Handshakes { resume } => handshakes::run(&proxy.secure, certificate, resume, seconds),
            Self::Streams => h2load::run(dir, &secure, 16, 10, seconds),
            Self::Idle(_) => Ok(Outcome::default()),
        }
    }
}

fn many_headers() -> Vec<(&'static str, String)> {
    let cookie: Vec<String> =
        (0..16).map(|number| format!("k{number}={}", format!("v{number:02}").repeat(12))).collect();
    let fixed = [
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
        ),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
        ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8"),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Cache-Control", "no-cache"),
        ("Pragma", "no-cache"),
        ("Referer", "https://example.com/a/long/path/to/some/page?with=query&and=more"),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Site", "none"),
        ("Sec-Fetch-User", "?1"),
        ("Sec-CH-UA", "\"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\""),
        ("Sec-CH-UA-Mobile", "?0"),
        ("Sec-CH-UA-Platform", "\"Linux\""),
        ("Upgrade-Insecure-Requests", "1"),
        ("X-Request-Id", "7f3c1c3e-1df1-4a0e-9a59-1d0f8c2b7a11"),
        ("X-B3-TraceId", "80f198ee56343ba864fe8b2a57d3eff7"),
        ("X-B3-SpanId", "e457b5a2e4d86bd1"),
        ("X-B3-Sampled", "1"),
        ("X-Tenant", "acme-production"),
        ("X-Client-Version", "12.4.1"),
        ("DNT", "1"),
    ];
    let mut headers: Vec<_> = fixed.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    headers.push(("Cookie", cookie.join("; ")));
    headers.push(("Authorization", format!("Bearer eyJhbGciOiJSUzI1NiJ9.{}", "a".repeat(600))));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_headers_are_as_many_as_the_manual_says() {
        let headers = many_headers();
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        assert_eq!(headers.len(), 24);
        assert_eq!(bytes, 2164, "2.1 KiB");
    }
}
