//! The state of a simulated file system: names, contents, and what is to fail.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use super::{Dice, sectors::Sectors};

/// The calls that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Create,
    Open,
    List,
    Remove,
    Rename,
    SyncDir,
    Read,
    Write,
    Sync,
    Grow,
}

#[derive(Debug)]
pub(super) struct Fault {
    pub(super) call: Call,
    pub(super) after: u64,
    pub(super) kind: io::ErrorKind,
}

/// New owner of each name, or none; all of it survives a crash, or nothing.
pub(super) type NameChange = Vec<(PathBuf, Option<u64>)>;

#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) seen: BTreeMap<PathBuf, u64>,
    pub(super) durable: BTreeMap<PathBuf, u64>,
    pub(super) pending: Vec<NameChange>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Storage {
    pub(super) names: Names,
    pub(super) files: BTreeMap<u64, Sectors>,
    pub(super) next_file: u64,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) storage: Storage,
    pub(super) dice: Dice,
    pub(super) faults: Vec<Fault>,
    pub(super) space: Option<u64>,
    pub(super) changes: u64,
    pub(super) history: Option<Vec<Storage>>,
}

impl Storage {
    pub(super) fn crash(mut self, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        for change in std::mem::take(&mut self.names.pending) {
            if dice.coin() {
                Names::settle(&mut self.names.durable, change);
            }
        }
        self.names.seen = self.names.durable.clone();
        let names = &self.names.seen;
        self.files.retain(|number, _| names.values().any(|named| named == number));
        self.files.values_mut().for_each(|file| file.crash(&mut dice));
        self
    }
}

impl Names {
    pub(super) fn settle(names: &mut BTreeMap<PathBuf, u64>, change: NameChange) {
        for (path, file) in change {
            match file {
                Some(file) => names.insert(path, file),
                None => names.remove(&path),
            };
        }
    }

    pub(super) fn change(&mut self, change: NameChange) {
        Self::settle(&mut self.seen, change.clone());
        self.pending.push(change);
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<u64> {
        self.seen.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl World {
    pub(super) fn fault(&mut self, call: Call) -> Option<io::Error> {
        let hit = self.faults.iter_mut().position(|fault| {
            let now = fault.call == call && fault.after == 0;
            fault.after -= u64::from(fault.call == call && !now);
            now
        })?;
        Some(self.faults.swap_remove(hit).kind.into())
    }

    pub(super) fn check(&mut self, call: Call) -> io::Result<()> {
        self.fault(call).map_or(Ok(()), Err)
    }

    pub(super) fn changed(&mut self) {
        self.changes += 1;
        if let Some(history) = &mut self.history {
            history.push(self.storage.clone());
        }
    }

    pub(super) fn has_space(&self, more: u64) -> io::Result<()> {
        let names = self.storage.names.seen.values();
        let used: u64 = names.filter_map(|number| self.storage.files.get(number)).map(|file| file.len).sum();
        if self.space.is_some_and(|space| used + more > space) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    pub(super) fn sectors(&mut self, number: u64) -> &mut Sectors {
        self.storage.files.get_mut(&number).expect("files are forgotten by a crash only, which takes no handle along")
    }
}
