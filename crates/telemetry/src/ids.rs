//! Numbers of traces and spans.

use std::{cell::RefCell, fmt};

use rand::{RngCore, SeedableRng, rngs::SmallRng};
use tidegate_base::clock;

thread_local! {
    // They must differ and need not be hard to guess: a system call for each would cost more than the rest of a span.
    static RANDOM: RefCell<SmallRng> = RefCell::new(seeded());
}

fn seeded() -> SmallRng {
    let mut seed = [0; 32];
    if getrandom::fill(&mut seed).is_err() {
        return SmallRng::seed_from_u64(u64::try_from(clock::wall().as_nanos() & u128::from(u64::MAX)).unwrap_or(0));
    }
    SmallRng::from_seed(seed)
}

/// 16 bytes, not all of them zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceId(pub(crate) [u8; 16]);

/// 8 bytes, not all of them zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanId(pub(crate) [u8; 8]);

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    while bytes == [0; N] {
        RANDOM.with_borrow_mut(|random| random.fill_bytes(&mut bytes));
    }
    bytes
}

impl TraceId {
    pub(crate) fn random() -> Self {
        Self(random())
    }

    /// 32 hexadecimal digits in lower case, not all zero.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        digits(text).filter(|bytes| *bytes != [0; 16]).map(Self)
    }

    /// The upper and the lower half.
    pub(crate) fn halves(self) -> (u64, u64) {
        let all = u128::from_be_bytes(self.0);
        let half = |number: u128| u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
        (half(all >> 64), half(all))
    }
}

impl SpanId {
    pub(crate) fn random() -> Self {
        Self(random())
    }

    /// 16 hexadecimal digits in lower case, not all zero.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        digits(text).filter(|bytes| *bytes != [0; 8]).map(Self)
    }

    pub(crate) const fn number(self) -> u64 {
        u64::from_be_bytes(self.0)
    }
}

/// Exactly `N` bytes in lower-case hexadecimal.
pub(crate) fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
