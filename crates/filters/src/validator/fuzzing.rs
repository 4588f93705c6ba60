//! Tokens out of any bytes.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;
use tidegate_http::message::RequestHead;
use tidegate_pipeline::Problems;

use super::jwt;

pub(crate) use super::basic::fuzzing::{credentials, password};

const SECRET: &[u8] = b"mysecret";
const NOW: Duration = Duration::from_secs(1_800_000_000);

/// The claims of a token with a good signature, and a token as it stands.
///
/// # Panics
/// When a token counts that nobody has signed, or one whose claims are no object.
pub(crate) fn token(data: &[u8]) {
    let config = json!({"algorithm": "HS256", "secret": "6d79736563726574", "cookieName": "token"});
    let config: jwt::Config = serde_json::from_value(config).expect("good settings");
    let checker = config.build("jwt", &mut Problems::default()).expect("good settings");
    let signed = format!("{}.{}", encode(br#"{"alg":"HS256","typ":"JWT"}"#), encode(data));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    let fits = |name: &str, start: &[u8], token: &[u8]| {
        let mut head = RequestHead::default();
        head.headers.append(name, &[start, token].concat());
        checker.fits(&head, NOW)
    };
    let good = format!("{signed}.{}", encode(tag.as_ref()));
    let counts = fits("Authorization", b"Bearer ", good.as_bytes());
    let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(data).is_ok();
    assert!(object || !counts, "claims that are no object");
    assert_eq!(fits("Cookie", b"a=b; token=", good.as_bytes()), counts);
    let mut other = tag.as_ref().to_vec();
    other[0] ^= 1;
    assert!(!fits("Authorization", b"Bearer ", format!("{signed}.{}", encode(&other)).as_bytes()));
    assert!(!fits("Authorization", b"Bearer ", data) && !fits("Cookie", b"", data), "nobody has signed it");
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
