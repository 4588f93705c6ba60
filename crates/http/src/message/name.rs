//! Header names that are known by a number.

macro_rules! known {
    ($($id:ident = $text:literal,)*) => {
        /// A header name that the program looks for itself. `Other` stands for all the rest.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Known { Other, $($id,)* }

        const NAMES: &[(Known, &str)] = &[$((Known::$id, $text),)*];

        impl Known {
            /// The name as it is written on the wire; empty for [`Known::Other`].
            pub const fn as_str(self) -> &'static str {
                match self { Known::Other => "", $(Known::$id => $text,)* }
            }
        }
    };
}

known! {
    Accept = "Accept",
    AcceptEncoding = "Accept-Encoding",
    AcceptLanguage = "Accept-Language",
    AcceptRanges = "Accept-Ranges",
    AcrHeaders = "Access-Control-Request-Headers",
    AcrMethod = "Access-Control-Request-Method",
    AcaCredentials = "Access-Control-Allow-Credentials",
    AcaHeaders = "Access-Control-Allow-Headers",
    AcaMethods = "Access-Control-Allow-Methods",
    AcaOrigin = "Access-Control-Allow-Origin",
    AceHeaders = "Access-Control-Expose-Headers",
    AcMaxAge = "Access-Control-Max-Age",
    Age = "Age",
    Allow = "Allow",
    Authorization = "Authorization",
    CacheControl = "Cache-Control",
    Connection = "Connection",
    ContentDisposition = "Content-Disposition",
    ContentEncoding = "Content-Encoding",
    ContentLanguage = "Content-Language",
    ContentLength = "Content-Length",
    ContentLocation = "Content-Location",
    ContentRange = "Content-Range",
    ContentType = "Content-Type",
    Cookie = "Cookie",
    Date = "Date",
    ETag = "ETag",
    Expect = "Expect",
    Expires = "Expires",
    Forwarded = "Forwarded",
    Host = "Host",
    IfMatch = "If-Match",
    IfModifiedSince = "If-Modified-Since",
    IfNoneMatch = "If-None-Match",
    IfRange = "If-Range",
    IfUnmodifiedSince = "If-Unmodified-Since",
    KeepAlive = "Keep-Alive",
    LastModified = "Last-Modified",
    Link = "Link",
    Location = "Location",
    Origin = "Origin",
    Pragma = "Pragma",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthorization = "Proxy-Authorization",
    ProxyConnection = "Proxy-Connection",
    Range = "Range",
    Referer = "Referer",
    RetryAfter = "Retry-After",
    Server = "Server",
    SetCookie = "Set-Cookie",
    Te = "TE",
    Trailer = "Trailer",
    TransferEncoding = "Transfer-Encoding",
    Upgrade = "Upgrade",
    UserAgent = "User-Agent",
    Vary = "Vary",
    Via = "Via",
    WwwAuthenticate = "WWW-Authenticate",
    XForwardedFor = "X-Forwarded-For",
    XForwardedHost = "X-Forwarded-Host",
    XForwardedProto = "X-Forwarded-Proto",
    XRealIp = "X-Real-Ip",
}

/// Slots of the table, a power of two well above the number of names so that most slots hold one name at most.
const SLOTS: usize = 256;

/// Each name is in its slot or, where that is taken, in the next; `build` fails to compile when more than two share one.
const TABLE: [u8; SLOTS] = build();

const fn slot(len: usize, first: u8, last: u8, middle: u8) -> usize {
    let first = (first | 0x20) as usize;
    let last = (last | 0x20) as usize;
    let middle = (middle | 0x20) as usize;
    len.wrapping_mul(35)
        .wrapping_add(first.wrapping_mul(146))
        .wrapping_add(last.wrapping_mul(217))
        .wrapping_add(middle.wrapping_mul(206))
        % SLOTS
}

const fn build() -> [u8; SLOTS] {
    let mut table = [0u8; SLOTS];
    let mut i = 0;
    while i < NAMES.len() {
        let name = NAMES[i].1.as_bytes();
        let mut at = slot(name.len(), name[0], name[name.len() - 1], name[name.len() / 2]);
        let mut tries = 0;
        while table[at] != 0 {
            at = (at + 1) % SLOTS;
            tries += 1;
            assert!(tries < PROBES, "too many names share a slot: change the factors");
        }
        table[at] = NAMES[i].0 as u8;
        i += 1;
    }
    table
}

/// Slots that one name may be in.
const PROBES: usize = 2;

impl Known {
    /// Finds the number of a name, in any case.
    pub fn of(name: &[u8]) -> Self {
        let (Some(first), Some(last)) = (name.first(), name.last()) else { return Known::Other };
        let mut at = slot(name.len(), *first, *last, name[name.len() / 2]);
        for _ in 0..PROBES {
            let Some((known, text)) = usize::from(TABLE[at]).checked_sub(1).map(|index| NAMES[index]) else {
                return Known::Other;
            };
            if text.len() == name.len() && text.as_bytes().eq_ignore_ascii_case(name) {
                return known;
            }
            at = (at + 1) % SLOTS;
        }
        Known::Other
    }

    /// Headers that speak about one connection and never travel through a proxy.
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Known::Connection
                | Known::KeepAlive
                | Known::ProxyAuthenticate
                | Known::ProxyAuthorization
                | Known::ProxyConnection
                | Known::Te
                | Known::Trailer
                | Known::TransferEncoding
                | Known::Upgrade
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for (known, text) in NAMES {
            assert_eq!(Known::of(text.as_bytes()), *known, "{text}");
            assert_eq!(Known::of(text.to_ascii_lowercase().as_bytes()), *known, "{text}");
            assert_eq!(Known::of(text.to_ascii_uppercase().as_bytes()), *known, "{text}");
            assert_eq!(known.as_str(), *text);
        }
    }

    #[test]
    fn other_names_have_no_number() {
        for name in ["", "x", "X-Request-Id", "Hosts", "Hos", "content_length", "Content-Lengths"] {
            assert_eq!(Known::of(name.as_bytes()), Known::Other, "{name}");
        }
    }
}
