//! Frames that move nothing: told from the others by their heads, and counted against what the client gets done.
//!
//! Why not by time alone: a client that uploads or downloads much sends many window updates and acknowledgements and is
//! welcome, one that sends nothing else is not. nginx compares the bytes of frames with those of payloads; this compares
//! frames with requests and payload frames, since it is their number that costs.

use std::time::Instant;

/// Frames without use that a client may send at once.
const BURST: i64 = 4096;
/// What a second brings back.
const PER_SECOND: i64 = 256;
/// What a reset costs: the stream was begun, and perhaps an upstream was called.
const RESET: i64 = 8;
/// What an answered request brings back.
const ANSWER: i64 = 16;
/// What a payload frame of the client brings back.
const PAYLOAD: i64 = 4;
/// So many bytes sent bring one back: a client may answer each frame with an update of both windows, and frames are as small as
/// its windows.
const SENT: u64 = 512;

const HEAD_LEN: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;

/// Reads the heads of frames in the bytes that a client sends, in pieces of any size. RFC 9113, 4.1.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes to skip: of the preface, then of payloads.
    skip: usize,
    head: [u8; HEAD_LEN],
    have: usize,
}

impl Frames {
    /// `skip` bytes stand before the first frame.
    pub(super) const fn new(skip: usize) -> Self {
        Self { skip, head: [0; HEAD_LEN], have: 0 }
    }

    /// What the frames that begin in `bytes` cost, less what they bring.
    pub(super) fn cost(&mut self, mut bytes: &[u8]) -> i64 {
        let mut cost = 0;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD_LEN - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.have += taken;
            if self.have == HEAD_LEN {
                let [a, b, c, kind, flags, ..] = self.head;
                let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                (self.have, self.skip) = (0, len);
                cost += match kind {
                    DATA if len > 0 => -PAYLOAD,
                    DATA if flags & END_STREAM != 0 => 0,
                    HEADERS => 0,
                    // Each is told to every stream.
                    RST_STREAM | GOAWAY => RESET,
                    _ => 1,
                };
            }
        }
        cost
    }
}

/// What a client may still waste.
#[derive(Debug)]
pub(super) struct Patience {
    left: i64,
    since: Instant,
}

impl Patience {
    pub(super) const fn new(now: Instant) -> Self {
        Self { left: BURST, since: now }
    }

    /// A request was answered.
    pub(super) fn answered(&mut self) {
        self.left = (self.left + ANSWER).min(BURST);
    }

    /// Bytes of bodies go out.
    pub(super) fn sent(&mut self, bytes: u64) {
        let back = i64::try_from(bytes / SENT).unwrap_or(BURST).min(BURST);
        self.left = self.left.saturating_add(back).min(BURST);
    }

    /// True when it has none left. `cost` as [`Frames::cost`] gives it.
    pub(super) fn spend(&mut self, cost: i64, now: impl FnOnce() -> Instant) -> bool {
        self.left = (self.left - cost).min(BURST);
        if self.left >= 0 {
            return false;
        }
        let now = now();
        let seconds = now.saturating_duration_since(self.since).as_secs();
        if seconds > 0 {
            let back = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(PER_SECOND);
            (self.left, self.since) = (self.left.saturating_add(back).min(BURST), now);
        }
        self.left < 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, len: usize) -> Vec<u8> {
        let size = u32::try_from(len).unwrap().to_be_bytes();
        let mut frame = vec![size[1], size[2], size[3], kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD_LEN + len, 0xff);
        frame
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let wire = [
            b"PRI".to_vec(),
            frame(4, 0, 36),         // SETTINGS: 1
            frame(1, 5, 20),         // HEADERS
            frame(0, 0, 1000),       // DATA: -4
            frame(0, 0, 0),          // DATA without use: 1
            frame(0, END_STREAM, 0), // the end of a body
            frame(3, 0, 4),          // RST_STREAM: 8
            frame(6, 0, 8),          // PING: 1
            frame(99, 0, 300),       // unknown: 1
            frame(7, 0, 8),          // GOAWAY: 8, every stream is told
        ]
        .concat();
        for step in [1, 2, 8, 9, 10, 100, 10_000] {
            let mut frames = Frames::new(3);
            let cost: i64 = wire.chunks(step).map(|piece| frames.cost(piece)).sum();
            assert_eq!(cost, 1 - 4 + 1 + 8 + 1 + 1 + 8, "in steps of {step}");
        }
    }

    #[test]
    fn patience_ends_without_use_and_comes_back_with_time() {
        let start = tidegate_base::clock::now();
        let mut patience = Patience::new(start);
        assert!(!patience.spend(BURST, || start), "a burst is free");
        assert!(patience.spend(1, || start));
        assert!(!patience.spend(0, || start + Duration::from_secs(1)), "a second brings some back");
        assert!(patience.spend(PER_SECOND, || start + Duration::from_secs(1)), "and is counted once");
        patience.answered();
        assert!(!patience.spend(RESET, || start + Duration::from_secs(1)), "so does an answer");
        patience.sent(u64::MAX);
        assert!(patience.spend(BURST + 1, || start + Duration::from_secs(1)), "but no more than a burst");
    }
}
