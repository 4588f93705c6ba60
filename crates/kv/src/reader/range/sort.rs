//! Pairs in the order of another field than the key, with bounded memory.
//!
//! ```text
//!   walk the range ─► heap: the first pairs in order behind the last one given, as many as fit
//!   the range ends ─► the heap is emptied into a list ─► pairs are given ─► walk again behind the last of them
//! ```
//! So a range costs one walk for each heap that its pairs fill, and memory never more than one. Of a value the heap holds
//! its first bytes; values that agree in them are read when they are compared, which only two can be at a time.

use std::cmp::Ordering;

use tidegate_engine::{Engine, Order, Tier};

use super::{
    RangeMeasure, RangeSpec, SliceLimit, SortField, Sorting,
    walk::{Live, Walk},
};
use crate::{
    Version,
    reader::{ReadError, Reader},
    rows::Info,
};

/// Most bytes of a heap, unless a single key is longer.
const HEAP_MAX: u64 = 1 << 20;
/// Bytes that are held of each value: at least so many, and at most, when there is room.
const PREFIX_LEAST: u64 = 64;
const PREFIX_MAX: u64 = 16 << 10;
/// What a pair takes in a heap besides the bytes of its key and value.
const ENTRY_BYTES: u64 = size_of::<Entry>() as u64 + 16;

/// Counts a pair that will be sorted.
pub(super) fn count(sorting: &mut Sorting, spec: &RangeSpec, key: &[u8], info: &Info) {
    sorting.heap += ENTRY_BYTES + key.len() as u64;
    sorting.key = sorting.key.max(key.len() as u64);
    if spec.sort == SortField::Value {
        sorting.values = sorting.values.max(info.value_len);
    }
}

/// Decides what is held, once all are counted.
pub(super) fn settle(measure: &mut RangeMeasure) {
    let Sorting { heap, key, values: longest, .. } = measure.sorting;
    let pairs = measure.pairs.max(1);
    let spare = HEAP_MAX - heap.min(HEAP_MAX / 2);
    let prefix = (spare / pairs).clamp(PREFIX_LEAST, PREFIX_MAX).min(longest);
    // One pair more than fits, and the last one that was given.
    let most = HEAP_MAX + 2 * (ENTRY_BYTES + key + prefix);
    measure.sorting = Sorting { heap: (heap + pairs * prefix).min(most), key, prefix, values: 2 * longest };
}

/// A pair and what it is sorted by.
#[derive(Debug)]
pub(super) struct Entry {
    number: i64,
    prefix: Box<[u8]>,
    pub(super) key: Box<[u8]>,
    pub(super) at: Version,
    pub(super) info: Info,
    pub(super) blob: bool,
}

impl Entry {
    fn bytes(&self) -> u64 {
        ENTRY_BYTES + (self.key.len() + self.prefix.len()) as u64
    }

    /// What is held is all of the value.
    fn whole(&self) -> bool {
        self.info.value_len <= self.prefix.len() as u64
    }
}

/// What became of a step.
pub(super) enum Step<'a> {
    /// A slice of work is done, and no pair is ready.
    Busy,
    /// The next pair in order.
    Next(&'a Entry),
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Walking,
    Emptying,
    Giving,
}

/// Gives the pairs of a range one after the other in their order.
#[derive(Debug)]
pub(super) struct Ranking {
    spec: RangeSpec,
    phase: Phase,
    walk: Walk,
    /// Pairs that this walk has seen.
    walked: u64,
    heap: Heap,
    /// The pairs of the last walk, the first in order at the end.
    ready: Vec<Entry>,
}

impl Ranking {
    pub(super) fn new(spec: &RangeSpec, sorting: Sorting) -> Self {
        let walk = Walk::new(&spec.range, spec.bound, Order::Ascending);
        let heap = Heap {
            sort: spec.sort,
            order: spec.order,
            sorting,
            entries: Vec::new(),
            bytes: 0,
            cut: false,
            last: None,
            read: 0,
        };
        Self { spec: spec.clone(), phase: Phase::Walking, walk, walked: 0, heap, ready: Vec::new() }
    }

    pub(super) fn sorting(&self) -> Sorting {
        self.heap.sorting
    }

    /// Drops what a walk has found; the next step begins a new one.
    pub(super) fn forget(&mut self) {
        self.heap.entries = Vec::new();
        self.heap.bytes = 0;
        self.ready = Vec::new();
        self.begin();
    }

    fn begin(&mut self) {
        self.walk = Walk::new(&self.spec.range, self.spec.bound, Order::Ascending);
        (self.phase, self.walked, self.heap.cut) = (Phase::Walking, 0, false);
    }

    /// Gives the next pair, or works for one slice. `want`: so many more are asked for at most.
    pub(super) fn step<E: Engine>(
        &mut self,
        reader: &Reader<E>,
        limit: SliceLimit,
        want: u64,
    ) -> Result<Step<'_>, ReadError> {
        match self.phase {
            Phase::Walking => self.collect(reader, limit, want)?,
            Phase::Emptying => self.empty(reader, limit)?,
            Phase::Giving => match self.ready.pop() {
                Some(entry) => return Ok(Step::Next(self.heap.last.insert(entry))),
                None if self.heap.cut => self.begin(),
                None => return Ok(Step::End),
            },
        }
        Ok(Step::Busy)
    }

    fn collect<E: Engine>(&mut self, reader: &Reader<E>, limit: SliceLimit, want: u64) -> Result<(), ReadError> {
        let Self { spec, walk, walked, heap, .. } = self;
        let most = super::sorted_max(spec);
        let (mut rows, mut failed) = (0, None);
        heap.read = 0;
        walk.step(reader, |key, row| {
            rows += 1;
            if let Some(live) = row {
                *walked += 1;
                if spec.revisions.admit(live.at.main, live.info.create)
                    && let Err(error) = heap.offer(reader, key, &live, want)
                {
                    failed = Some(error);
                    return false;
                }
            }
            rows < limit.rows && heap.read < limit.bytes && *walked < most
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if walk.is_done() || *walked >= most {
            self.phase = Phase::Emptying;
        }
        Ok(())
    }

    fn empty<E: Engine>(&mut self, reader: &Reader<E>, limit: SliceLimit) -> Result<(), ReadError> {
        self.heap.read = 0;
        for _ in 0..limit.rows {
            match self.heap.pop(reader)? {
                Some(entry) => self.ready.push(entry),
                None => {
                    self.phase = Phase::Giving;
                    break;
                }
            }
            if self.heap.read >= limit.bytes {
                break;
            }
        }
        Ok(())
    }
}

/// A binary heap whose comparisons may read: the last in order is on top.
#[derive(Debug)]
struct Heap {
    sort: SortField,
    order: Order,
    sorting: Sorting,
    entries: Vec<Entry>,
    bytes: u64,
    /// This walk has left out pairs that come behind those in the heap.
    cut: bool,
    /// The last pair that was given: only those behind it are taken.
    last: Option<Entry>,
    /// Bytes of values that were read since this was set to 0.
    read: usize,
}

impl Heap {
    fn offer<E: Engine>(
        &mut self,
        reader: &Reader<E>,
        key: &[u8],
        live: &Live<'_>,
        want: u64,
    ) -> Result<(), ReadError> {
        let fetched;
        let value = match (self.sort, live.value) {
            (SortField::Value, Some(value)) => value,
            (SortField::Value, None) if live.info.value_len > 0 => {
                fetched = reader.value(live.at, live.blob, Tier::All)?.known().unwrap_or_default();
                self.read += fetched.len();
                &fetched[..]
            }
            _ => &[],
        };
        let held = usize::try_from(self.sorting.prefix).map_or(value.len(), |prefix| value.len().min(prefix));
        let number = match self.sort {
            SortField::Version => live.info.version,
            SortField::Create => live.info.create,
            SortField::Mod => live.at.main,
            SortField::Key | SortField::Value => 0,
        };
        let entry = Entry {
            number,
            prefix: value[..held].into(),
            key: key.into(),
            at: live.at,
            info: live.info,
            blob: live.blob,
        };
        if let Some(last) = self.last.take() {
            let order = self.compare(reader, &entry, Some(value), &last);
            self.last = Some(last);
            if order? != Ordering::Greater {
                return Ok(());
            }
        }
        if self.cut || self.entries.len() as u64 >= want {
            // Behind what was left out, or not asked for.
            match self.first_is_last(reader, &entry, value)? {
                Ordering::Greater => return Ok(()),
                Ordering::Less | Ordering::Equal => {}
            }
        }
        self.push(reader, entry, value)?;
        while self.entries.len() as u64 > want {
            self.pop(reader)?;
        }
        while self.bytes > HEAP_MAX.min(self.sorting.heap) && self.entries.len() > 1 {
            self.pop(reader)?;
            self.cut = true;
        }
        Ok(())
    }

    /// How `entry` stands to the top.
    fn first_is_last<E: Engine>(
        &mut self,
        reader: &Reader<E>,
        entry: &Entry,
        value: &[u8],
    ) -> Result<Ordering, ReadError> {
        let entries = std::mem::take(&mut self.entries);
        let order = match entries.first() {
            Some(top) => self.compare(reader, entry, Some(value), top),
            None => Ok(Ordering::Less),
        };
        self.entries = entries;
        order
    }

    fn push<E: Engine>(&mut self, reader: &Reader<E>, entry: Entry, value: &[u8]) -> Result<(), ReadError> {
        self.bytes += entry.bytes();
        let mut entries = std::mem::take(&mut self.entries);
        entries.push(entry);
        let mut at = entries.len() - 1;
        while at > 0 {
            let above = (at - 1) / 2;
            if self.compare(reader, &entries[at], Some(value), &entries[above])? != Ordering::Greater {
                break;
            }
            entries.swap(at, above);
            at = above;
        }
        self.entries = entries;
        Ok(())
    }

    /// Takes the last in order.
    fn pop<E: Engine>(&mut self, reader: &Reader<E>) -> Result<Option<Entry>, ReadError> {
        let mut entries = std::mem::take(&mut self.entries);
        if entries.is_empty() {
            return Ok(None);
        }
        let top = entries.swap_remove(0);
        self.bytes -= top.bytes();
        let mut at = 0;
        loop {
            let mut below = 2 * at + 1;
            if below >= entries.len() {
                break;
            }
            let other = below + 1;
            if other < entries.len()
                && self.compare(reader, &entries[other], None, &entries[below])? == Ordering::Greater
            {
                below = other;
            }
            if self.compare(reader, &entries[below], None, &entries[at])? != Ordering::Greater {
                break;
            }
            entries.swap(at, below);
            at = below;
        }
        self.entries = entries;
        Ok(Some(top))
    }

    /// Which of two comes later. `value` is the first one's, when it is in memory.
    fn compare<E: Engine>(
        &mut self,
        reader: &Reader<E>,
        one: &Entry,
        value: Option<&[u8]>,
        other: &Entry,
    ) -> Result<Ordering, ReadError> {
        let mut field = one.number.cmp(&other.number).then_with(|| one.prefix.cmp(&other.prefix));
        if self.sort == SortField::Value && field.is_eq() && one.at != other.at {
            field = match (one.whole(), other.whole()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => {
                    let fetched;
                    let value = match value {
                        Some(value) => value,
                        None => {
                            fetched = reader.value(one.at, one.blob, Tier::All)?.known().unwrap_or_default();
                            &fetched[..]
                        }
                    };
                    let against = reader.value(other.at, other.blob, Tier::All)?.known().unwrap_or_default();
                    self.read += value.len() + against.len();
                    value.cmp(&against)
                }
            };
        }
        let field = match self.order {
            Order::Ascending => field,
            Order::Descending => field.reverse(),
        };
        Ok(field.then_with(|| one.key.cmp(&other.key)))
    }
}
