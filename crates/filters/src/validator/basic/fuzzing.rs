//! Passwords and names out of any bytes.

use base64::{Engine, prelude::BASE64_STANDARD};
use tidegate_http::message::RequestHead;

use super::hash::Hash;

/// A hash as `htpasswd` writes it, and behind a line end the password.
///
/// # Panics
/// When a password that is kept as it is does not fit itself, or fits another.
pub(crate) fn password(data: &[u8]) {
    let (text, password) = data.iter().position(|byte| *byte == b'\n').map_or((data, &[][..]), |at| {
        let (text, rest) = data.split_at(at);
        (text, &rest[1..])
    });
    let Ok(text) = std::str::from_utf8(text) else { return };
    let hash = Hash::read(text);
    // The slow ones are slow here, too.
    if hash.is_slow() {
        return;
    }
    let fits = hash.fits(password);
    match hash {
        Hash::Plain(kept) => assert_eq!(fits, kept.as_bytes() == password),
        Hash::Never => assert!(!fits),
        _ => {}
    }
}

/// Name and password of a request, as they stand in the header and as they are encoded there.
///
/// # Panics
/// When others come out than went in.
pub(crate) fn credentials(data: &[u8]) {
    let read = |value: &[u8]| {
        let mut head = RequestHead::default();
        head.headers.append("Authorization", value);
        super::credentials(&head)
    };
    read(data);
    read(&[b"Basic ", data].concat());
    if let Some((name, password)) = read(format!("Basic {}", BASE64_STANDARD.encode(data)).as_bytes()) {
        assert_eq!([name.as_bytes(), b":", &password[..]].concat(), data);
    }
}
