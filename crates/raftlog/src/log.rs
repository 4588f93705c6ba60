//! The writer: one thread owns it.

mod placing;

use std::{
    path::Path,
    sync::{Arc, RwLock},
};

use bytes::Bytes;
use tidegate_base::{LogIndex, LogPosition, Payload};

use crate::{
    cache::TailCache,
    disk::Disk,
    error::{LogError, OpenError},
    group::Group,
    map::{Map, SharedMap, read, write},
    reader::LogReader,
    record::{self, HARD_STATE_LEN, Kind, PAYLOAD_MAX, Place},
    recover,
    segment::{START, Segment},
    space::Space,
    types::{Config, Entry, Expect, HardState, LogUsage, Recovered},
};

/// The segmented log of one member. Nothing is durable before [`Log::sync`] has returned.
///
/// An error of kind [`LogError::Failed`] is final: the log answers every later call with it.
pub struct Log {
    map: SharedMap,
    space: Space,
    active: Arc<Segment>,
    /// Where the next record goes.
    end: u64,
    durable: Place,
    last: LogPosition,
    durable_last: LogPosition,
    /// As it is on disk: the next begin record repeats it.
    hard_state: HardState,
    group: Group,
    failed: Option<LogError>,
}

impl Log {
    /// Opens the log in `dir`, which exists, or begins one there. Cuts a torn tail and makes all that is left durable.
    ///
    /// Reads every byte of the log once; holds one window of 256 KiB while it does.
    ///
    /// # Errors
    /// [`OpenError`]; of damage it names the file and the offset of the first bad record, and leaves all files as they are.
    pub fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        config: Config,
        expect: Expect,
        cache: &Arc<TailCache>,
    ) -> Result<(Self, LogReader, Recovered), OpenError> {
        let segment_bytes = config.segment_bytes.max(Config::SEGMENT_BYTES_LEAST).next_multiple_of(8);
        let numbers = recover::list(&**disk, dir)?;
        let (mut map, space, active, end, hard_state, recovered) = if numbers.is_empty() {
            Recovered::check_empty(dir, expect)?;
            let mut space = Space::new(Arc::clone(disk), dir, segment_bytes, config.salt, 1);
            space.ensure(0, 0).map_err(|error| match error {
                LogError::Failed { action, file, source } => {
                    OpenError::Io { action, file, source: std::io::Error::new(source.kind(), source) }
                }
                other => OpenError::Io {
                    action: "begin the log in",
                    file: dir.display().to_string(),
                    source: std::io::Error::other(other),
                },
            })?;
            let active = space.take();
            let mut map = Map::default();
            map.segments.push_back(Arc::clone(&active));
            (map, space, active, START, HardState::default(), Recovered::empty())
        } else {
            let survey = recover::survey(&**disk, dir, &numbers, expect)?;
            let (map, hard_state) = (survey.replay.map, survey.replay.hard_state);
            let active = Arc::clone(map.segments.back().expect("a log has a segment"));
            let mut space = Space::new(Arc::clone(disk), dir, segment_bytes, survey.salt, active.sequence + 1);
            survey.spares.into_iter().for_each(|spare| space.adopt(spare));
            (map, space, active, survey.end, hard_state, survey.recovered)
        };
        map.segments.make_contiguous();
        let last = map.last;
        let map = Arc::new(RwLock::new(map));
        let reader = LogReader::new(Arc::clone(&map), Arc::clone(cache), space.salt());
        let log = Self {
            map,
            durable: Place { segment: active.sequence, offset: end },
            space,
            active,
            end,
            last,
            durable_last: last,
            hard_state,
            group: Group::default(),
            failed: None,
        };
        Ok((log, reader, recovered))
    }

    /// Writes `entries` and then `hard_state`, so that a hard state that survives a power cut has its entries. Entries at or below
    /// the last one replace it and all behind it.
    ///
    /// One system call, unless the group is larger than 256 KiB of small entries or goes into a new segment, before which the old one
    /// is synced.
    ///
    /// # Errors
    /// [`LogError::NoSpace`] and [`LogError::TooLarge`] before anything is written; [`LogError::Failed`] for good.
    ///
    /// # Panics
    /// When the entries have gaps, begin at or below the first entry's predecessor, or the hard state commits what is not in the log.
    pub fn append(&mut self, entries: &[Entry], hard_state: Option<HardState>) -> Result<(), LogError> {
        self.check()?;
        let keep = match entries.first() {
            Some(first) if first.position.index <= self.last.index => Some(self.cut_before(first.position.index)),
            Some(first) => {
                assert_eq!(first.position.index, self.last.index.next(), "entries follow the last one");
                None
            }
            None => None,
        };
        for pair in entries.windows(2) {
            assert_eq!(pair[0].position.index.next(), pair[1].position.index, "entries have no gaps");
        }
        if let Some(entry) = entries.iter().find(|entry| entry.payload.len() > PAYLOAD_MAX) {
            let (index, bytes) = (entry.position.index, entry.payload.len());
            return Err(LogError::TooLarge { index, bytes, most: PAYLOAD_MAX });
        }
        let last = entries.last().map_or(self.last, |entry| entry.position);
        assert!(hard_state.is_none_or(|state| state.commit <= last.index), "what is committed is in the log");
        let sizes = keep.map(|_| 0).into_iter().chain(entries.iter().map(|entry| entry.payload.len()));
        self.reserve(sizes.chain(hard_state.map(|_| HARD_STATE_LEN)))?;
        let result = self.write_all(entries, keep, hard_state);
        self.poison(result)
    }

    fn write_all(
        &mut self,
        entries: &[Entry],
        keep: Option<LogPosition>,
        hard_state: Option<HardState>,
    ) -> Result<(), LogError> {
        if let Some(keep) = keep {
            self.stage(Kind::Truncate, 0, keep, &Payload::default())?;
        }
        for entry in entries {
            self.stage(Kind::Entry, entry.entry_type, entry.position, &entry.payload)?;
        }
        if let Some(state) = hard_state {
            let payload = Bytes::copy_from_slice(&record::encode_hard_state(state)).into();
            self.stage(Kind::HardState, 0, self.last, &payload)?;
            self.hard_state = state;
        }
        self.flush()
    }

    /// Forgets all entries: a snapshot up to `base` takes their place, and the next entry follows it.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn reset(&mut self, base: LogPosition, hard_state: HardState) -> Result<(), LogError> {
        self.check()?;
        assert!(hard_state.commit <= base.index, "what is committed is in the snapshot");
        self.reserve([0, HARD_STATE_LEN].into_iter())?;
        let result = self.stage(Kind::Reset, 0, base, &Payload::default());
        let result = result.and_then(|()| self.write_all(&[], None, Some(hard_state)));
        self.poison(result)
    }

    /// Makes everything written so far durable; returns the last durable entry. Does nothing when nothing was written since.
    ///
    /// # Errors
    /// [`LogError::Failed`], for good.
    pub fn sync(&mut self) -> Result<LogPosition, LogError> {
        self.check()?;
        let result = self.sync_active();
        self.poison(result)?;
        Ok(self.durable_last)
    }

    /// Makes the next segment, if there is none yet. To be called when answers have been given: it waits for the disk.
    ///
    /// # Errors
    /// [`LogError::NoSpace`] while there is still room in the active segment: time to raise an alarm.
    pub fn prepare_spare(&mut self) -> Result<(), LogError> {
        self.check()?;
        let result = self.space.ensure(0, 0).map(drop);
        self.poison(result)
    }

    /// Gives back the segments that hold no entry behind `up_to`, after making durable what was written; returns how many. The active
    /// segment stays.
    ///
    /// # Errors
    /// [`LogError::Failed`], for good.
    pub fn purge(&mut self, up_to: LogIndex) -> Result<usize, LogError> {
        self.sync()?;
        let mut count = 0;
        loop {
            let dropped = {
                let mut map = write(&self.map);
                let Some(oldest) = map.segments.front() else { break };
                // The begin record of the next segment takes over what this one says: it must be durable.
                let next_is_durable = self.durable.segment > oldest.sequence;
                if !next_is_durable || map.first_behind(oldest.sequence).prev() > up_to {
                    break;
                }
                map.drop_oldest()
            };
            let Some(segment) = dropped else { break };
            let result = self.space.give_back(&segment);
            self.poison(result)?;
            count += 1;
        }
        Ok(count)
    }

    /// Writes that everything is durable, so that from now on any damage is told from a torn tail.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn close(mut self) -> Result<(), LogError> {
        self.sync()?;
        self.reserve(std::iter::once(0))?;
        self.stage(Kind::Mark, 0, self.last, &Payload::default())?;
        self.flush()?;
        self.sync_active()
    }

    pub fn last(&self) -> LogPosition {
        self.last
    }

    pub fn usage(&self) -> LogUsage {
        let map = read(&self.map);
        let waiting = self.space.bytes();
        LogUsage {
            segments: map.segments.len(),
            disk_bytes: map.segments.iter().map(|segment| segment.len).sum::<u64>() + waiting,
            kept_bytes: self.active.len + waiting,
            index_bytes: map.bytes(),
            term_runs: map.run_count(),
        }
    }
}
