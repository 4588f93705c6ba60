//! Which watches look at a key: exact keys in a hash table, ranges in an interval tree.
//!
//! Watches of equal keys form a ring through `links`, so a thousand watches of one prefix cost one node.

use std::{collections::HashMap, sync::Arc};

use super::{slab::grow_by_eighths, span::KeySpan, tree::Tree};

#[derive(Debug, Clone, Copy, Default)]
struct Link {
    before: u32,
    after: u32,
}

/// Watches by number. Nothing iterates over the hash table, so its order reaches nobody.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: HashMap<Arc<[u8]>, u32>,
    ranges: Tree,
    links: Vec<Link>,
}

impl Index {
    /// Adds watch `slot`, which must not be there.
    pub(super) fn insert(&mut self, span: &KeySpan, slot: u32) {
        let at = slot as usize;
        while self.links.len() <= at {
            grow_by_eighths(&mut self.links);
            self.links.push(Link::default());
        }
        let first =
            if span.is_one() { self.exact.get(span.shared_key()).copied() } else { self.ranges.get_mut(span).copied() };
        if let Some(first) = first {
            let last = self.links[first as usize].before;
            self.links[at] = Link { before: last, after: first };
            self.links[last as usize].after = slot;
            self.links[first as usize].before = slot;
        } else {
            self.links[at] = Link { before: slot, after: slot };
            if span.is_one() {
                self.exact.insert(Arc::clone(span.shared_key()), slot);
            } else {
                self.ranges.insert(span.clone(), slot);
            }
        }
    }

    /// Takes watch `slot` out, which must be there under `span`.
    pub(super) fn remove(&mut self, span: &KeySpan, slot: u32) {
        let Link { before, after } = self.links[slot as usize];
        if after == slot {
            if span.is_one() {
                self.exact.remove(span.shared_key());
                if self.exact.capacity() > 64 && self.exact.len() < self.exact.capacity() / 4 {
                    self.exact.shrink_to(self.exact.len() * 2);
                }
            } else {
                self.ranges.remove(span);
            }
            return;
        }
        self.links[before as usize].after = after;
        self.links[after as usize].before = before;
        let first = if span.is_one() { self.exact.get_mut(span.shared_key()) } else { self.ranges.get_mut(span) };
        if let Some(first) = first
            && *first == slot
        {
            *first = after;
        }
    }

    /// Calls `found` with every watch that looks at `key`. O(log ranges + found).
    pub(super) fn stab(&self, key: &[u8], mut found: impl FnMut(u32)) {
        let mut ring = |first: u32| {
            let mut slot = first;
            loop {
                found(slot);
                slot = self.links[slot as usize].after;
                if slot == first {
                    break;
                }
            }
        };
        if let Some(first) = self.exact.get(key) {
            ring(*first);
        }
        self.ranges.stab(key, &mut ring);
    }

    /// Most bytes of one watch here: a link, and a node or an entry of the hash table, which is at worst 7/16 full.
    #[cfg(test)]
    pub(super) fn watch_bytes_max() -> usize {
        let entry = (size_of::<(Arc<[u8]>, u32)>() + 1) * 16 / 7;
        (size_of::<Link>() + Tree::NODE_BYTES.max(entry)) * 9 / 8
    }

    #[cfg(test)]
    fn depth(&self) -> u8 {
        self.ranges.depth()
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::SmallRng};

    use super::*;

    fn key(rng: &mut SmallRng) -> Vec<u8> {
        (0..rng.random_range(1..4)).map(|_| [0, b'a', b'b', 0xff][rng.random_range(0..4)]).collect()
    }

    fn span(rng: &mut SmallRng) -> KeySpan {
        let (a, b) = (key(rng), key(rng));
        match rng.random_range(0..4) {
            0 => KeySpan::one(&a),
            1 => KeySpan::from(&a),
            _ if a == b => KeySpan::one(&a),
            _ => KeySpan::range(a.as_slice().min(&b), a.as_slice().max(&b)),
        }
    }

    #[test]
    fn finds_what_a_list_of_spans_finds() {
        for seed in 0..20 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut index = Index::default();
            let mut list: Vec<Option<KeySpan>> = Vec::new();
            for _ in 0..600 {
                let slot = rng.random_range(0..120usize);
                list.resize(list.len().max(slot + 1), None);
                let number = u32::try_from(slot).unwrap();
                match list[slot].take() {
                    Some(span) => index.remove(&span, number),
                    None => {
                        let span = span(&mut rng);
                        index.insert(&span, number);
                        list[slot] = Some(span);
                    }
                }
                let key = key(&mut rng);
                let mut found = Vec::new();
                index.stab(&key, |slot| found.push(slot as usize));
                found.sort_unstable();
                let holds = |slot: &usize| list[*slot].as_ref().is_some_and(|span| span.contains(&key));
                let expected: Vec<usize> = (0..list.len()).filter(holds).collect();
                assert_eq!(found, expected, "seed {seed}, key {}", key.escape_ascii());
            }
        }
    }

    #[test]
    fn stays_flat_for_ranges_in_order() {
        let mut index = Index::default();
        let span = |n: u32| KeySpan::range(&n.to_be_bytes(), &(n + 2).to_be_bytes());
        (0..10_000).for_each(|n| index.insert(&span(n), n));
        assert!(index.depth() <= 20, "depth {}", index.depth());
        (0..9_990).for_each(|n| index.remove(&span(n), n));
        assert!(index.depth() <= 5, "depth {}", index.depth());
        let mut found = Vec::new();
        index.stab(&9_995u32.to_be_bytes(), |slot| found.push(slot));
        assert_eq!(found, [9_994, 9_995]);
    }
}
