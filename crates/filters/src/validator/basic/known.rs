//! Passwords that were found good: their hashes need not be made at every request.

use std::collections::{BTreeSet, VecDeque};

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Most that are kept; the oldest goes first.
const KNOWN_MAX: usize = 512;
/// What they take, which the maker leases.
pub(super) const KNOWN_BYTES: u64 = 64 << 10;

type Digest = [u8; 32];

/// Digests of name, hash and password under a key of this process: a hash that changes is another digest.
pub(super) struct Known {
    key: [u8; 32],
    kept: BTreeSet<Digest>,
    order: VecDeque<Digest>,
}

impl Known {
    /// Takes the key from the system.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { key, kept: BTreeSet::new(), order: VecDeque::new() })
    }

    pub(super) fn digest(&self, name: &str, hash: &str, password: &[u8]) -> Digest {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length is good");
        // Their lengths go first, so that no byte can pass from one to the next.
        let lengths = [name.len(), hash.len()].map(|len| (len as u64).to_le_bytes());
        let mac = mac.chain_update(lengths.as_flattened()).chain_update(name).chain_update(hash);
        mac.chain_update(password).finalize().into_bytes().into()
    }

    /// A number that the name and `of` decide, and that nobody outside can know.
    pub(super) fn draw(&self, name: &str, of: &str) -> u32 {
        let [a, b, c, d, ..] = self.digest(name, of, b"");
        u32::from_le_bytes([a, b, c, d])
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.kept.contains(digest)
    }

    pub(super) fn keep(&mut self, digest: Digest) {
        if self.kept.insert(digest) {
            self.order.push_back(digest);
        }
        while self.order.len() > KNOWN_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.kept.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_another_hash_is_another_digest() {
        let mut known = Known::new().unwrap();
        let first = known.digest("a", "h", b"p");
        for (name, hash, password) in [("a", "h", "q"), ("a", "i", "p"), ("ah", "", "p"), ("", "ah", "p")] {
            assert_ne!(known.digest(name, hash, password.as_bytes()), first, "{name} {hash} {password}");
        }
        known.keep(first);
        for number in 1..KNOWN_MAX {
            let digest = known.digest(&number.to_string(), "h", b"p");
            known.keep(digest);
            known.keep(first);
        }
        assert!(known.has(&first) && known.kept.len() == KNOWN_MAX);
        let last = known.digest("last", "h", b"p");
        known.keep(last);
        assert!(!known.has(&first) && known.has(&last));
        assert!(known.kept.len() == KNOWN_MAX && known.order.len() == KNOWN_MAX);
    }
}
