//! Placing records: which segment, what is written together, when the map learns of it.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_base::{LogIndex, LogPosition, Payload};

use super::Log;
use crate::{
    error::LogError,
    group::Change,
    map::{read, write},
    record::{self, BEGIN_LEN, Draft, Kind, Place, record_bytes},
    segment::START,
};

impl Log {
    pub(super) fn cut_before(&self, index: LogIndex) -> LogPosition {
        let map = read(&self.map);
        assert!(index > map.base.index, "entry {index} would replace what was purged up to {}", map.base.index);
        let term = map.term(index.prev()).expect("an index between base and last");
        LogPosition { index: index.prev(), term }
    }

    /// Sees that records with payloads of these lengths have their space, and so that writing them needs no new file.
    pub(super) fn reserve(&mut self, lengths: impl Iterator<Item = usize>) -> Result<(), LogError> {
        let begin = record_bytes(BEGIN_LEN);
        let mut free = self.active.len - self.end;
        if self.end == START {
            free -= begin;
        }
        let mut needed = 0;
        for size in lengths.map(record_bytes) {
            if size > free {
                let result = self.space.ensure(needed, START + begin + size);
                free = self.poison(result)? - START - begin;
                needed += 1;
            }
            free -= size;
        }
        Ok(())
    }

    pub(super) fn stage(
        &mut self,
        kind: Kind,
        entry_type: u8,
        position: LogPosition,
        payload: &Payload,
    ) -> Result<(), LogError> {
        let size = record_bytes(payload.len());
        let begin = if self.end + self.group.bytes() == START { record_bytes(BEGIN_LEN) } else { 0 };
        if self.end + self.group.bytes() + begin + size > self.active.len {
            self.roll()?;
        } else if begin > 0 {
            self.begin(0);
        }
        let at = self.put(&Draft { kind, entry_type, position, payload });
        match kind {
            Kind::Entry => self.group.changes.push(Change::Entry(position, at)),
            Kind::Truncate => self.group.changes.push(Change::Truncate(position)),
            Kind::Reset => self.group.changes.push(Change::Reset(position)),
            Kind::Begin | Kind::HardState | Kind::Mark => {}
        }
        self.last = position;
        if self.group.is_full() { self.flush() } else { Ok(()) }
    }

    pub(super) fn put(&mut self, draft: &Draft<'_>) -> Place {
        let at = Place { segment: self.active.sequence, offset: self.end + self.group.bytes() };
        self.group.add(draft, self.space.salt(), at, self.durable);
        at
    }

    pub(super) fn begin(&mut self, previous_end: u64) {
        let payload = Bytes::copy_from_slice(&record::encode_begin(previous_end, self.hard_state)).into();
        self.put(&Draft { kind: Kind::Begin, entry_type: 0, position: self.last, payload: &payload });
    }

    /// Goes on in the next segment. The old one is durable first: a torn tail never spans two.
    pub(super) fn roll(&mut self) -> Result<(), LogError> {
        self.flush()?;
        self.sync_active()?;
        let previous_end = self.end;
        // A log that was never begun leaves its first segment without a record, which only an oversized first entry does.
        if previous_end == START {
            self.begin(0);
            self.flush()?;
            return self.roll();
        }
        self.active = self.space.take();
        self.end = START;
        write(&self.map).segments.push_back(Arc::clone(&self.active));
        self.begin(previous_end);
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), LogError> {
        let bytes = self.group.bytes();
        self.group.write(&self.active, self.end).map_err(LogError::failed("write", &self.active.name))?;
        self.end += bytes;
        if !self.group.changes.is_empty() {
            let mut map = write(&self.map);
            for change in self.group.changes.drain(..) {
                match change {
                    Change::Entry(position, place) => map.push(position, place),
                    Change::Truncate(last) => map.truncate(last),
                    Change::Reset(base) => map.reset(base),
                }
            }
        }
        Ok(())
    }

    pub(super) fn sync_active(&mut self) -> Result<(), LogError> {
        let end = Place { segment: self.active.sequence, offset: self.end };
        if self.durable != end {
            self.active.file.sync_data().map_err(LogError::failed("sync", &self.active.name))?;
            self.durable = end;
        }
        self.durable_last = self.last;
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    pub(super) fn poison<T>(&mut self, result: Result<T, LogError>) -> Result<T, LogError> {
        if let Err(error @ LogError::Failed { .. }) = &result {
            self.failed = Some(error.clone());
        }
        result
    }
}
