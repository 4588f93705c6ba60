//! Records on their way to one write: small payloads are copied behind their headers, large ones are only named.

use std::io::{self, IoSlice};

use bytes::Bytes;
use tidegate_base::LogPosition;

use crate::{
    record::{self, Draft, Place},
    segment::Segment,
};

/// Copying less than this costs less than one more slice in the system call.
const COPY_MAX: usize = 4 << 10;
/// Most bytes copied before they are written.
const STAGED_MAX: usize = 256 << 10;
/// Fewer than the 1024 slices one system call takes; a record adds at most four.
const PIECES_MAX: usize = 1000;

enum Piece {
    /// Up to here in `staged`, from where the piece before ended.
    Staged(usize),
    Shared(Bytes),
}

/// What a record does to the map once it is written.
pub(crate) enum Change {
    Entry(LogPosition, Place),
    Truncate(LogPosition),
    Reset(LogPosition),
}

#[derive(Default)]
pub(crate) struct Group {
    staged: Vec<u8>,
    pieces: Vec<Piece>,
    bytes: u64,
    pub(crate) changes: Vec<Change>,
}

impl Group {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_full(&self) -> bool {
        self.staged.len() >= STAGED_MAX || self.pieces.len() >= PIECES_MAX
    }

    /// Adds the record that will lie at `at`.
    pub(crate) fn add(&mut self, draft: &Draft<'_>, salt: u64, at: Place, mark: Place) {
        self.staged.extend_from_slice(&record::encode(draft, salt, at, mark));
        for part in draft.payload.parts() {
            if part.len() <= COPY_MAX {
                self.staged.extend_from_slice(part);
            } else {
                self.close_staged();
                self.pieces.push(Piece::Shared(part.clone()));
            }
        }
        let size = record::record_bytes(draft.payload.len());
        let used = record::HEADER + draft.payload.len();
        let padding = usize::try_from(size).expect("a payload fits into memory") - used;
        self.staged.extend_from_slice(&[0; 8][..padding]);
        self.bytes += size;
    }

    fn close_staged(&mut self) {
        let done = self.pieces.iter().rev().find_map(|piece| match piece {
            Piece::Staged(end) => Some(*end),
            Piece::Shared(_) => None,
        });
        if self.staged.len() > done.unwrap_or(0) {
            self.pieces.push(Piece::Staged(self.staged.len()));
        }
    }

    /// Writes everything at `offset` and leaves the group empty, but for its changes.
    pub(crate) fn write(&mut self, segment: &Segment, offset: u64) -> io::Result<()> {
        self.close_staged();
        let mut slices = Vec::with_capacity(self.pieces.len());
        let mut from = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Staged(end) => slices.push(IoSlice::new(&self.staged[std::mem::replace(&mut from, *end)..*end])),
                Piece::Shared(bytes) => slices.push(IoSlice::new(bytes)),
            }
        }
        let written = if slices.is_empty() { Ok(()) } else { segment.file.write_at(&mut slices, offset) };
        self.clear();
        written
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.staged.clear();
        self.bytes = 0;
    }
}
