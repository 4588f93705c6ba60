//! How many files the process may have open: each connection is one, and so is each table of the engine.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, and says what is in force; `None` is no limit. The soft limit is 1024 on most
/// systems, for the sake of programs that use `select`, which this one does not. Go's runtime, and with it etcd, does the same.
pub(crate) fn raise_limit() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let before = limit.current;
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, limit = before, "the limit of open files cannot be raised");
            limit.current = before;
        }
    }
    limit.current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_the_hard_one() {
        let mut limit = getrlimit(Resource::Nofile);
        let maximum = limit.maximum;
        limit.current = Some(256);
        setrlimit(Resource::Nofile, limit).unwrap();
        assert_eq!(raise_limit(), maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
        assert_eq!(raise_limit(), maximum, "and stays");
    }
}
