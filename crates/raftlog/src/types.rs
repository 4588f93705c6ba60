//! What goes into the log and what comes back.

use tidegate_base::{LogIndex, LogPosition, Payload, Term};

/// One entry. Cloning shares the payload's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub position: LogPosition,
    /// The consensus core's type of entry; the log only keeps it.
    pub entry_type: u8,
    pub payload: Payload,
}

/// What a member must not forget besides its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    pub term: Term,
    /// Id of the member that got this one's vote in `term`; 0 for nobody.
    pub vote: u64,
    pub commit: LogIndex,
}

/// Entries from `first` up to the next run have the term `term`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TermRun {
    pub first: LogIndex,
    pub term: Term,
}

#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Size of a segment. An entry that does not fit gets a segment of its own size.
    pub segment_bytes: u64,
    /// A number that no client can guess, mixed into every checksum of a log that is made new (an existing log keeps its own). Without
    /// it a client could write a value that looks like a record of the log after a power cut tore the real one around it.
    pub salt: u64,
}

impl Config {
    /// Large enough that making one is rare, small enough that purging in whole segments wastes little.
    pub const SEGMENT_BYTES: u64 = 64 << 20;
    /// Below this a segment would be mostly its own overhead.
    pub const SEGMENT_BYTES_LEAST: u64 = 8 << 10;

    pub const fn new(salt: u64) -> Self {
        Self { segment_bytes: Self::SEGMENT_BYTES, salt }
    }
}

/// What the rest of the member already relies on. A log that cannot honour it is damaged, whatever it looks like from inside.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expect {
    /// Replay begins behind this index: the log must hold every entry from there on.
    pub applied: LogIndex,
    /// The log must reach at least this index.
    pub last_least: LogIndex,
}

impl Expect {
    /// For an engine whose state has all entries up to `index`, taken from this log.
    pub const fn applied(index: LogIndex) -> Self {
        Self { applied: index, last_least: index }
    }
}

/// What was in the log when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The term is at least that of the last entry: a power cut may keep entries of a group and lose the hard state behind them. The
    /// vote is then nobody's, since no vote in that term can have left this member. The commit is at least the base, for the same reason
    /// and because only what is committed is purged.
    pub hard_state: HardState,
    /// The entry before the first one; (0, 0) when the log begins at the beginning.
    pub base: LogPosition,
    /// The last entry; equal to `base` when there is none.
    pub last: LogPosition,
    /// Runs of terms behind `base`: one for each change of leader, 16 bytes each.
    pub runs: Vec<TermRun>,
    /// Where a torn tail was cut, if there was one.
    pub cut: Option<Cut>,
}

impl Recovered {
    pub const fn first(&self) -> LogIndex {
        self.base.index.next()
    }
}

/// A torn tail: records of a group that was not durable when the machine stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub file: String,
    pub offset: u64,
}

/// What the log takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogUsage {
    pub segments: usize,
    /// Bytes on disk: segments, the spare and the one kept for reuse.
    pub disk_bytes: u64,
    /// Bytes on disk of what a purge of everything could not give back: the active segment and what waits for use.
    pub kept_bytes: u64,
    /// Memory of the sparse index and of the runs of terms.
    pub index_bytes: u64,
    pub term_runs: usize,
}
