//! Which change of the store something is.

/// One change: `main` counts the requests that changed anything, `sub` the changes within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version {
    pub main: i64,
    pub sub: u32,
}

impl Version {
    pub const fn new(main: i64, sub: u32) -> Self {
        Self { main, sub }
    }
}

/// Where a read stands: it sees the changes *before* this one.
///
/// Why a bound and not a revision: a read inside a transaction sees the transaction's own earlier changes, which share its
/// revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bound(pub Version);

impl Bound {
    /// Sees everything up to and including revision `revision`.
    pub const fn at(revision: i64) -> Self {
        Self(Version::new(revision + 1, 0))
    }

    /// Sees everything before change `sub` of revision `main`.
    pub const fn within(main: i64, sub: u32) -> Self {
        Self(Version::new(main, sub))
    }

    pub fn sees(self, version: Version) -> bool {
        version < self.0
    }

    /// The newest revision of which it sees everything. Compaction up to it takes nothing away from the read.
    pub const fn revision(self) -> i64 {
        self.0.main - 1
    }
}
