//! An interval tree: which ranges hold a key.
//!
//! ```text
//!            [d,k) max p          ordered by (start, end); `max` names the span of the subtree that ends last,
//!           /         \           so a search skips every subtree that ends before the key
//!     [a,f) max f   [e,p) max p
//! ```
//! Balanced by height (AVL) and not by chance: the ranges come from clients, and a chance they can foresee is one they can
//! defeat. Nodes live in one vector and name each other by number.

use std::cmp::Ordering;

use super::{slab::grow_by_eighths, span::KeySpan};

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Node {
    span: KeySpan,
    /// What the caller hangs on the range.
    load: u32,
    left: u32,
    right: u32,
    /// Node of this subtree that ends last.
    max: u32,
    height: u8,
}

#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), root: NONE }
    }
}

fn order(a: &KeySpan, b: &KeySpan) -> Ordering {
    a.start().cmp(b.start()).then_with(|| a.cmp_end(b))
}

impl Tree {
    fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    fn node_mut(&mut self, at: u32) -> &mut Node {
        &mut self.nodes[at as usize]
    }

    /// Calls `found` with the load of every range that holds `key`, in order of the ranges.
    pub(super) fn stab(&self, key: &[u8], found: &mut impl FnMut(u32)) {
        self.stab_under(self.root, key, found);
    }

    fn stab_under(&self, at: u32, key: &[u8], found: &mut impl FnMut(u32)) {
        if at == NONE {
            return;
        }
        let node = self.node(at);
        if !self.node(node.max).span.ends_behind(key) {
            return;
        }
        self.stab_under(node.left, key, found);
        if node.span.start() <= key {
            if node.span.ends_behind(key) {
                found(node.load);
            }
            self.stab_under(node.right, key, found);
        }
    }

    /// The load of exactly this range.
    pub(super) fn get_mut(&mut self, span: &KeySpan) -> Option<&mut u32> {
        let mut at = self.root;
        while at != NONE {
            let node = self.node(at);
            at = match order(span, &node.span) {
                Ordering::Less => node.left,
                Ordering::Greater => node.right,
                Ordering::Equal => return Some(&mut self.node_mut(at).load),
            };
        }
        None
    }

    /// Adds a range that is not there.
    pub(super) fn insert(&mut self, span: KeySpan, load: u32) {
        let node = Node { span, load, left: NONE, right: NONE, max: NONE, height: 1 };
        let at = if let Some(at) = self.free.pop() {
            self.nodes[at as usize] = node;
            at
        } else {
            grow_by_eighths(&mut self.nodes);
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1).expect("nodes are leased, far fewer than 2^32")
        };
        self.node_mut(at).max = at;
        self.root = self.insert_under(self.root, at);
    }

    fn insert_under(&mut self, at: u32, new: u32) -> u32 {
        if at == NONE {
            return new;
        }
        if order(&self.node(new).span, &self.node(at).span).is_lt() {
            let left = self.insert_under(self.node(at).left, new);
            self.node_mut(at).left = left;
        } else {
            let right = self.insert_under(self.node(at).right, new);
            self.node_mut(at).right = right;
        }
        self.balance(at)
    }

    /// Takes a range out, if it is there.
    pub(super) fn remove(&mut self, span: &KeySpan) {
        self.root = self.remove_under(self.root, span);
        if self.root == NONE {
            *self = Self::default();
        }
    }

    fn remove_under(&mut self, at: u32, span: &KeySpan) -> u32 {
        if at == NONE {
            return NONE;
        }
        let Node { left, right, .. } = *self.node(at);
        match order(span, &self.node(at).span) {
            Ordering::Less => {
                let left = self.remove_under(left, span);
                self.node_mut(at).left = left;
            }
            Ordering::Greater => {
                let right = self.remove_under(right, span);
                self.node_mut(at).right = right;
            }
            Ordering::Equal => {
                self.release(at);
                if left == NONE || right == NONE {
                    return if left == NONE { right } else { left };
                }
                // The next range in order takes the place of this one.
                let (rest, least) = self.take_least(right);
                let heir = self.node_mut(least);
                (heir.left, heir.right) = (left, rest);
                return self.balance(least);
            }
        }
        self.balance(at)
    }

    /// Splits a subtree into the rest and its first node.
    fn take_least(&mut self, at: u32) -> (u32, u32) {
        let Node { left, right, .. } = *self.node(at);
        if left == NONE {
            return (right, at);
        }
        let (rest, least) = self.take_least(left);
        self.node_mut(at).left = rest;
        (self.balance(at), least)
    }

    fn release(&mut self, at: u32) {
        // Its keys go at once, not when the place is used again.
        self.node_mut(at).span = KeySpan::all();
        self.free.push(at);
    }

    fn height(&self, at: u32) -> u8 {
        if at == NONE { 0 } else { self.node(at).height }
    }

    fn update(&mut self, at: u32) {
        let Node { left, right, .. } = *self.node(at);
        let mut max = at;
        for child in [left, right] {
            if child != NONE {
                let candidate = self.node(child).max;
                if self.node(candidate).span.cmp_end(&self.node(max).span).is_gt() {
                    max = candidate;
                }
            }
        }
        let height = 1 + self.height(left).max(self.height(right));
        let node = self.node_mut(at);
        (node.max, node.height) = (max, height);
    }

    fn balance(&mut self, at: u32) -> u32 {
        let Node { left, right, .. } = *self.node(at);
        if self.height(left) > self.height(right) + 1 {
            if self.height(self.node(left).left) < self.height(self.node(left).right) {
                let left = self.rotate_left(left);
                self.node_mut(at).left = left;
            }
            return self.rotate_right(at);
        }
        if self.height(right) > self.height(left) + 1 {
            if self.height(self.node(right).right) < self.height(self.node(right).left) {
                let right = self.rotate_right(right);
                self.node_mut(at).right = right;
            }
            return self.rotate_left(at);
        }
        self.update(at);
        at
    }

    fn rotate_left(&mut self, at: u32) -> u32 {
        let up = self.node(at).right;
        self.node_mut(at).right = self.node(up).left;
        self.node_mut(up).left = at;
        self.update(at);
        self.update(up);
        up
    }

    fn rotate_right(&mut self, at: u32) -> u32 {
        let up = self.node(at).left;
        self.node_mut(at).left = self.node(up).right;
        self.node_mut(up).right = at;
        self.update(at);
        self.update(up);
        up
    }

    #[cfg(test)]
    pub(super) const NODE_BYTES: usize = size_of::<Node>();

    #[cfg(test)]
    pub(super) fn depth(&self) -> u8 {
        self.height(self.root)
    }
}
