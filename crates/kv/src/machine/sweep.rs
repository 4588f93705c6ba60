//! The physical part of compaction: removes superseded versions, a few at a time, between batches.
//!
//! ```text
//!   events   … │ swept │ ······· walk ······· │ target │ …        target: the compacted revision, or the oldest pin
//!                  └─ deletions, and what was written over in the same revision, were kept here: they go now
//! ```
//! The target itself stays whole: a watch from there on is not too late, and sees each of its events.
//!
//! Its cost follows what changed, not what exists: the walk sees each event once, and an event knows its predecessor.
//!
//! A walk keeps its target to its end: were it to rise in between, what was kept at the old target and passed would be
//! passed for good. After a restart the target is not known any more, so the walk begins its revision again.

use tidegate_base::planted::{Fault, is_planted};
use tidegate_engine::{Batch, Cursor, Engine, Order, Scan, Space, Tier};

use super::{Fatal, Machine};
use crate::{
    Version,
    rows::{EventRow, HeadRow, event_key, event_version, head_key, value_key, version_key},
};

/// Keys that one step takes.
const SLICE_BYTES: usize = 256 << 10;

/// Progress of the sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// There is more to do.
    More,
    /// Everything up to this revision is swept; the rest, if any, waits for pins.
    Done(i64),
}

impl<E: Engine> Machine<E> {
    /// Looks at no more than `rows` events, and at fewer when their keys are long, and writes the removals in a batch of its
    /// own.
    ///
    /// # Errors
    /// [`Fatal`].
    pub fn sweep(&mut self, rows: usize) -> Result<Sweep, Fatal> {
        // A deletion that an entry has half done must not be taken for history.
        if self.entry.is_some() || self.meta.cursor.is_some() {
            return Ok(Sweep::Done(self.meta.swept));
        }
        if self.sweep_to <= self.meta.swept {
            self.sweep_to = self.sweep_limit();
        }
        let target = self.sweep_to;
        if target <= self.meta.swept {
            return Ok(Sweep::Done(self.meta.swept));
        }
        self.commit_open()?;
        let swept = self.meta.swept;
        let (from, upper) = (event_key(self.meta.sweep), event_key(Version::new(target + 1, 0)));
        let scan = Scan { lower: &from, upper: &upper, order: Order::Ascending, fill_cache: false };
        let (mut seen, mut bytes) = (0, 0);
        let mut stopped = None;
        let mut removed: Vec<Removal> = Vec::new();
        let mut cursor = self.reader.engine.scan(Space::Events, scan)?;
        while let Some((row_key, row)) = cursor.next()? {
            let at = event_version(row_key)
                .ok_or_else(|| crate::rows::BadRow::new(Space::Events, row_key, "not an event"))?;
            if seen == rows || bytes >= SLICE_BYTES {
                stopped = Some(at);
                break;
            }
            seen += 1;
            let event = EventRow::decode(row_key, row)?;
            bytes += event.key.len();
            // What the last walk kept at its target goes now, and what stands at this one's stays.
            let due = |previous: Version| {
                if at.main > swept { previous.main < target } else { previous.main == swept }
            };
            if let Some((previous, blob)) = event.previous
                && due(previous)
                && event.info.version != 1
            {
                // A deletion that was written over has its own turn in the walk.
                removed.push(Removal { at: previous, key: event.key.to_vec(), blob, deletion: false });
            }
            let kept_from = match target {
                target if is_planted(Fault::DeletionDroppedOneRevisionEarly) => target + 1,
                target if is_planted(Fault::DeletionKeptForEver) => target - 1,
                target => target,
            };
            if event.info.deleted && at.main < kept_from {
                removed.push(Removal { at, key: event.key.to_vec(), blob: false, deletion: true });
            }
        }
        drop(cursor);
        for removal in &removed {
            self.remove(removal)?;
        }
        match stopped {
            Some(at) => self.meta.sweep = at,
            None => {
                self.meta.swept = target;
                self.meta.sweep = Version::new(target, 0);
            }
        }
        self.commit()?;
        let more = stopped.is_some() || self.sweep_limit() > self.meta.swept;
        Ok(if more { Sweep::More } else { Sweep::Done(target) })
    }

    /// The compacted revision, or the oldest pin if that is lower. Pins to come are not below it.
    fn sweep_limit(&self) -> i64 {
        let published = self.reader.compacted();
        if is_planted(Fault::CompactionIgnoresPins) {
            return published;
        }
        self.reader.oldest_pin().map_or(published, |pin| pin.min(published))
    }

    fn remove(&mut self, removal: &Removal) -> Result<(), Fatal> {
        self.batch.delete(Space::Events, &event_key(removal.at));
        self.batch.delete(Space::Versions, &version_key(&removal.key, removal.at));
        if removal.blob {
            self.batch.delete(Space::Events, &value_key(removal.at));
        }
        if removal.deletion {
            let row_key = head_key(&removal.key);
            if let Some(row) = self.reader.engine.get(Space::Head, &row_key, Tier::All)?.known()
                && HeadRow::decode(&row_key, row.as_ref())?.at == removal.at
            {
                self.batch.delete(Space::Head, &row_key);
                self.reader.shared.heads.remove(&removal.key);
            }
        }
        Ok(())
    }
}

struct Removal {
    at: Version,
    key: Vec<u8>,
    blob: bool,
    deletion: bool,
}
