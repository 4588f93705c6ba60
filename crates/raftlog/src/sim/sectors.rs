//! The content of one simulated file.

use std::{collections::BTreeMap, io::IoSlice, sync::Arc};

use super::Dice;

const SECTOR: usize = 512;
type Sector = Arc<[u8; SECTOR]>;

/// Sectors that are not in a map are zero.
#[derive(Debug, Clone, Default)]
pub(super) struct Sectors {
    seen: BTreeMap<u64, Sector>,
    durable: BTreeMap<u64, Sector>,
    /// All that was written to a sector since the last sync, oldest first.
    pending: BTreeMap<u64, Vec<Sector>>,
    pub(super) len: u64,
    durable_len: u64,
}

fn place(offset: u64) -> (u64, usize) {
    let within = usize::try_from(offset % SECTOR as u64).expect("less than a sector");
    (offset / SECTOR as u64, within)
}

impl Sectors {
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let mut done = 0;
        while done < there {
            let (number, within) = place(offset + done as u64);
            let n = (SECTOR - within).min(there - done);
            match self.seen.get(&number) {
                Some(sector) => buf[done..done + n].copy_from_slice(&sector[within..within + n]),
                None => buf[done..done + n].fill(0),
            }
            done += n;
        }
        there
    }

    /// Writes the first `limit` bytes of `parts`.
    pub(super) fn write(&mut self, parts: &[IoSlice<'_>], offset: u64, limit: usize) {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).take(limit).collect();
        let mut done = 0;
        while done < bytes.len() {
            let (number, within) = place(offset + done as u64);
            let n = (SECTOR - within).min(bytes.len() - done);
            let mut sector = self.seen.get(&number).map_or([0; SECTOR], |sector| **sector);
            sector[within..within + n].copy_from_slice(&bytes[done..done + n]);
            let sector = Arc::new(sector);
            self.seen.insert(number, Arc::clone(&sector));
            self.pending.entry(number).or_default().push(sector);
            done += n;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    pub(super) fn sync(&mut self) {
        for (number, mut versions) in std::mem::take(&mut self.pending) {
            self.durable.extend(versions.pop().map(|newest| (number, newest)));
        }
        self.durable_len = self.len;
    }

    /// Some of what was pending becomes durable and none of it is pending any more.
    pub(super) fn fail_sync(&mut self, dice: &mut Dice) {
        for (number, mut versions) in std::mem::take(&mut self.pending) {
            if dice.coin() {
                self.durable.extend(versions.pop().map(|newest| (number, newest)));
            }
        }
    }

    /// What is there when the power comes back.
    pub(super) fn crash(&mut self, dice: &mut Dice) {
        for (number, mut versions) in std::mem::take(&mut self.pending) {
            let choice = dice.below(versions.len() as u64 + 1);
            let choice = usize::try_from(choice).expect("below a length");
            if choice < versions.len() {
                self.durable.insert(number, versions.swap_remove(choice));
            }
        }
        if dice.coin() {
            self.durable_len = self.len;
        }
        self.len = self.durable_len;
        self.seen = self.durable.clone();
    }

    /// Changes bytes behind the file system's back.
    pub(super) fn damage(&mut self, offset: u64, change: impl FnOnce(&mut u8)) {
        let (number, within) = place(offset);
        let mut sector = self.seen.get(&number).map_or([0; SECTOR], |sector| **sector);
        change(&mut sector[within]);
        let sector = Arc::new(sector);
        self.seen.insert(number, Arc::clone(&sector));
        self.durable.insert(number, sector);
    }
}
