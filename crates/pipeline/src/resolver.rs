//! Names of servers that have to be looked up again and again.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tidegate_http::upstream::Endpoint;

/// Endpoints whose names somebody looks up, off the I/O threads, at the start and about every 30 s. Filters register
/// theirs when they are built; those of filters that are gone are forgotten.
#[derive(Debug, Default)]
pub struct Resolver(Mutex<Vec<Weak<Endpoint>>>);

impl Resolver {
    pub fn register(&self, endpoint: &Arc<Endpoint>) {
        if !endpoint.is_literal() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(endpoint));
        }
    }

    /// The endpoints to look up. With `missing`, only those that have no address yet.
    pub fn endpoints(&self, missing: bool) -> Vec<Arc<Endpoint>> {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|endpoint| endpoint.strong_count() > 0);
        let all = list.iter().filter_map(Weak::upgrade);
        all.filter(|endpoint| !missing || endpoint.addresses().is_empty()).collect()
    }
}
