//! The hash of the history up to a revision, equal on every member and equal to etcd's of the same history.
//!
//! It follows from what the history *is*, never from what happens to be stored: of the changes up to the compacted revision,
//! those that are the newest of their key at the hashed revision, whether or not the others are gone already. Where the
//! hashed revision has no key at all, etcd leaves out nothing that its compaction has kept: the newest of their key at the
//! compacted revision.

use bytes::Bytes;
use tidegate_api::KeyRange;
use tidegate_engine::{Engine, Order, Space, Tier};

use super::{Pin, ReadError, Reader, get::Older, head_span, range::Walk, wire};
use crate::{
    Bound, Version,
    rows::{HeadRow, Info, head_key},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashAnswer {
    pub hash: u32,
    pub compact_revision: i64,
    pub hash_revision: i64,
}

/// Works through the history in slices.
#[derive(Debug)]
pub struct HashCursor {
    revision: i64,
    compacted: i64,
    /// Looks for a key that is there at the hashed revision.
    any: Option<Walk>,
    /// What was compacted counts when it is the newest of its key here.
    newest_at: Bound,
    position: Version,
    crc: u32,
    _pin: Pin,
}

/// Longest value of a row that is hashed beside others in one slice.
const SLICE_BYTES: usize = 1 << 20;

impl HashCursor {
    /// Of the history up to `revision`; zero is now, and below it there is none, which has a hash too.
    ///
    /// # Errors
    /// [`ReadError::Compacted`], [`ReadError::Future`].
    pub fn new<E: Engine>(reader: &Reader<E>, revision: i64) -> Result<Self, ReadError> {
        // The compacted revision is pinned, so what it keeps stays; one that moves meanwhile is looked at again.
        loop {
            let compacted = reader.compacted();
            let revision = if revision < 0 { revision } else { reader.bound(revision)?.revision() };
            match reader.pin(Bound::at(compacted)) {
                Ok(pin) => {
                    let at = Bound::at(revision.max(0));
                    let all = KeyRange::From(Bytes::new());
                    return Ok(Self {
                        revision,
                        compacted,
                        any: Some(Walk::new(&all, at, Order::Ascending)),
                        newest_at: at,
                        position: Version::default(),
                        crc: crc32c::crc32c(b"key"),
                        _pin: pin,
                    });
                }
                Err(ReadError::Compacted(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on for one slice; `Some` at the end.
    ///
    /// # Errors
    /// [`ReadError::Engine`], [`ReadError::BadRow`].
    pub fn step<E: Engine>(&mut self, reader: &Reader<E>, rows: usize) -> Result<Option<HashAnswer>, ReadError> {
        if let Some(mut walk) = self.any.take() {
            let (mut seen, mut any) = (0, false);
            walk.step(reader, |_, live| {
                (seen, any) = (seen + 1, live.is_some());
                !any && seen < rows
            })?;
            if !any && walk.is_done() {
                self.newest_at = Bound::at(self.compacted);
            } else if !any {
                self.any = Some(walk);
            }
            return Ok(None);
        }
        let (mut seen, mut bytes, mut stopped) = (0, 0, None);
        let up_to = self.revision.max(0);
        let (compacted, bound, mut crc) = (self.compacted, self.newest_at, self.crc);
        let mut record = Vec::new();
        let (lower, upper) = head_span(&KeyRange::From(Bytes::new()));
        let mut versions = Older::new(&*reader.engine, &lower, &upper);
        reader.each_event(self.position, up_to, |event| {
            if seen == rows || bytes > SLICE_BYTES {
                stopped = Some(event.at);
                return Ok(false);
            }
            seen += 1;
            // Compared with the real one: its rule for what is kept looks at the hashed revision, not at the compacted one.
            let mut kept = || Ok::<_, ReadError>(reader.newest(event.key, bound, &mut versions)? == Some(event.at));
            if event.at.main <= compacted && (event.info.deleted || !kept()?) {
                return Ok(true);
            }
            record.clear();
            record.extend_from_slice(&event.at.main.to_be_bytes());
            record.push(b'_');
            record.extend_from_slice(&u64::from(event.at.sub).to_be_bytes());
            if event.info.deleted {
                record.push(b't');
                wire::put_pair_start(&mut record, event.key, Version::default(), &Info::default(), 0);
                crc = crc32c::crc32c_append(crc, &record);
                return Ok(true);
            }
            wire::put_pair_start(&mut record, event.key, event.at, &event.info, event.info.value_len);
            crc = crc32c::crc32c_append(crc, &record);
            if event.is_blob() {
                let value = reader.value(event.at, true, Tier::All)?.known().unwrap_or_default();
                bytes += value.len();
                crc = crc32c::crc32c_append(crc, &value);
            } else {
                crc = crc32c::crc32c_append(crc, event.value.unwrap_or_default());
            }
            record.clear();
            wire::put_pair_end(&mut record, event.info.lease);
            crc = crc32c::crc32c_append(crc, &record);
            Ok(true)
        })?;
        self.crc = crc;
        match stopped {
            Some(at) => {
                self.position = at;
                Ok(None)
            }
            None => Ok(Some(HashAnswer { hash: crc, compact_revision: compacted, hash_revision: self.revision })),
        }
    }
}

impl<E: Engine> Reader<E> {
    /// The newest change of `key` before `bound`, a deletion included.
    fn newest(&self, key: &[u8], bound: Bound, versions: &mut Older<'_, E>) -> Result<Option<Version>, ReadError> {
        let row_key = head_key(key);
        let Some(row) = self.engine.get(Space::Head, &row_key, Tier::All)?.known() else { return Ok(None) };
        let head = HeadRow::decode(&row_key, row.as_ref())?;
        if bound.sees(head.at) {
            return Ok(Some(head.at));
        }
        Ok(versions.before(key, bound)?.map(|row| row.at))
    }
}
