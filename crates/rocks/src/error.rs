//! RocksDB's errors as the engine's. Its text names the file, and the offset where it knows it.

use std::path::Path;

use rocksdb::ErrorKind;
use tidegate_engine::Error;

pub(crate) fn error(action: &'static str, error: rocksdb::Error) -> Error {
    match error.kind() {
        ErrorKind::Corruption => Error::Corruption { detail: error.into_string() },
        _ => Error::Io { action, detail: error.into_string() },
    }
}

/// An error of open: RocksDB reports its lock as an I/O error with one of two texts.
pub(crate) fn open_error(path: &Path, cause: rocksdb::Error) -> Error {
    let text = cause.to_string();
    let busy = text.contains("While lock file") && text.contains("temporarily unavailable");
    if busy || text.contains("lock hold by current process") {
        return Error::Locked { path: path.display().to_string() };
    }
    match error("open", cause) {
        Error::Io { action, detail } => Error::Io { action, detail: format!("{}: {detail}", path.display()) },
        Error::Corruption { detail } => Error::Corruption { detail: format!("{}: {detail}", path.display()) },
        other @ Error::Locked { .. } => other,
    }
}
