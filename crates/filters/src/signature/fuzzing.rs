//! Signed requests out of any bytes.

use std::time::Duration;

use serde_json::json;
use tidegate_http::message::RequestHead;
use tidegate_pipeline::Problems;

use super::Config;

/// The query in the first line, a header in each that follows.
///
/// # Panics
/// When a signature counts: nobody knows the secret here.
pub(crate) fn signature(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut head = RequestHead::default();
    head.set_path(b"/a%20b/../c");
    head.set_query(lines.next().unwrap_or_default());
    for line in lines.take(40) {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':').unwrap_or(line.len()));
        head.headers.append(&String::from_utf8_lossy(name), value.get(1..).unwrap_or_default());
    }
    for provider in ["", "aws4"] {
        let config = json!({"apiProvider": provider, "accessKeys": {"key": "a secret that no input has"}, "ttl": "1h"});
        let config: Config = serde_json::from_value(config).expect("good settings");
        let signer = config.verifier("signature", &mut Problems::default());
        let verified = signer.verify(&head, Some(b"body"), Duration::from_secs(1_800_000_000));
        assert!(verified.is_err(), "nobody has signed it");
    }
}
