//! Space before it is needed: makes segments, and gives them back.
//!
//! A new segment gets its length and its header under an unfinished name; both are durable before it is renamed and the directory
//! synced. So no file under a segment's name is ever half made, and beginning a segment is a plain write.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    disk::{Disk, File, is_no_space},
    error::LogError,
    segment::{self, Segment, UNFINISHED_SUFFIX},
};

/// Holds a purged segment until it is used again: overwriting blocks that exist costs the file system less than new ones.
const REUSE: &str = "reuse.tmp";

pub(crate) struct Space {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    salt: u64,
    spares: VecDeque<Arc<Segment>>,
    reuse: Option<Arc<dyn File>>,
    /// Number of the next segment to be made.
    next: u64,
}

impl Space {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path, segment_bytes: u64, salt: u64, next: u64) -> Self {
        Self { disk, dir: dir.to_owned(), segment_bytes, salt, spares: VecDeque::new(), reuse: None, next }
    }

    pub(crate) fn salt(&self) -> u64 {
        self.salt
    }

    /// Takes over a spare that was found on disk.
    pub(crate) fn adopt(&mut self, spare: Arc<Segment>) {
        assert_eq!(spare.sequence, self.next, "segments have no gaps");
        self.next += 1;
        self.spares.push_back(spare);
    }

    /// Sees that the `n`-th spare exists and has at least `least` bytes; returns its length.
    pub(crate) fn ensure(&mut self, n: usize, least: u64) -> Result<u64, LogError> {
        while self.spares.len() <= n {
            let spare = Arc::new(self.make(least.max(self.segment_bytes))?);
            self.next += 1;
            self.spares.push_back(spare);
        }
        let spare = &self.spares[n];
        if spare.len >= least {
            return Ok(spare.len);
        }
        spare.file.grow(least).map_err(|error| refused(&spare.name, "grow", error))?;
        spare.file.sync_data().map_err(LogError::failed("sync", &spare.name))?;
        let grown = Segment::new(spare.sequence, Arc::clone(&spare.file), least);
        self.spares[n] = Arc::new(grown);
        Ok(least)
    }

    fn make(&mut self, len: u64) -> Result<Segment, LogError> {
        let name = segment::name(self.next);
        let path = self.dir.join(&name);
        let unfinished = if self.reuse.is_some() { REUSE.to_owned() } else { format!("{name}{UNFINISHED_SUFFIX}") };
        let unfinished_path = self.dir.join(&unfinished);
        let file = match self.reuse.take() {
            Some(file) => {
                // Longer than usual only for an entry above the size of a segment.
                if let Err(error) = file.grow(len) {
                    self.reuse = Some(file);
                    return Err(refused(&name, "grow", error));
                }
                file
            }
            None => match self.disk.create(&unfinished_path, len) {
                Ok(file) => file,
                Err(error) => {
                    let refused = refused(&name, "create", error);
                    // What exists of it holds space that others need. If it cannot be removed now, opening the log does.
                    drop(self.disk.remove(&unfinished_path));
                    return Err(refused);
                }
            },
        };
        segment::write_header(&*file, self.next, self.salt).map_err(LogError::failed("write", &name))?;
        file.sync_data().map_err(LogError::failed("sync", &name))?;
        self.disk.rename(&unfinished_path, &path).map_err(LogError::failed("rename", &unfinished))?;
        self.sync_dir()?;
        Ok(Segment::new(self.next, file, len))
    }

    /// The next segment to write to. [`Space::ensure`] was called for it.
    pub(crate) fn take(&mut self) -> Arc<Segment> {
        self.spares.pop_front().expect("a segment is made before anything is written that needs it")
    }

    /// Removes a segment that nobody needs, or keeps it for its next use. Durable when it returns: a later removal must not survive a
    /// power cut that this one does not, or a segment would seem to be missing.
    pub(crate) fn give_back(&mut self, segment: &Segment) -> Result<(), LogError> {
        let path = self.dir.join(&segment.name);
        if self.reuse.is_none() && segment.len == self.segment_bytes {
            self.disk.rename(&path, &self.dir.join(REUSE)).map_err(LogError::failed("rename", &segment.name))?;
            self.reuse = Some(Arc::clone(&segment.file));
        } else {
            self.disk.remove(&path).map_err(LogError::failed("remove", &segment.name))?;
        }
        self.sync_dir()
    }

    fn sync_dir(&self) -> Result<(), LogError> {
        self.disk.sync_dir(&self.dir).map_err(LogError::failed("sync directory", &self.dir.display().to_string()))
    }

    /// Bytes on disk that hold no entry.
    pub(crate) fn bytes(&self) -> u64 {
        let reuse = if self.reuse.is_some() { self.segment_bytes } else { 0 };
        self.spares.iter().map(|spare| spare.len).sum::<u64>() + reuse
    }
}

fn refused(name: &str, action: &'static str, error: io::Error) -> LogError {
    if is_no_space(&error) {
        LogError::NoSpace { file: name.to_owned(), source: Arc::new(error) }
    } else {
        LogError::failed(action, name)(error)
    }
}
