//! The version of etcd whose API this is.

/// What `/version`, Status and the metrics claim: it decides which fields and flags clients expect.
pub const VERSION: &str = "3.7.3";
/// Cluster and storage version that belong to it.
pub(crate) const STORAGE_VERSION: &str = "3.7.0";
