//! Who may come in: names, and hashes of their passwords.

use std::{collections::BTreeMap, sync::Arc};

use tidegate_base::{Budget, Holder, Lease};

use super::hash::Hash;

/// Most bytes of all names and hashes of one filter.
pub(super) const USERS_BYTES_MAX: u64 = 4 << 20;
/// What one user takes beside its texts.
const USER_BYTES: u64 = 256;

/// A password as it is kept.
#[derive(Debug)]
pub(super) struct Stored {
    /// As it was given.
    pub(super) text: String,
    pub(super) hash: Hash,
}

/// Users by the records that tell of them. Of two records with one name the later counts.
pub(super) struct Users {
    records: BTreeMap<String, String>,
    names: BTreeMap<String, (String, Arc<Stored>)>,
    lease: Lease,
}

impl Users {
    pub(super) fn new(budget: &Budget) -> Self {
        Self { records: BTreeMap::new(), names: BTreeMap::new(), lease: budget.empty(Holder::Gateway) }
    }

    /// `false`: there is no room for it.
    pub(super) fn put(&mut self, record: &str, name: &str, password: &str) -> bool {
        self.remove(record);
        let bytes = 2 * (record.len() + name.len()) as u64 + 2 * password.len() as u64 + USER_BYTES;
        if self.lease.bytes() + bytes > USERS_BYTES_MAX || !self.lease.try_grow(bytes) {
            return false;
        }
        let stored = Arc::new(Stored { text: password.to_owned(), hash: Hash::read(password) });
        self.records.insert(record.to_owned(), name.to_owned());
        self.names.insert(name.to_owned(), (record.to_owned(), stored));
        true
    }

    pub(super) fn remove(&mut self, record: &str) {
        let Some(name) = self.records.remove(record) else { return };
        // Another record may have taken the name.
        if self.names.get(&name).is_some_and(|(owner, _)| owner == record) {
            self.names.remove(&name);
        }
        if self.records.is_empty() {
            self.lease.shrink_to(0);
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Stored>> {
        self.names.get(name).map(|(_, stored)| Arc::clone(stored))
    }
}
