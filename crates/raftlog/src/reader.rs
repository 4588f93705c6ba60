//! Reading entries while others are written.

use std::{io, sync::Arc};

use tidegate_base::{LogIndex, LogPosition, Term};

use crate::{
    cache::TailCache,
    error::ReadError,
    map::{Point, SharedMap, read},
    record::{HEADER, Header, Kind},
    scan::Window,
    segment::Segment,
    types::Entry,
};

/// Room for the headers on the way to an entry, or for some small entries.
const WINDOW: usize = 16 << 10;

/// Reads what was written, durable or not. Cheap to clone; each read takes the map's lock for a moment and no other.
#[derive(Clone)]
pub struct LogReader {
    map: SharedMap,
    cache: Arc<TailCache>,
    salt: u64,
}

/// Where a read goes on: right behind the entry that it found last.
struct Walk {
    window: Window,
    behind: Option<(Point, u64)>,
}

/// Where to look for one entry.
struct Target {
    position: LogPosition,
    point: Point,
    segment: Arc<Segment>,
}

impl LogReader {
    pub(crate) fn new(map: SharedMap, cache: Arc<TailCache>, salt: u64) -> Self {
        Self { map, cache, salt }
    }

    /// Position before the first entry, and of the last one.
    pub fn bounds(&self) -> (LogPosition, LogPosition) {
        let map = read(&self.map);
        (map.base, map.last)
    }

    /// The term of an entry, or of the base.
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        read(&self.map).term(index)
    }

    pub const fn cache(&self) -> &Arc<TailCache> {
        &self.cache
    }

    /// The entry at `position`: from the tail cache, also before it is written, or from the log. `None` when it is in neither, and
    /// when the log has another one there or cannot read it.
    pub fn at(&self, position: LogPosition) -> Option<Entry> {
        let cached = self.cache.get(position);
        cached.or_else(|| self.read(position.index).ok().filter(|entry| entry.position == position))
    }

    /// Reads one entry, from the tail cache or from its file. The payload's bytes are the caller's to lease; [`LogReader::payload_len`]
    /// tells how many there are.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, index: LogIndex) -> Result<Entry, ReadError> {
        self.next(&mut Walk::new(), index)
    }

    /// Reads entries from `from` on until their payloads have `bytes_max` bytes, the log ends, or the next one is not where
    /// the first was, in memory or in its file; the first one whatever its size.
    ///
    /// # Errors
    /// Those of the first entry. An error behind it ends the list: asking again from there tells it.
    pub fn read_range(&self, from: LogIndex, bytes_max: usize) -> Result<Vec<Entry>, ReadError> {
        // Those that were just written are all in memory: one look for all of them.
        let map = read(&self.map);
        let cached = self.cache.run(from, bytes_max, |position| {
            position.index > map.base.index && map.term(position.index) == Some(position.term)
        });
        drop(map);
        if !cached.is_empty() {
            return Ok(cached);
        }
        let mut walk = Walk::new();
        let first = self.next(&mut walk, from)?;
        let mut bytes = first.payload.len();
        let mut entries = vec![first];
        while bytes < bytes_max {
            let index = LogIndex(from.0 + entries.len() as u64);
            // The length first: an entry that does not fit must not be in memory, not even for a moment.
            match self.next_len(&mut walk, index) {
                Ok(len) if len <= bytes_max - bytes => {}
                _ => break,
            }
            let Ok(entry) = self.next(&mut walk, index) else { break };
            if entry.payload.len() > bytes_max - bytes {
                break;
            }
            bytes += entry.payload.len();
            entries.push(entry);
        }
        // Entries may have been replaced in between: what is returned is one log's.
        let map = read(&self.map);
        let same = |entry: &&Entry| map.term(entry.position.index) == Some(entry.position.term);
        let count = entries.iter().take_while(same).count();
        drop(map);
        entries.truncate(count.max(1));
        Ok(entries)
    }

    /// Length of an entry's payload.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn payload_len(&self, index: LogIndex) -> Result<usize, ReadError> {
        self.next_len(&mut Walk::new(), index)
    }

    fn next(&self, walk: &mut Walk, index: LogIndex) -> Result<Entry, ReadError> {
        let from_file = |walk: &mut Walk, target: &Target| {
            let (offset, header) = walk.find(target, self.salt)?;
            walk.payload(target, offset, &header)
        };
        self.look_up(walk, index, |entry| entry, from_file)
    }

    fn next_len(&self, walk: &mut Walk, index: LogIndex) -> Result<usize, ReadError> {
        let from_file = |walk: &mut Walk, target: &Target| Ok(walk.find(target, self.salt)?.1.length);
        self.look_up(walk, index, |entry| entry.payload.len(), from_file)
    }

    fn look_up<T>(
        &self,
        walk: &mut Walk,
        index: LogIndex,
        from_cache: impl Fn(Entry) -> T,
        from_file: impl Fn(&mut Walk, &Target) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let target = self.target(index)?;
        if let Some(entry) = self.cache.get(target.position) {
            return Ok(from_cache(entry));
        }
        let mut read = from_file(walk, &target);
        if matches!(read, Err(ReadError::Corrupt { .. })) {
            // The window may be older than the entry: what is wrong in it is damage only when it is wrong in the file.
            walk.window.forget();
            read = from_file(walk, &target);
        }
        read.map_err(|error| self.explain(error, &target))
    }

    fn target(&self, index: LogIndex) -> Result<Target, ReadError> {
        let map = read(&self.map);
        if index <= map.base.index {
            return Err(ReadError::Compacted { index, first: map.base.index.next() });
        }
        let (Some(term), Some(point)) = (map.term(index), map.locate(index)) else {
            return Err(ReadError::NotWritten { index, last: map.last.index });
        };
        let segment = map.segment(point.place.segment).expect("points are dropped with their segment");
        Ok(Target { position: LogPosition { index, term }, point, segment: Arc::clone(segment) })
    }

    /// A file whose segment was purged during the read may have begun its next use: that is no damage.
    fn explain(&self, error: ReadError, target: &Target) -> ReadError {
        let map = read(&self.map);
        let purged = map.segment(target.segment.sequence).is_none_or(|now| !Arc::ptr_eq(now, &target.segment));
        if !purged {
            return error;
        }
        ReadError::Compacted { index: target.position.index, first: map.base.index.next() }
    }
}

impl Walk {
    fn new() -> Self {
        Self { window: Window::new(WINDOW), behind: None }
    }

    /// Offset and header of the entry, without its payload.
    fn find(&mut self, target: &Target, salt: u64) -> Result<(u64, Header), ReadError> {
        let Target { position, point, segment } = target;
        let mut offset = match self.behind {
            Some((walked, offset)) if walked == *point => offset,
            _ => point.place.offset,
        };
        loop {
            let header = self.window.header(segment, salt, offset).map_err(io_error(segment))?;
            let Some(header) = header else { return Err(corrupt(segment, offset, "no record where one was written")) };
            if header.kind == Kind::Entry && header.position.index >= position.index {
                if header.position == *position {
                    return Ok((offset, header));
                }
                return Err(corrupt(segment, offset, "another entry than the one that was written"));
            }
            offset += header.bytes();
        }
    }

    fn payload(&mut self, target: &Target, offset: u64, header: &Header) -> Result<Entry, ReadError> {
        let segment = &target.segment;
        let mut payload = vec![0; header.length];
        let at = offset + HEADER as u64;
        if header.length <= WINDOW / 2 {
            let bytes = self.window.get(segment, at, header.length).map_err(io_error(segment))?;
            payload.truncate(bytes.len());
            payload.copy_from_slice(bytes);
        } else {
            let read = segment.file.read_at(&mut payload, at).map_err(io_error(segment))?;
            payload.truncate(read);
        }
        if payload.len() != header.length || crc32c::crc32c_append(header.head_crc, &payload) != header.whole_crc {
            return Err(corrupt(segment, offset, "the checksum of the entry does not fit"));
        }
        self.behind = Some((target.point, offset + header.bytes()));
        let payload = bytes::Bytes::from(payload).into();
        Ok(Entry { position: header.position, entry_type: header.entry_type, payload })
    }
}

fn io_error(segment: &Segment) -> impl FnOnce(io::Error) -> ReadError {
    let file = segment.name.clone();
    move |source| ReadError::Io { file, source: Arc::new(source) }
}

fn corrupt(segment: &Segment, offset: u64, detail: &'static str) -> ReadError {
    ReadError::Corrupt { file: segment.name.clone(), offset, detail }
}
