//! Who may come in: names, and hashes of their passwords.

use std::{collections::BTreeMap, sync::Arc};

use tidegate_base::{Budget, Holder, Lease};

use super::hash::{Cost, Hash};

/// Most bytes of all names and hashes of one filter.
pub(super) const USERS_BYTES_MAX: u64 = 4 << 20;
/// What one user takes beside its texts, in all maps.
const USER_BYTES: u64 = 384;

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
    /// How many records have a hash of each cost.
    costs: BTreeMap<Cost, u32>,
    lease: Lease,
}

struct Record {
    name: String,
    put: u64,
    cost: Option<Cost>,
    /// Its part of the sums.
    texts: u64,
    leased: u64,
}

impl Users {
    pub(super) fn new(budget: &Budget) -> Self {
        let lease = budget.empty(Holder::Gateway);
        Self { records: BTreeMap::new(), names: BTreeMap::new(), puts: 0, texts: 0, costs: BTreeMap::new(), lease }
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
        let cost = stored.hash.cost();
        if let Some(cost) = cost {
            *self.costs.entry(cost).or_default() += 1;
        }
        self.names.entry(name.to_owned()).or_default().push((self.puts, stored));
        self.records.insert(record.to_owned(), Record { name: name.to_owned(), put: self.puts, cost, texts, leased });
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
        if let Some(cost) = old.cost
            && let Some(count) = self.costs.get_mut(&cost)
        {
            *count -= 1;
            if *count == 0 {
                self.costs.remove(&cost);
            }
        }
        self.texts -= old.texts;
        old.leased
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Stored>> {
        self.names.get(name)?.last().map(|(_, stored)| Arc::clone(stored))
    }

    /// What a check takes for a name that nobody has: that of a user whom `draw`, a number for each cost, decides. A cost that k of n
    /// users have comes to k of n such names, and to the same ones again while the users stay (weighted rendezvous hashing): one user
    /// more changes it for few. `None` while nobody can come in.
    pub(super) fn stranger(&self, draw: impl Fn(Cost) -> u32) -> Option<Cost> {
        let score = |(cost, count): (&Cost, &u32)| {
            // Between 0 and 1, neither of them.
            let part = (f64::from(draw(*cost)) + 0.5) / (f64::from(u32::MAX) + 1.0);
            (f64::from(*count) / -part.ln(), *cost)
        };
        self.costs.iter().map(score).max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, cost)| cost)
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

    /// Of each cost there are as many strangers as users, so that what a check takes tells nothing of a name.
    #[test]
    fn strangers_cost_what_users_cost() {
        let known = super::super::known::Known::new().unwrap();
        let mut users = Users::new(&budget());
        assert_eq!(users.stranger(|_| 1), None);
        users.put("locked", "locked", "!");
        assert_eq!((users.stranger(|_| 1), users.locked()), (None, 1));
        for number in 0..8 {
            let text = ["plain", "$6$rounds=2000$salt$x", "$6$rounds=2000$salt$y", "$1$salt$x"][number % 4];
            users.put(&number.to_string(), &format!("user{number}"), text);
        }
        let strangers = |users: &Users| -> Vec<Option<Cost>> {
            let draw = |name: &str| users.stranger(|cost| known.draw(name, &format!("{cost:?}")));
            (0..4000).map(|number| draw(&format!("stranger{number}"))).collect()
        };
        let before = strangers(&users);
        assert_eq!(strangers(&users), before, "the same again");
        for (cost, expected) in [(Cost::Plain, 1000), (Cost::Sha512(2000), 2000), (Cost::Md5, 1000)] {
            let found = before.iter().filter(|drawn| **drawn == Some(cost)).count();
            // 9 standard deviations: the key is random.
            assert!(expected - 280 < found && found < expected + 280, "{cost:?}: {found} instead of {expected}");
        }
        users.put("more", "more", "plain");
        let changed = strangers(&users).iter().zip(&before).filter(|(one, other)| one != other).count();
        assert!(changed < 700, "{changed} of 4000");
        for record in ["0", "4", "more"] {
            users.remove(record);
        }
        assert!(!strangers(&users).contains(&Some(Cost::Plain)), "nobody has it any more");
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
