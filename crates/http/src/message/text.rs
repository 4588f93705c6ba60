//! Which bytes may stand where in a head.

/// Bytes of a token (RFC 9110, 5.6.2): method and header names.
const TOKEN: [bool; 256] = token_bytes();

const fn token_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0u8;
    loop {
        let sign = matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        table[byte as usize] = sign || byte.is_ascii_alphanumeric();
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| TOKEN[usize::from(*byte)])
}

/// A field value has no control bytes but the tab (RFC 9110, 5.5); bytes above 127 pass.
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    // No early exit: the compiler makes vector code of it, and a head is nearly always good.
    bytes.iter().fold(true, |good, byte| good & !bad_in_value(*byte))
}

pub(crate) const fn bad_in_value(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

/// A request target has neither blanks nor controls nor a fragment.
pub(crate) fn is_target(bytes: &[u8]) -> bool {
    bytes.iter().fold(!bytes.is_empty(), |good, byte| good & (*byte > 0x20 && *byte != 0x7f && *byte != b'#'))
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`: the bytes that may stand in one, and a port of digits.
pub(crate) fn is_authority(bytes: &[u8]) -> bool {
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte) || *byte >= 0x80;
    bytes.iter().all(good)
}

pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The members of a comma-separated list, without empty ones.
pub(crate) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// A decimal number of digits alone; `None` when it is none or does not fit.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')))?
    })
}
