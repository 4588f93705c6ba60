//! Hashes and random numbers that balancing goes by. The hashes are those of Easegress: a client keeps its server when one
//! takes the other's place.

use std::{
    fmt,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use tidegate_http::message::{Known, RequestHead};

/// FNV-1, 32 bits: multiplies first, and is not FNV-1a. <http://www.isthe.com/chongo/tech/comp/fnv/>
pub(super) struct Fnv(pub(super) u32);

impl Fnv {
    pub(super) fn of(bytes: &[u8]) -> u32 {
        let mut hash = Self::default();
        hash.add(bytes);
        hash.0
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(0x0100_0193) ^ u32::from(*byte);
        }
    }
}

impl Default for Fnv {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

/// Hash of the client's address: the first public one of `X-Forwarded-For`, else that of `X-Real-Ip`, else the peer's.
pub(super) fn of_client(head: &RequestHead, peer: Option<IpAddr>) -> u32 {
    let public = |ip: &str| ip.parse().is_ok_and(is_public);
    let mut forwarded = head.headers.text(Known::XForwardedFor).unwrap_or_default().split(',').map(str::trim);
    let told = forwarded.find(|ip| public(ip)).map(str::as_bytes).or_else(|| head.headers.find("X-Real-Ip"));
    match (told, peer) {
        (Some(ip), _) => Fnv::of(ip),
        (None, Some(ip)) => {
            let mut hash = Fnv::default();
            let written = fmt::Write::write_fmt(&mut hash, format_args!("{ip}"));
            debug_assert!(written.is_ok());
            hash.0
        }
        (None, None) => Fnv::of(b""),
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified()),
        IpAddr::V6(ip) => {
            !(ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified())
        }
    }
}

/// First half of MurmurHash3 x64 128, seed 0. <https://github.com/aappleby/smhasher>
pub(super) fn murmur3(bytes: &[u8]) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let word = |part: &[u8]| part.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let (mut h1, mut h2) = (0u64, 0u64);
    let mut blocks = bytes.chunks_exact(16);
    for block in &mut blocks {
        let (first, second) = block.split_at(8);
        h1 = (h1 ^ mix1(word(first))).rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(word(second))).rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (first, second) = blocks.remainder().split_at(blocks.remainder().len().min(8));
    h2 ^= mix2(word(second));
    h1 ^= mix1(word(first));
    h1 ^= bytes.len() as u64;
    h2 ^= bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    let last = |mut k: u64| {
        k = (k ^ k >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        k = (k ^ k >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        k ^ k >> 33
    };
    last(h1).wrapping_add(last(h2))
}

/// Random numbers for spreading load, shared by threads (SplitMix64). Not for secrets.
#[derive(Debug)]
pub(super) struct Random(AtomicU64);

impl Random {
    /// Seeded by the system; where it has no randomness, each starts alike.
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(getrandom::u64().unwrap_or(0)))
    }

    pub(super) fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// At least 0 and less than 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double")]
    pub(super) fn part(&self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_their_references() {
        // Vectors of the FNV page, and of the murmur3 package of Go and smhasher.
        for (text, hash) in [("", 0x811c_9dc5), ("a", 0x050c_5d7e), ("foobar", 0x31f0_b262)] {
            assert_eq!(Fnv::of(text.as_bytes()), hash, "{text}");
        }
        for (text, hash) in [
            ("", 0),
            ("hello", 0xcbd8_a7b3_41bd_9b02),
            ("hello, world", 0x342f_ac62_3a5e_bc8e),
            ("19 Jan 2038 at 3:14:07 AM", 0xb89e_5988_b737_affc),
            ("The quick brown fox jumps over the lazy dog.", 0xcd99_481f_9ee9_02c9),
        ] {
            assert_eq!(murmur3(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn a_client_is_known_by_its_public_address() {
        let peer: Option<IpAddr> = Some("127.0.0.1".parse().unwrap());
        let check = |headers: &[(&str, &str)], expected: &str| {
            let mut head = RequestHead::default();
            for (name, value) in headers {
                head.headers.append(name, value.as_bytes());
            }
            assert_eq!(of_client(&head, peer), Fnv::of(expected.as_bytes()), "{headers:?}");
        };
        check(&[], "127.0.0.1");
        check(&[("X-Forwarded-For", "10.0.0.1, 8.8.8.8, 9.9.9.9")], "8.8.8.8");
        check(&[("X-Real-Ip", "7.7.7.7"), ("X-Forwarded-For", "192.168.0.1")], "7.7.7.7");
        check(&[("X-Forwarded-For", "fd00::1, nonsense")], "127.0.0.1");
    }

    #[test]
    fn random_parts_stay_within_their_bounds_and_differ() {
        let random = Random(AtomicU64::new(1));
        let parts: Vec<f64> = (0..1000).map(|_| random.part()).collect();
        assert!(parts.iter().all(|part| (0.0..1.0).contains(part)));
        assert!((400..600).contains(&parts.iter().filter(|part| **part < 0.5).count()));
    }
}
