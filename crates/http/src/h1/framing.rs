//! Where a body ends: by length, by chunks, or when the connection closes.

use memchr::memchr;

use crate::message::{BodyError, text};

/// Longest line of a chunk's size with its extensions.
const SIZE_LINE_MAX: usize = 512;
/// Most bytes of trailers; they are read, checked and dropped.
const TRAILERS_MAX: usize = 8 << 10;

/// Takes a body's framing off. Pure: looks at bytes and says what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoder {
    Length(u64),
    UntilClose,
    Size,
    Chunk(u64),
    ChunkEnd,
    Trailers(usize),
    Done,
}

/// What the front of the buffer is: `skip` bytes of framing, then `data` bytes of the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) skip: usize,
    pub(crate) data: usize,
    /// The body ends behind the skipped bytes. `data` is 0.
    pub(crate) end: bool,
}

impl Decoder {
    pub(crate) const fn length(bytes: u64) -> Self {
        if bytes == 0 { Decoder::Done } else { Decoder::Length(bytes) }
    }

    pub(crate) const fn chunked() -> Self {
        Decoder::Size
    }

    pub(crate) const fn is_done(&self) -> bool {
        matches!(self, Decoder::Done)
    }

    /// Whether the body comes in chunks and has not ended.
    pub(crate) const fn is_chunked(&self) -> bool {
        matches!(self, Decoder::Size | Decoder::Chunk(_) | Decoder::ChunkEnd | Decoder::Trailers(_))
    }

    /// Whether the last chunk has been seen, and not the end behind it.
    pub(crate) const fn in_trailers(&self) -> bool {
        matches!(self, Decoder::Trailers(_))
    }

    /// Whether all bytes of a chunk have come, and not its end.
    pub(crate) const fn is_at_chunk_end(&self) -> bool {
        matches!(self, Decoder::ChunkEnd)
    }

    /// Bytes of the body that are announced and have not come.
    pub(crate) const fn announced(&self) -> u64 {
        match self {
            Decoder::Length(left) | Decoder::Chunk(left) => *left,
            _ => 0,
        }
    }

    /// Bytes of the body have gone by, of those that are announced.
    pub(crate) fn passed(&mut self, bytes: u64) {
        if let Decoder::Length(left) = *self {
            *self = Self::length(left.saturating_sub(bytes));
        }
    }

    /// The sender closed: either that ends the body, or it is cut short.
    pub(crate) fn closed(&mut self) -> Result<(), BodyError> {
        match self {
            Decoder::UntilClose | Decoder::Done => {
                *self = Decoder::Done;
                Ok(())
            }
            _ => Err(BodyError::Truncated),
        }
    }

    /// The next piece. The caller takes its bytes away before it asks again; with no data and no end it waits for more.
    pub(crate) fn next(&mut self, input: &[u8]) -> Result<Piece, BodyError> {
        let mut skip = 0;
        loop {
            let rest = input.get(skip..).unwrap_or_default();
            match *self {
                Decoder::Done => return Ok(Piece { skip, data: 0, end: true }),
                Decoder::UntilClose => return Ok(Piece { skip, data: rest.len(), end: false }),
                Decoder::Length(left) => {
                    let data = take(left, rest.len());
                    *self = Self::length(left - data as u64);
                    return Ok(Piece { skip, data, end: false });
                }
                Decoder::Chunk(left) => {
                    let data = take(left, rest.len());
                    *self = if data as u64 == left { Decoder::ChunkEnd } else { Decoder::Chunk(left - data as u64) };
                    return Ok(Piece { skip, data, end: false });
                }
                Decoder::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        skip += 2;
                        *self = Decoder::Size;
                    }
                    [] | [b'\r'] => return Ok(Piece { skip, data: 0, end: false }),
                    _ => return Err(BodyError::Malformed),
                },
                Decoder::Size => {
                    let Some(line) = line(rest, SIZE_LINE_MAX)? else {
                        return Ok(Piece { skip, data: 0, end: false });
                    };
                    skip += line.len() + 2;
                    *self = match size(line)? {
                        0 => Decoder::Trailers(0),
                        bytes => Decoder::Chunk(bytes),
                    };
                }
                Decoder::Trailers(seen) => {
                    let Some(line) = line(rest, TRAILERS_MAX - seen)? else {
                        return Ok(Piece { skip, data: 0, end: false });
                    };
                    skip += line.len() + 2;
                    if line.is_empty() {
                        *self = Decoder::Done;
                    } else {
                        let colon = memchr(b':', line).ok_or(BodyError::Malformed)?;
                        if !text::is_token(&line[..colon]) || !text::is_value(&line[colon + 1..]) {
                            return Err(BodyError::Malformed);
                        }
                        *self = Decoder::Trailers((seen + line.len() + 2).min(TRAILERS_MAX));
                    }
                }
            }
        }
    }
}

fn take(left: u64, there: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(there)
}

/// A complete line without its end; `None` when it is not complete.
fn line(input: &[u8], max: usize) -> Result<Option<&[u8]>, BodyError> {
    match memchr(b'\n', input) {
        Some(end) if end <= max + 1 => match &input[..end] {
            [line @ .., b'\r'] if memchr(b'\r', line).is_none() => Ok(Some(line)),
            _ => Err(BodyError::Malformed),
        },
        None if input.len() <= max => Ok(None),
        _ => Err(BodyError::Malformed),
    }
}

/// The number that a chunk begins with. Extensions behind `;` are dropped.
fn size(line: &[u8]) -> Result<u64, BodyError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let extension = text::trim(&line[digits..]);
    if digits == 0 || !text::is_value(line) || !(extension.is_empty() || extension[0] == b';') {
        return Err(BodyError::Malformed);
    }
    let mut sum: u64 = 0;
    for byte in &line[..digits] {
        let digit = char::from(*byte).to_digit(16).map(u64::from).ok_or(BodyError::Malformed)?;
        // At most 2^63 - 1, so that no reader that takes it as a signed number sees another one.
        sum = sum.checked_mul(16).filter(|sum| *sum <= i64::MAX as u64).ok_or(BodyError::Malformed)? | digit;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `wire` in pieces of `step` bytes; gives the body, what is left, or the error.
    fn decode(wire: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), BodyError> {
        let (mut decoder, mut body, mut buf) = (Decoder::chunked(), Vec::new(), Vec::new());
        let mut chunks = wire.chunks(step);
        loop {
            let piece = decoder.next(&buf)?;
            buf.drain(..piece.skip);
            body.extend(buf.drain(..piece.data));
            if piece.end {
                buf.extend(chunks.flatten());
                return Ok((body, buf));
            }
            if piece.data == 0 {
                match chunks.next() {
                    Some(more) => buf.extend(more),
                    None => return Err(decoder.closed().expect_err("chunks end by themselves")),
                }
            }
        }
    }

    fn check(wire: &str, expected: Result<(&str, &str), BodyError>) {
        let expected = expected.map(|(body, rest)| (body.as_bytes().to_vec(), rest.as_bytes().to_vec()));
        for step in 1..=wire.len() {
            assert_eq!(decode(wire.as_bytes(), step), expected, "{wire:?} in pieces of {step}");
        }
    }

    #[test]
    fn good_chunks_are_joined_wherever_they_are_split() {
        check("0\r\n\r\n", Ok(("", "")));
        check("5\r\nhello\r\n0\r\n\r\n", Ok(("hello", "")));
        check("5;a=b;c\r\nhello\r\nA ;x\r\n0123456789\r\n000\r\n\r\nGET", Ok(("hello0123456789", "GET")));
        check("1\r\n\n\r\n0\r\nX-T: 1\r\nY:\r\n\r\nrest", Ok(("\n", "rest")));
    }

    #[test]
    fn bad_chunks_are_refused_wherever_they_are_split() {
        for wire in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            " 5\r\nhello\r\n",
            "5\nhello\n0\n\n",
            "5\r\nhelloX\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\rhello\r\n0\r\n\r\n",
            "5 5\r\nhello\r\n",
            "5;\0\r\nhello\r\n",
            "5;a\rb\r\nhello\r\n",
            "8000000000000000\r\n",
            "FFFFFFFFFFFFFFFFF\r\n",
            "10000000000000005\r\nhello\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nX-T : 1\r\n\r\n",
            "0\r\nX-T: \0\r\n\r\n",
            "0\r\n\n",
        ] {
            check(wire, Err(BodyError::Malformed));
        }
        check(&format!("5;{}\r\n", "x".repeat(600)), Err(BodyError::Malformed));
        check(&format!("0\r\n{}", "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(400)), Err(BodyError::Malformed));
    }

    #[test]
    fn a_body_cut_short_is_no_body() {
        for wire in ["", "5", "5\r", "5\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "0", "0\r\n", "0\r\n\r"] {
            for step in 1..=wire.len().max(1) {
                assert_eq!(decode(wire.as_bytes(), step), Err(BodyError::Truncated), "{wire:?}");
            }
        }
    }

    #[test]
    fn the_largest_chunk_is_the_largest_signed_number() {
        let mut decoder = Decoder::chunked();
        let wire = b"7fffffffffffffff\r\nab";
        let piece = decoder.next(wire);
        assert_eq!(piece, Ok(Piece { skip: 18, data: 2, end: false }));
        assert_eq!(decoder, Decoder::Chunk(i64::MAX as u64 - 2));
    }

    #[test]
    fn a_length_ends_exactly_and_closing_ends_the_rest() {
        let mut decoder = Decoder::length(4);
        assert_eq!(decoder.next(b"abcdef"), Ok(Piece { skip: 0, data: 4, end: false }));
        assert_eq!(decoder.next(b"ef"), Ok(Piece { skip: 0, data: 0, end: true }));
        assert_eq!(Decoder::length(1).closed(), Err(BodyError::Truncated));
        assert_eq!(Decoder::UntilClose.closed(), Ok(()));
        assert!(Decoder::length(0).is_done());
    }
}
