//! Who may use the admin API, and who a request is from.
//!
//! Where credentials are configured, every request but `/healthz` needs one of them. Where none are, the API is open, and
//! then it must not be reachable from another machine: [`Access::new`] refuses that, so that the process does not start.

use std::{collections::BTreeMap, hint::black_box, net::SocketAddr};

use tidegate_http::tls::base64;

use super::AdminRequest;

/// What the configuration says about access. It has no `Debug`: its texts are secrets.
#[derive(Clone, Default)]
pub struct Credentials {
    /// What `Authorization: Bearer …` must have.
    pub token: Option<String>,
    /// Passwords by user, for basic authentication.
    pub users: BTreeMap<String, String>,
    /// Whether a client certificate that was verified is enough, where there is neither a token nor a user.
    pub certificates: bool,
    /// Origins of web pages that may use the API, such as `https://console.example`; `*`: all of them.
    pub origins: Vec<String>,
}

/// Why the process must not start with these settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    #[error(
        "the admin API at {0} can be reached from other machines, and nothing says who may use it: configure a token, \
         basic-auth or client-ca-file, or listen on a loopback address such as 127.0.0.1:2381"
    )]
    Open(SocketAddr),
    #[error("the token of the admin API is empty")]
    EmptyToken,
    #[error("basic-auth needs a name and a password for each user, and names without a colon")]
    User,
}

/// Decides who may use the admin API.
pub struct Access {
    credentials: Credentials,
}

/// Longest value of `Authorization` that is looked at.
const VALUE_BYTES_MAX: usize = 4096;

impl Access {
    /// # Errors
    /// [`AccessError`]: with it the process must end.
    pub fn new(address: SocketAddr, credentials: Credentials) -> Result<Self, AccessError> {
        if credentials.token.as_ref().is_some_and(String::is_empty) {
            return Err(AccessError::EmptyToken);
        }
        let good =
            |(user, password): (&String, &String)| !user.is_empty() && !user.contains(':') && !password.is_empty();
        if !credentials.users.iter().all(good) {
            return Err(AccessError::User);
        }
        let access = Self { credentials };
        if access.is_open() && !address.ip().to_canonical().is_loopback() {
            return Err(AccessError::Open(address));
        }
        Ok(access)
    }

    /// Everybody may use it: for an address that only this machine reaches.
    pub(super) fn open() -> Self {
        Self { credentials: Credentials::default() }
    }

    fn is_open(&self) -> bool {
        let Credentials { token, users, certificates, .. } = &self.credentials;
        token.is_none() && users.is_empty() && !certificates
    }

    /// A name for the history and the audit log; `None` for who may not.
    pub(super) fn who(&self, request: &AdminRequest) -> Option<String> {
        if self.is_open() {
            return Some("local".to_owned());
        }
        let Credentials { token, users, certificates, .. } = &self.credentials;
        // Where a token or users are configured, a certificate is asked for besides, and tells nobody's name.
        if *certificates && request.certificate && token.is_none() && users.is_empty() {
            return Some("certificate".to_owned());
        }
        let value = request.authorization.as_str();
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
        let (scheme, rest) = value.split_once(' ')?;
        let rest = rest.trim_ascii_start();
        if scheme.eq_ignore_ascii_case("bearer") {
            return same(rest.as_bytes(), token.as_ref()?.as_bytes()).then(|| "token".to_owned());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let given = base64(rest)?;
        let colon = given.iter().position(|byte| *byte == b':')?;
        let (user, password) = (&given[..colon], &given[colon + 1..]);
        let mut found = None;
        // All of them, whichever fits: how long it takes must not tell which users there are.
        for (name, secret) in users {
            let fits = same(user, name.as_bytes()) & same(password, secret.as_bytes());
            if black_box(fits) {
                found = Some(name);
            }
        }
        found.cloned()
    }

    /// What a refused client is asked for. Source: Easegress' answer for the first.
    pub(super) fn challenges(&self) -> Vec<&'static str> {
        let Credentials { token, users, .. } = &self.credentials;
        let basic = !users.is_empty() || token.is_none();
        let basic = basic.then_some("Basic realm=\"easegress-basic-auth\"");
        basic.into_iter().chain(token.as_ref().map(|_| "Bearer realm=\"admin\"")).collect()
    }

    /// Whether a page of this origin may use the API.
    pub(super) fn allows_origin(&self, origin: &str) -> bool {
        let fits = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(origin);
        !origin.is_empty() && self.credentials.origins.iter().any(fits)
    }
}

/// Compares in a time that depends on the length of `given` only.
fn same(given: &[u8], secret: &[u8]) -> bool {
    let mut differs = given.len() ^ secret.len();
    for (index, byte) in given.iter().enumerate() {
        let other = secret.get(index % secret.len().max(1)).copied().unwrap_or_default();
        differs |= black_box(usize::from(byte ^ other));
    }
    black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        let users = [("ada", "secret"), ("bob", "pass:word")].map(|(user, word)| (user.to_owned(), word.to_owned()));
        Credentials {
            token: Some("t0ken".to_owned()),
            users: users.into(),
            certificates: true,
            origins: vec!["https://console.example".to_owned()],
        }
    }

    #[test]
    fn an_open_api_must_not_be_reachable() {
        let check = |address: &str, credentials: Credentials, expected: Option<&str>| {
            let told = Access::new(address.parse().unwrap(), credentials).err().map(|error| error.to_string());
            assert_eq!(told.is_some(), expected.is_some(), "{address}: {told:?}");
            assert!(told.unwrap_or_default().contains(expected.unwrap_or_default()), "{address}");
        };
        for address in ["127.0.0.1:2381", "127.9.9.9:1", "[::1]:2381", "[::ffff:127.0.0.1]:1"] {
            check(address, Credentials::default(), None);
        }
        for address in ["0.0.0.0:2381", "[::]:2381", "10.0.0.1:2381", "[::ffff:10.0.0.1]:1"] {
            check(address, Credentials::default(), Some(&format!("admin API at {address} can be reached")));
            check(address, credentials(), None);
            check(address, Credentials { certificates: true, ..Credentials::default() }, None);
        }
        let token = Some(String::new());
        check("127.0.0.1:1", Credentials { token, ..Credentials::default() }, Some("token"));
        for (user, password) in [("", "x"), ("a:b", "x"), ("a", "")] {
            let users = [(user.to_owned(), password.to_owned())].into();
            check("127.0.0.1:1", Credentials { users, ..Credentials::default() }, Some("basic-auth"));
        }
    }

    #[test]
    fn callers_are_known_by_their_credential() {
        let access = Access::new("0.0.0.0:2381".parse().unwrap(), credentials()).unwrap();
        let check = |authorization: &str, certificate: bool, expected: Option<&str>| {
            let authorization = authorization.to_owned();
            let request = AdminRequest { authorization, certificate, ..AdminRequest::default() };
            assert_eq!(access.who(&request).as_deref(), expected, "{}", request.authorization);
        };
        check("", false, None);
        check("", true, None);
        check("Bearer wrong", true, None);
        check("Bearer t0ken", true, Some("token"));
        check("Bearer t0ken", false, Some("token"));
        check("bearer  t0ken", false, Some("token"));
        for wrong in
            ["Bearer t0keN", "Bearer t0ken ", "Bearer t0kent0ken", "Bearer ", "Bearer", "t0ken", "Digest t0ken"]
        {
            check(wrong, false, None);
        }
        check("Basic YWRhOnNlY3JldA==", false, Some("ada"));
        check("Basic Ym9iOnBhc3M6d29yZA==", false, Some("bob"));
        // ada with bob's password, a name without a password, no colon, no base64, nothing.
        for wrong in ["YWRhOnBhc3M6d29yZA==", "YWRhOg==", "YWRh", "YWRhOnNlY3JldA=", "YW!h", "", "===="] {
            check(&format!("Basic {wrong}"), false, None);
        }
        check(&format!("Bearer {}", "x".repeat(VALUE_BYTES_MAX)), false, None);
        let only = Credentials { certificates: true, ..Credentials::default() };
        let only = Access::new("0.0.0.0:2381".parse().unwrap(), only).unwrap();
        let certificate = |certificate| AdminRequest { certificate, ..AdminRequest::default() };
        assert_eq!(only.who(&certificate(true)).as_deref(), Some("certificate"));
        assert_eq!(only.who(&certificate(false)), None);
        assert_eq!(access.challenges(), ["Basic realm=\"easegress-basic-auth\"", "Bearer realm=\"admin\""]);
        assert!(access.allows_origin("HTTPS://console.example") && !access.allows_origin("https://evil.example"));
        assert!(!Access::open().allows_origin("") && Access::open().who(&AdminRequest::default()).is_some());
    }

    #[test]
    fn base64_is_read_with_its_padding() {
        let check = |text: &str, expected: Option<&[u8]>| assert_eq!(base64(text).as_deref(), expected, "{text}");
        check("", Some(b""));
        check("Zg==", Some(b"f"));
        check("Zm8=", Some(b"fo"));
        check("Zm9v", Some(b"foo"));
        check("+/+/", Some(&[0xfb, 0xff, 0xbf]));
        check("Zg", None);
        check("Z===", None);
        check("Z=m8", None);
    }
}
