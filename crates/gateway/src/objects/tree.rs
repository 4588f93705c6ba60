//! The configuration as this node knows it: texts by name, and which of them are known to run.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use bytes::Bytes;
use tidegate_base::{Budget, ByteSize, Holder, Lease};

use super::ObjectStatus;

/// Kept beside each text: name, map entries, status.
pub(crate) const OBJECT_BYTES: u64 = 512;

/// Texts of objects, by name.
pub type Texts = BTreeMap<String, Bytes>;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TreeError {
    #[error("the objects hold more than {0} together")]
    TooLarge(ByteSize),
    #[error("no memory is free for the objects")]
    NoRoom,
}

pub(super) struct Tree {
    texts: Texts,
    /// The newest text of each object that was built. Shares the bytes of `texts` while that is the newest one.
    good: Texts,
    lease: Lease,
    limit: ByteSize,
}

impl Tree {
    pub(super) fn new(budget: &Budget, limit: ByteSize) -> Self {
        Self { texts: Texts::new(), good: Texts::new(), lease: budget.empty(Holder::Gateway), limit }
    }

    pub(super) const fn texts(&self) -> &Texts {
        &self.texts
    }

    pub(super) const fn good(&self) -> &Texts {
        &self.good
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.lease.bytes()
    }

    /// Replaces everything, as after a listing.
    pub(super) fn reset(&mut self, texts: Texts) -> Result<(), TreeError> {
        let before = mem::replace(&mut self.texts, texts);
        self.account().inspect_err(|_| self.texts = before)
    }

    /// Sets or, with `None`, removes one object; `Ok(false)` when that changes nothing.
    pub(super) fn set(&mut self, name: &str, text: Option<Bytes>) -> Result<bool, TreeError> {
        let before = match text {
            Some(text) if self.texts.get(name) == Some(&text) => return Ok(false),
            Some(text) => self.texts.insert(name.to_owned(), text),
            None => match self.texts.remove(name) {
                None => return Ok(false),
                before => before,
            },
        };
        self.account().inspect_err(|_| {
            match before {
                Some(before) => self.texts.insert(name.to_owned(), before),
                None => self.texts.remove(name),
            };
        })?;
        Ok(true)
    }

    /// Notes what runs now; `true` when the good configuration changed.
    pub(super) fn built(&mut self, statuses: &BTreeMap<String, ObjectStatus>) -> bool {
        let runs = |name: &String| statuses.get(name).is_some_and(|status| status.error.is_none());
        let mut good = Texts::new();
        for (name, text) in &self.texts {
            let newest = if runs(name) { Some(text) } else { self.good.get(name) };
            good.extend(newest.map(|text| (name.clone(), text.clone())));
        }
        let changed = good != self.good;
        self.good = good;
        // Cannot refuse: old texts only go here.
        self.lease.shrink_to(self.needed());
        changed
    }

    fn account(&mut self) -> Result<(), TreeError> {
        let needed = self.needed();
        if needed > self.limit.0 {
            return Err(TreeError::TooLarge(self.limit));
        }
        let missing = needed.saturating_sub(self.lease.bytes());
        if missing > 0 && !self.lease.try_grow(missing) {
            return Err(TreeError::NoRoom);
        }
        self.lease.shrink_to(needed);
        Ok(())
    }

    /// Texts that stand in both maps are counted once.
    fn needed(&self) -> u64 {
        let cost = |(name, text): (&String, &Bytes)| (name.len() + text.len()) as u64 + OBJECT_BYTES;
        let shared: BTreeSet<_> = self.texts.values().map(|text| text.as_ptr()).collect();
        let old = self.good.iter().filter(|(_, text)| !shared.contains(&text.as_ptr()));
        self.texts.iter().chain(old).map(cost).sum()
    }
}
