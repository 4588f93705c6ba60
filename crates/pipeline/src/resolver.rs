//! Names of servers that have to be looked up again and again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tidegate_http::upstream::{Addresses, Endpoint};

type Names = BTreeMap<(String, u16), Weak<Addresses>>;

/// Names that somebody looks up, off the I/O threads, when they are new and about every 30 s. Filters register their
/// endpoints when they are built. One name has one list of addresses, whoever uses it: a filter that is built anew goes on
/// with the addresses that its predecessor had. Names of filters that are gone are forgotten.
#[derive(Debug, Default)]
pub struct Resolver {
    names: Mutex<Names>,
    looked_up: Condvar,
}

impl Resolver {
    /// Has the endpoint share the addresses of its name.
    pub fn register(&self, endpoint: &mut Endpoint) {
        if endpoint.is_literal() {
            return;
        }
        let mut names = self.lock();
        let name = endpoint.shared().name();
        match names.get(&name).and_then(Weak::upgrade) {
            Some(known) => endpoint.share(known),
            None => {
                names.insert(name, Arc::downgrade(endpoint.shared()));
            }
        }
    }

    /// The names to look up, new ones first. With `missing`, only those that have no address yet.
    pub fn names(&self, missing: bool) -> Vec<Arc<Addresses>> {
        let mut names = self.lock();
        names.retain(|_, addresses| addresses.strong_count() > 0);
        let all = names.values().filter_map(Weak::upgrade);
        let mut wanted: Vec<_> = all.filter(|addresses| !missing || addresses.get().is_empty()).collect();
        wanted.sort_by_key(|addresses| addresses.was_tried());
        wanted
    }

    /// Tells who waits that one more name was looked up.
    pub fn looked_up(&self) {
        drop(self.lock());
        self.looked_up.notify_all();
    }

    /// Waits until every name was looked up once, whether with success or not, at most for `limit`. Blocks.
    pub fn wait(&self, limit: Duration) {
        let new = |names: &mut Names| names.values().filter_map(Weak::upgrade).any(|addresses| !addresses.was_tried());
        drop(self.looked_up.wait_timeout_while(self.lock(), limit, new));
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(resolver: &Resolver, url: &str) -> Endpoint {
        let mut endpoint = Endpoint::parse(url).unwrap();
        resolver.register(&mut endpoint);
        endpoint
    }

    #[test]
    fn a_name_keeps_its_addresses_while_somebody_uses_it() {
        let resolver = Resolver::default();
        let old = endpoint(&resolver, "http://localhost:81/a");
        assert!(old.addresses().is_empty() && resolver.names(true).len() == 1);
        resolver.wait(Duration::ZERO); // nobody looks it up: it gives up
        resolver.names(true)[0].resolve().unwrap();
        resolver.wait(Duration::MAX); // everything was looked up
        let new = endpoint(&resolver, "http://LOCALHOST:81/b");
        assert!(!new.addresses().is_empty() && new.addresses() == old.addresses());
        assert!(resolver.names(true).is_empty());
        endpoint(&resolver, "http://127.0.0.1:81");
        let other = endpoint(&resolver, "http://localhost:82");
        assert_eq!(resolver.names(false).len(), 2);
        drop((old, new, other));
        assert!(resolver.names(false).is_empty());
    }
}
