//! Texts of requests that several kinds read: cookies, hexadecimal digits, queries. Pure.

use std::fmt::Write;

use tidegate_http::message::Headers;

/// The first cookie of this name.
pub(crate) fn cookie<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.matching("Cookie").flat_map(|line| line.split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let written = write!(text, "{byte:02x}");
        debug_assert!(written.is_ok());
    }
    text
}

pub(crate) fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks_exact(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// Names and values of a query, decoded: `+` is a blank, and a `%` without two digits stands for itself.
pub(crate) fn form_pairs(query: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let pairs = query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        (form_decode(name), form_decode(value))
    })
}

fn form_decode(text: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(byte) = text.get(at) {
        let code = if *byte == b'%' { text.get(at + 1..at + 3).and_then(unhex) } else { None };
        match (code, byte) {
            (Some(code), _) => {
                out.extend(code);
                at += 3;
                continue;
            }
            (None, b'+') => out.push(b' '),
            (None, byte) => out.push(*byte),
        }
        at += 1;
    }
    out
}

/// As the query of a form: a blank is `+`, and what is neither letter, digit, `-`, `.`, `_` nor `~` is percent-encoded.
pub(crate) fn form_encode(text: &[u8], out: &mut String) {
    for byte in text {
        match byte {
            b' ' => out.push('+'),
            byte if is_unreserved(*byte) => out.push(char::from(*byte)),
            byte => percent(*byte, out),
        }
    }
}

pub(crate) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

pub(crate) fn percent(byte: u8, out: &mut String) {
    let written = write!(out, "%{byte:02X}");
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_and_encoded_as_forms() {
        let pairs: Vec<_> = form_pairs(b"a=1+2&&b=%41%zz&c&d=x=y%").collect();
        let text =
            |pair: &(Vec<u8>, Vec<u8>)| [pair.0.clone(), pair.1.clone()].map(|text| String::from_utf8(text).unwrap());
        let pairs: Vec<[String; 2]> = pairs.iter().map(text).collect();
        assert_eq!(pairs, [["a", "1 2"], ["b", "A%zz"], ["c", ""], ["d", "x=y%"]]);
        let mut out = String::new();
        form_encode("a b+/ü~".as_bytes(), &mut out);
        assert_eq!(out, "a+b%2B%2F%C3%BC~");
    }

    #[test]
    fn digits_are_read_in_pairs() {
        assert_eq!(unhex(b"00fFA1"), Some(vec![0, 255, 161]));
        assert_eq!(hex(&[0, 255, 161]), "00ffa1");
        assert!(unhex(b"0").is_none() && unhex(b"0g").is_none());
    }

    #[test]
    fn the_first_cookie_of_a_name_counts() {
        let mut headers = Headers::new();
        headers.append("Cookie", b"ab=0; a=\"1\"; a=2");
        headers.append("Cookie", b"b=3");
        assert_eq!(
            [cookie(&headers, "a"), cookie(&headers, "b"), cookie(&headers, "c")],
            [Some(&b"1"[..]), Some(b"3"), None]
        );
    }
}
