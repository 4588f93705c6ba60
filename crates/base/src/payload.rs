//! The payload of a log entry.

use std::fmt;

use bytes::Bytes;

/// Bytes of one log entry, in two parts so that an envelope can be put before a message without copying the message.
///
/// Two payloads are equal when their bytes are, however they are divided: the log gives back in one part what was
/// appended in two. Cloning shares the bytes. Printed as lengths: what clients store is not for logs.
#[derive(Clone, Default)]
pub struct Payload {
    pub head: Bytes,
    pub body: Bytes,
}

impl Payload {
    pub const fn new(head: Bytes, body: Bytes) -> Self {
        Self { head, body }
    }

    /// Length of both parts.
    pub const fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }

    /// The parts in order; either may be empty.
    pub const fn parts(&self) -> [&Bytes; 2] {
        [&self.head, &self.body]
    }

    /// All bytes in one part. Copies only when both parts have content.
    pub fn contiguous(&self) -> Bytes {
        match (self.head.is_empty(), self.body.is_empty()) {
            (_, true) => self.head.clone(),
            (true, false) => self.body.clone(),
            (false, false) => {
                let mut whole = Vec::with_capacity(self.len());
                whole.extend_from_slice(&self.head);
                whole.extend_from_slice(&self.body);
                whole.into()
            }
        }
    }
}

impl From<Bytes> for Payload {
    fn from(head: Bytes) -> Self {
        Self { head, body: Bytes::new() }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} + {} bytes)", self.head.len(), self.body.len())
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.head.iter().chain(&self.body).eq(other.head.iter().chain(&other.body))
    }
}

impl Eq for Payload {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_ignores_the_division() {
        let payload = |head: &'static str, body: &'static str| {
            Payload::new(Bytes::from_static(head.as_bytes()), Bytes::from_static(body.as_bytes()))
        };
        assert_eq!(payload("ab", "c"), payload("a", "bc"));
        assert_eq!(payload("", "abc"), payload("abc", ""));
        assert_ne!(payload("ab", "c"), payload("ab", "d"));
        assert_ne!(payload("ab", "c"), payload("ab", "cd"));
    }

    #[test]
    fn one_part_is_taken_without_copying() {
        let bytes = Bytes::from(vec![1, 2, 3]);
        assert_eq!(Payload::from(bytes.clone()).contiguous().as_ptr(), bytes.as_ptr());
        assert_eq!(Payload::new(Bytes::new(), bytes.clone()).contiguous().as_ptr(), bytes.as_ptr());
        assert_eq!(Payload::new(bytes.clone(), bytes).contiguous(), [1, 2, 3, 1, 2, 3].as_slice());
    }
}
