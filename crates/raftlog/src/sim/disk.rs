//! The simulated file system: its calls, and what a test does behind their back.

use std::{
    io::{self, IoSlice},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Dice,
    sectors::Sectors,
    world::{Call, Fault, Names, Storage, World},
};
use crate::disk::{Disk, File};

/// A disk in memory. Clones are handles of the same disk.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<World>>);

#[derive(Debug)]
struct SimFile {
    world: SimDisk,
    number: u64,
}

impl SimDisk {
    /// An empty disk. The seed decides what a failed sync leaves.
    pub fn new(seed: u64) -> Self {
        Self::with(Storage::default(), seed)
    }

    fn with(storage: Storage, seed: u64) -> Self {
        let dice = Dice::new(seed);
        let world = World { storage, dice, faults: Vec::new(), space: None, changes: 0, history: None };
        Self(Arc::new(Mutex::new(world)))
    }

    /// The disk as it is found when the power fails now and comes back; this one goes on as if nothing had happened. Handles of open
    /// files stay with this one.
    pub fn crash(&self, seed: u64) -> Self {
        Self::with(self.lock().storage.clone().crash(seed), seed)
    }

    /// The disk as a process finds it that starts after another was killed: all that reads saw.
    pub fn copy(&self) -> Self {
        Self::with(self.lock().storage.clone(), 0)
    }

    /// Begins to keep an image of the disk after each change.
    pub fn record(&self) {
        let mut world = self.lock();
        world.changes = 0;
        world.history = Some(vec![world.storage.clone()]);
    }

    /// Changes since [`SimDisk::record`].
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// As [`SimDisk::crash`], had the power failed after the given number of changes since [`SimDisk::record`].
    ///
    /// # Panics
    /// When so many were not recorded.
    pub fn crash_after(&self, changes: u64, seed: u64) -> Self {
        let world = self.lock();
        let history = world.history.as_ref().expect("record was called");
        let storage = history[usize::try_from(changes).expect("a number of changes")].clone();
        Self::with(storage.crash(seed), seed)
    }

    /// Lets the call fail once that comes after `after` successful ones of its kind. A failed write has written some of its bytes; a
    /// failed sync has made some durable.
    pub fn fail(&self, call: Call, after: u64, kind: io::ErrorKind) {
        self.lock().faults.push(Fault { call, after, kind });
    }

    /// Sets how many bytes all files together may have.
    pub fn set_space(&self, bytes: u64) {
        self.lock().space = Some(bytes);
    }

    /// Flips one bit (of 8 × length) of a file.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn flip_bit(&self, path: &Path, bit: u64) {
        self.damage(path, bit / 8, |byte| *byte ^= 1 << (bit % 8));
    }

    /// Sets bytes of a file to zero.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn zero(&self, path: &Path, offset: u64, len: u64) {
        for at in offset..offset + len {
            self.damage(path, at, |byte| *byte = 0);
        }
    }

    fn damage(&self, path: &Path, offset: u64, change: impl FnOnce(&mut u8)) {
        let mut world = self.lock();
        let number = world.storage.names.seen[path];
        world.storage.files.get_mut(&number).expect("a name has a file").damage(offset, change);
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, number: u64) -> Arc<dyn File> {
        Arc::new(SimFile { world: self.clone(), number })
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>> {
        let mut world = self.lock();
        world.check(Call::Create)?;
        if world.storage.names.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = world.storage.next_file;
        world.storage.next_file += 1;
        world.storage.files.insert(number, Sectors::default());
        world.storage.names.change(vec![(path.to_owned(), Some(number))]);
        let space = world.has_space(len);
        if space.is_ok() {
            world.sectors(number).len = len;
        }
        world.changed();
        space.map(|()| self.file(number))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut world = self.lock();
        world.check(Call::Open)?;
        world.storage.names.find(path).map(|number| self.file(number))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut world = self.lock();
        world.check(Call::List)?;
        let inside = world.storage.names.seen.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.lock();
        world.check(Call::Remove)?;
        world.storage.names.find(path)?;
        world.storage.names.change(vec![(path.to_owned(), None)]);
        world.changed();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.lock();
        world.check(Call::Rename)?;
        let number = world.storage.names.find(from)?;
        world.storage.names.change(vec![(from.to_owned(), None), (to.to_owned(), Some(number))]);
        world.changed();
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.lock();
        world.check(Call::SyncDir)?;
        let names = &mut world.storage.names;
        let (here, elsewhere): (Vec<_>, Vec<_>) = std::mem::take(&mut names.pending)
            .into_iter()
            .partition(|change| change.iter().any(|(path, _)| path.parent() == Some(dir)));
        names.pending = elsewhere;
        here.into_iter().for_each(|change| Names::settle(&mut names.durable, change));
        world.changed();
        Ok(())
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.world.lock().sectors(self.number).len)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.world.lock();
        world.check(Call::Read)?;
        Ok(world.sectors(self.number).read(buf, offset))
    }

    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        let failed = world.fault(Call::Write);
        let total = parts.iter().map(|part| part.len()).sum();
        let limit = match failed {
            Some(_) => usize::try_from(world.dice.below(total as u64 + 1)).expect("at most a length"),
            None => total,
        };
        world.sectors(self.number).write(parts, offset, limit);
        world.changed();
        failed.map_or(Ok(()), Err)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.world.lock();
        let failed = world.fault(Call::Sync);
        match failed {
            None => world.sectors(self.number).sync(),
            Some(_) => {
                let mut dice = world.dice.clone();
                world.sectors(self.number).fail_sync(&mut dice);
                world.dice = dice;
            }
        }
        world.changed();
        failed.map_or(Ok(()), Err)
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        world.check(Call::Grow)?;
        let more = len.saturating_sub(world.sectors(self.number).len);
        world.has_space(more)?;
        world.sectors(self.number).len += more;
        world.changed();
        Ok(())
    }
}
