//! The process's log, read back for who asks the admin API for it.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use tidegate_api::{BoxFuture, Error};
use tidegate_base::{Budget, Holder};
use tidegate_gateway::admin::{Chunk, Chunks};

/// Read and sent at once.
const PIECE_BYTES: usize = 64 << 10;
/// How often the file is looked at while it is followed.
const LOOK: Duration = Duration::from_millis(250);

/// A file of lines, from some line on.
pub(super) struct LogLines {
    path: PathBuf,
    budget: Budget,
    follow: bool,
    /// Lines from the end to begin with; `None`: all.
    tail: Option<u64>,
    /// Where the next piece begins; `None` before the first.
    at: Option<u64>,
}

impl LogLines {
    pub(super) const fn new(path: PathBuf, budget: Budget, tail: Option<u64>, follow: bool) -> Self {
        Self { path, budget, follow, tail, at: None }
    }

    async fn piece(&mut self) -> Result<Option<Chunk>, Error> {
        let lease = self.budget.try_lease(Holder::Gateway, PIECE_BYTES as u64).ok_or(Error::TooManyRequests)?;
        loop {
            let (path, at, tail) = (self.path.clone(), self.at, self.tail);
            // Off the I/O threads: the disk may take its time.
            let read = tokio::task::spawn_blocking(move || read(&path, at, tail)).await;
            let (bytes, next) = match read {
                Ok(Ok(read)) => read,
                Ok(Err(error)) => {
                    tracing::warn!(%error, path = %self.path.display(), "the log cannot be read");
                    return Ok(None);
                }
                Err(_) => return Ok(None), // the runtime ends
            };
            self.at = Some(next);
            if !bytes.is_empty() {
                return Ok(Some(Chunk { bytes, lease: Some(lease) }));
            }
            if !self.follow {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Chunks for LogLines {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Chunk, Error>>> {
        Box::pin(async move { self.piece().await.transpose() })
    }
}

/// The bytes at `at`, or of the last lines, and where the next ones begin.
fn read(path: &Path, at: Option<u64>, tail: Option<u64>) -> io::Result<(Bytes, u64)> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let start = match (at, tail) {
        // A file that was moved away has a shorter one in its place.
        (Some(at), _) if at <= len => at,
        (Some(_), _) | (None, None) => 0,
        (None, Some(lines)) => start_of(&mut file, len, lines)?,
    };
    file.seek(SeekFrom::Start(start))?;
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    file.take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
    let next = start + piece.len() as u64;
    Ok((piece.into(), next))
}

/// Where the last `lines` lines begin.
fn start_of(file: &mut File, len: u64, lines: u64) -> io::Result<u64> {
    let (mut end, mut left) = (len, lines);
    if lines == 0 {
        return Ok(len);
    }
    let mut block = vec![0; PIECE_BYTES];
    // The end of the last line does not count.
    let mut last = true;
    while end > 0 {
        let start = end.saturating_sub(PIECE_BYTES as u64);
        let block = &mut block[..usize::try_from(end - start).unwrap_or(PIECE_BYTES)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        for (place, byte) in block.iter().enumerate().rev() {
            if *byte == b'\n' && !std::mem::take(&mut last) {
                left -= 1;
                if left == 0 {
                    return Ok(start + place as u64 + 1);
                }
            }
            last = false;
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let long = "y".repeat(100_000);
        std::fs::write(&path, format!("one\n{long}\nthree\n")).unwrap();
        let last = |lines| String::from_utf8(read(&path, None, Some(lines)).unwrap().0.to_vec()).unwrap();
        assert_eq!((last(0), last(1)), (String::new(), "three\n".to_owned()));
        assert!(last(2).starts_with("yyy") && last(3).starts_with("one\ny") && last(9).starts_with("one\ny"));
        let (first, next) = read(&path, None, None).unwrap();
        assert_eq!((first.len(), next), (PIECE_BYTES, PIECE_BYTES as u64));
        let (rest, end) = read(&path, Some(next), None).unwrap();
        assert!(rest.ends_with(b"three\n") && end == 100_011);
        assert!(read(&path, Some(end), None).unwrap().0.is_empty());
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(&read(&path, Some(end), None).unwrap().0[..], b"new\n", "the file was moved away");
    }
}
