//! MD5 a thousand times over, as Apache (`$apr1$`) and BSD (`$1$`) do it. Pure.
//!
//! Source: `apr_md5_encode` of the Apache Portable Runtime, `crypt_md5` of FreeBSD.

use md5::{Digest, Md5};

const ROUNDS: usize = 1000;
const SALT_MAX: usize = 8;
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Bytes of the digest in the order in which they are written, three at a time.
const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];

/// What stands behind the salt.
pub(super) fn crypt(password: &[u8], magic: &str, salt: &[u8]) -> String {
    let salt = salt.get(..SALT_MAX).unwrap_or(salt);
    let inner: [u8; 16] = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize().into();
    let mut outer = Md5::new().chain_update(password).chain_update(magic).chain_update(salt);
    for part in password.chunks(inner.len()) {
        outer.update(&inner[..part.len()]);
    }
    let mut length = password.len();
    while length > 0 {
        let byte = if length & 1 == 1 { &[0][..] } else { password.get(..1).unwrap_or_default() };
        outer.update(byte);
        length >>= 1;
    }
    let mut digest: [u8; 16] = outer.finalize().into();
    for round in 0..ROUNDS {
        let odd = round % 2 == 1;
        let mut turn = Md5::new();
        turn.update(if odd { password } else { &digest });
        if round % 3 != 0 {
            turn.update(salt);
        }
        if round % 7 != 0 {
            turn.update(password);
        }
        turn.update(if odd { &digest[..] } else { password });
        digest = turn.finalize().into();
    }
    let mut out = String::with_capacity(22);
    for [first, second, third] in ORDER {
        let value = u32::from(digest[first]) << 16 | u32::from(digest[second]) << 8 | u32::from(digest[third]);
        write(value, 4, &mut out);
    }
    write(u32::from(digest[11]), 2, &mut out);
    out
}

/// The lowest six bits first.
fn write(mut value: u32, digits: usize, out: &mut String) {
    for _ in 0..digits {
        out.push(char::from(DIGITS[(value & 63) as usize]));
        value >>= 6;
    }
}
