//! What can go wrong with the log. Each error names the file.

use std::{io, sync::Arc};

use tidegate_base::LogIndex;

/// Why the log could not be opened. Nothing on disk was changed, except by [`OpenError::Io`] while a torn tail was being cut.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Bytes that were durable once are not what they were, or something the member relies on is not there.
    #[error("log: {file} is damaged at offset {offset}: {detail}")]
    Corrupt { file: String, offset: u64, detail: String },
    /// Segments are numbered without gaps, and this number is not there.
    #[error("log: {file} is missing")]
    Missing { file: String },
    #[error("log: {file} has format version {found}, and this program knows {known}")]
    Version { file: String, found: u32, known: u32 },
    #[error("log: {action} {file}: {source}")]
    Io { action: &'static str, file: String, source: io::Error },
}

impl OpenError {
    pub(crate) fn corrupt(file: &str, offset: u64, detail: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset, detail: detail.into() }
    }

    pub(crate) fn io<'a>(action: &'static str, file: &'a str) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, file: file.to_owned(), source }
    }
}

/// Why the log did not do what it was told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The disk failed. The log answers every further call with this same error: nobody knows which of the bytes handed to it are
    /// durable, and trying again would not tell.
    #[error("log: {action} {file}: {source}")]
    Failed { action: &'static str, file: String, source: Arc<io::Error> },
    /// There is no space for another segment. Nothing was written and the log goes on: what fits into the active segment is still
    /// taken.
    #[error("log: no space to make {file}: {source}")]
    NoSpace { file: String, source: Arc<io::Error> },
    /// Nothing was written.
    #[error("log: entry {index} has {bytes} bytes, and the most is {most}")]
    TooLarge { index: LogIndex, bytes: usize, most: usize },
}

impl LogError {
    pub(crate) fn failed<'a>(action: &'static str, file: &'a str) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Failed { action, file: file.to_owned(), source: Arc::new(source) }
    }
}

/// Why an entry could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Purged, or replaced by a snapshot.
    #[error("log: entry {index} is no longer there: the first is {first}")]
    Compacted { index: LogIndex, first: LogIndex },
    #[error("log: entry {index} is not written yet: the last is {last}")]
    NotWritten { index: LogIndex, last: LogIndex },
    #[error("log: {file} is damaged at offset {offset}: {detail}")]
    Corrupt { file: String, offset: u64, detail: &'static str },
    #[error("log: read {file}: {source}")]
    Io { file: String, source: Arc<io::Error> },
}
