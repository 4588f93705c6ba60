//! Finds the end of a head in what has been received so far.

use memchr::memchr;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    #[error("the head is larger than the limit")]
    TooLarge,
    #[error("the request target is larger than the limit")]
    TargetTooLong,
    #[error("there are too many headers")]
    TooManyHeaders,
    #[error("{0}")]
    Malformed(&'static str),
    #[error("the HTTP version is not supported")]
    Version,
    #[error("the transfer coding is not supported")]
    TransferCoding,
    #[error("the expectation cannot be met")]
    Expectation,
    #[error("no memory is free for the head")]
    NoMemory,
}

impl HeadError {
    /// The status that answers such a request; the connection is closed with it.
    pub const fn status(self) -> u16 {
        match self {
            HeadError::TooLarge | HeadError::TooManyHeaders => 431,
            HeadError::TargetTooLong => 414,
            HeadError::Malformed(_) => 400,
            HeadError::Version => 505,
            HeadError::TransferCoding => 501,
            HeadError::Expectation => 417,
            HeadError::NoMemory => 503,
        }
    }
}

/// Limits of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Most bytes, line ends included.
    pub bytes_max: usize,
    /// Most header lines.
    pub headers_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes_max: 16 << 10, headers_max: 100 }
    }
}

/// Remembers how far a head was looked at, so that one that comes byte by byte is still looked at once.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scanner {
    /// Where the head begins: behind empty lines, which a client may send before a request (RFC 9112, 2.2).
    start: usize,
    /// Where the line begins that is not complete.
    line: usize,
    /// Where to look on.
    at: usize,
    /// Complete lines of the head.
    lines: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// The head is not complete.
    More,
    /// It stands in this range, its empty line included.
    Head { start: usize, end: usize },
}

impl Scanner {
    /// Looks at what came since the last call; `buf` begins at the same byte in each.
    pub(crate) fn scan(&mut self, buf: &[u8], limits: HeadLimits) -> Result<Scanned, HeadError> {
        while let Some(found) = buf.get(self.at..).and_then(|rest| memchr(b'\n', rest)) {
            let end = self.at + found + 1;
            let line = &buf[self.line..end];
            if !line.ends_with(b"\r\n") {
                return Err(HeadError::Malformed("a line ends without a carriage return"));
            }
            let begin = self.line;
            (self.at, self.line) = (end, end);
            if line.len() > 2 {
                self.lines += 1;
                if self.lines > limits.headers_max + 1 {
                    return Err(HeadError::TooManyHeaders);
                }
            } else if self.lines == 0 {
                self.start = end;
            } else if end - self.start > limits.bytes_max {
                return Err(HeadError::TooLarge);
            } else {
                debug_assert!(begin > self.start);
                return Ok(Scanned::Head { start: self.start, end });
            }
            self.check_size(end, limits)?;
        }
        self.at = buf.len();
        self.check_size(buf.len(), limits)?;
        Ok(Scanned::More)
    }

    fn check_size(&self, seen: usize, limits: HeadLimits) -> Result<(), HeadError> {
        // Empty lines in front count too: nobody sends more than one or two.
        if seen <= limits.bytes_max {
            return Ok(());
        }
        Err(if self.lines == 0 { HeadError::TargetTooLong } else { HeadError::TooLarge })
    }
}
