//! Who may come in: names, and hashes of their passwords.

use std::{collections::BTreeMap, sync::Arc};

use tidegate_base::{Budget, Holder, Lease};

use super::hash::Hash;

/// Most bytes of all names and hashes of one filter.
pub(super) const USERS_BYTES_MAX: u64 = 4 << 20;
/// What one user takes beside its texts, in both maps.
const USER_BYTES: u64 = 320;

/// A password as it is kept.
#[derive(Debug)]
pub(super) struct Stored {
    /// As it was given.
    pub(super) text: String,
    pub(super) hash: Hash,
}

/// Users by the records that tell of them. Of several records with one name the latest counts, and once it goes, the one before it.
pub(super) struct Users {
    records: BTreeMap<String, Record>,
    /// What the records say of a name, in the order in which they said it.
    names: BTreeMap<String, Vec<(u64, Arc<Stored>)>>,
    /// Counts what was put.
    puts: u64,
    /// Bytes of all names and hashes.
    texts: u64,
    /// Checked for names that nobody has: as costly as the slow hash that came last. None while there is no such hash.
    stranger: Option<Arc<Stored>>,
    lease: Lease,
}

struct Record {
    name: String,
    put: u64,
    /// Its part of the sums.
    texts: u64,
    leased: u64,
}

impl Users {
    pub(super) fn new(budget: &Budget) -> Self {
        let lease = budget.empty(Holder::Gateway);
        Self { records: BTreeMap::new(), names: BTreeMap::new(), puts: 0, texts: 0, stranger: None, lease }
    }

    /// `false`: there is no room for it, and what the record said before still counts.
    pub(super) fn put(&mut self, record: &str, name: &str, password: &str) -> bool {
        let texts = (name.len() + password.len()) as u64;
        // The record's name, the user's in both maps, and the password as it was given and as it was read.
        let leased = (record.len() + 2 * name.len() + 2 * password.len()) as u64 + USER_BYTES;
        let (old_texts, old_leased) = self.records.get(record).map_or((0, 0), |old| (old.texts, old.leased));
        let more = leased.saturating_sub(old_leased);
        if self.texts - old_texts + texts > USERS_BYTES_MAX || !self.lease.try_grow(more) {
            return false;
        }
        self.forget(record);
        self.puts += 1;
        self.texts += texts;
        let stored = Arc::new(Stored { text: password.to_owned(), hash: Hash::read(password) });
        if let Some(hash) = stored.hash.stand_in() {
            self.stranger = Some(Arc::new(Stored { text: String::new(), hash }));
        }
        self.names.entry(name.to_owned()).or_default().push((self.puts, stored));
        self.records.insert(record.to_owned(), Record { name: name.to_owned(), put: self.puts, texts, leased });
        let left = self.lease.bytes() - old_leased.saturating_sub(leased);
        self.lease.shrink_to(left);
        true
    }

    pub(super) fn remove(&mut self, record: &str) {
        let left = self.lease.bytes() - self.forget(record);
        self.lease.shrink_to(left);
    }

    /// Forgets a record: the bytes of the lease that it had.
    fn forget(&mut self, record: &str) -> u64 {
        let Some(old) = self.records.remove(record) else { return 0 };
        if let Some(said) = self.names.get_mut(&old.name) {
            said.retain(|(put, _)| *put != old.put);
            if said.is_empty() {
                self.names.remove(&old.name);
            }
        }
        self.texts -= old.texts;
        old.leased
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Stored>> {
        self.names.get(name)?.last().map(|(_, stored)| Arc::clone(stored))
    }

    /// What is checked in the place of a password that nobody has, so that the time tells no names.
    pub(super) fn stranger(&self) -> Option<Arc<Stored>> {
        self.stranger.clone()
    }

    /// How many passwords can never fit.
    pub(super) fn locked(&self) -> usize {
        self.names.values().flatten().filter(|(_, stored)| stored.hash == Hash::Never).count()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_base::{ByteSize, Limits, Profile};

    use super::*;

    fn budget() -> Budget {
        Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap())
    }

    fn password(users: &Users, name: &str) -> Option<String> {
        users.find(name).map(|stored| stored.text.clone())
    }

    #[test]
    fn what_is_written_anew_takes_no_more_room() {
        let budget = budget();
        let mut users = Users::new(&budget);
        assert!(users.put("other", "bob", "long password"));
        for number in 0..20_000 {
            assert!(users.put("record", "ann", &format!("password {number}")), "{number}");
        }
        assert!(budget.used(Holder::Gateway) < 1000);
        assert!(users.put("record", "ann", "x"));
        users.remove("record");
        users.remove("record");
        assert_eq!((password(&users, "ann"), password(&users, "bob")), (None, Some("long password".to_owned())));
        users.remove("other");
        assert_eq!(budget.used(Holder::Gateway), 0);
    }

    #[test]
    fn what_has_no_room_leaves_what_was() {
        let budget = budget();
        let mut users = Users::new(&budget);
        assert!(users.put("a", "ann", "old"));
        assert!(!users.put("a", "ann", &"x".repeat(usize::try_from(USERS_BYTES_MAX).unwrap())));
        let rest = budget.try_lease(Holder::Gateway, budget.room(Holder::Gateway)).unwrap();
        assert!(!users.put("a", "ann", "longer than the old one") && !users.put("b", "bob", "x"));
        assert_eq!(password(&users, "ann").as_deref(), Some("old"));
        assert!(users.put("a", "ann", "new"), "it takes no more than before");
        drop((rest, users));
        assert_eq!(budget.used(Holder::Gateway), 0);
    }

    #[test]
    fn a_stranger_costs_what_users_cost() {
        let mut users = Users::new(&budget());
        users.put("a", "ann", "plain");
        assert!(users.stranger().is_none());
        users.put("b", "bob", "$6$rounds=2000$salt$x");
        users.put("c", "eve", "!");
        let stranger = users.stranger().unwrap();
        assert_eq!(stranger.hash, Hash::read("$6$rounds=2000$........$."));
        assert_eq!(users.locked(), 1);
    }

    #[test]
    fn of_two_records_with_one_name_the_other_is_left() {
        let mut users = Users::new(&budget());
        for (record, text) in [("a", "1"), ("b", "2"), ("a", "3")] {
            assert!(users.put(record, "ann", text));
            assert_eq!(password(&users, "ann").as_deref(), Some(text), "the latest counts");
        }
        users.remove("a");
        assert_eq!(password(&users, "ann").as_deref(), Some("2"));
        users.remove("b");
        assert_eq!(password(&users, "ann"), None);
    }
}
