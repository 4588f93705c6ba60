//! Choices that a seed decides.

/// SplitMix64: any seed will do, neighbours included.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() >> 1).expect("63 bits") % n.max(1)
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// `text` with each letter in either case.
    pub(crate) fn cased(&mut self, text: &str) -> String {
        let flip = |letter: char, random: &mut Self| {
            if random.once_in(2) { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
        };
        match self.below(4) {
            0 => text.to_ascii_lowercase(),
            1 => text.to_ascii_uppercase(),
            2 => text.chars().map(|letter| flip(letter, self)).collect(),
            _ => text.to_owned(),
        }
    }

    /// Mostly small, sometimes at a border, seldom large.
    pub(crate) fn size(&mut self) -> usize {
        match self.below(40) {
            0..12 => 0,
            12..30 => self.below(40),
            30..37 => self.below(2_000),
            37 => self.one(&[1, 999, 1_000, 1_001, 2_048, 4_095, 4_096, 4_097, 8_192, 16_384, 16_385]),
            38 => self.below(20_000),
            _ if self.once_in(4) => self.below(120_000),
            _ => 1,
        }
    }
}

/// Bytes of a body: what they are depends on `id` and the place, so that a byte at a wrong place shows.
pub(crate) fn body(id: u64, size: usize) -> Vec<u8> {
    let mut random = Random::new(id);
    let salt = random.below(251);
    (0..size).map(|at| u8::try_from((at * 7 + salt + at / 251) % 251).expect("below 251")).collect()
}
