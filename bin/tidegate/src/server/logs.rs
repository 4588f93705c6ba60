//! The process's log, read back for who asks the admin API for it.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use bytes::Bytes;
use tidegate_api::{BoxFuture, Error};
use tidegate_base::{Budget, Holder, Lease};
use tidegate_gateway::admin::{Chunk, Chunks};
use tokio::sync::mpsc;

/// Read and sent at once.
const PIECE_BYTES: usize = 64 << 10;
/// How often the file is looked at while it is followed.
const LOOK: Duration = Duration::from_millis(250);
/// Most lines from the end, and most bytes that are looked through for where they begin.
const TAIL_MAX: u64 = 100_000;
const SCAN_MAX: u64 = 64 << 20;
/// Who reads at a time. Each has a thread of its own: the disk may take its time.
const READERS_MAX: usize = 4;

static READERS: AtomicUsize = AtomicUsize::new(0);

/// A file of lines, from some line on. It ends with its reader, and its reader with it.
pub(super) struct LogLines {
    pieces: mpsc::Receiver<Bytes>,
    /// For the piece that is read, the one that waits, and the one that is sent.
    _lease: Lease,
}

/// One place of [`READERS_MAX`].
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let more = |readers: usize| (readers < READERS_MAX).then_some(readers + 1);
        READERS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok().then_some(Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        READERS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LogLines {
    /// `tail`: lines from the end, all for `None`. `None`: too many read already, or there is no memory.
    pub(super) fn start(path: PathBuf, budget: &Budget, tail: Option<u64>, follow: bool) -> Option<Self> {
        let place = Place::take()?;
        let lease = budget.try_lease(Holder::Gateway, 3 * PIECE_BYTES as u64)?;
        let (sender, pieces) = mpsc::channel(1);
        let run = move || {
            let _place = place;
            let mut at = None;
            while !sender.is_closed() {
                match read(&path, at, tail.map(|tail| tail.min(TAIL_MAX))) {
                    Ok((bytes, next)) => {
                        at = Some(next);
                        if bytes.is_empty() && !follow {
                            return;
                        }
                        if bytes.is_empty() {
                            thread::park_timeout(LOOK);
                        } else if sender.blocking_send(bytes).is_err() {
                            return; // nobody wants it any more
                        }
                    }
                    Err(error) => return tracing::warn!(%error, path = %path.display(), "the log cannot be read"),
                }
            }
        };
        thread::Builder::new().name("logs".to_owned()).spawn(run).ok()?;
        Some(Self { pieces, _lease: lease })
    }
}

impl Chunks for LogLines {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Chunk, Error>>> {
        Box::pin(async move { self.pieces.recv().await.map(|bytes| Ok(Chunk { bytes, lease: None })) })
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
    let (mut end, mut left, last_byte) = (len, lines, len.saturating_sub(SCAN_MAX));
    if lines == 0 {
        return Ok(len);
    }
    let mut block = vec![0; PIECE_BYTES];
    // The end of the last line does not count.
    let mut last = true;
    while end > last_byte {
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
    Ok(end)
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
