//! The attacks.

mod floods;
mod reads;
mod watches;
mod writes;

use std::any::Any;

use anyhow::{Result, bail};
use tidegate_api::Error;

use crate::bench::stores::Store;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    EmptyOps,
    Silent,
    Uploads,
    Lists,
    Stopped,
    History,
    Watches,
    Connections,
    Puts,
    Txns,
    Churn,
    Leases,
    Keys,
    Versions,
}

/// What an attack came to.
#[derive(Default)]
pub(super) struct Acked {
    pub(super) done: u64,
    /// Refused for lack of memory.
    pub(super) refused: u64,
    /// Numbers of the writes that were acknowledged, where they are looked at again.
    pub(super) numbers: Vec<u64>,
    /// What the attackers still hold open.
    pub(super) held: Vec<Box<dyn Any + Send>>,
}

impl Case {
    pub(super) const ALL: [Case; 14] = [
        Case::EmptyOps,
        Case::Silent,
        Case::Uploads,
        Case::Lists,
        Case::Stopped,
        Case::History,
        Case::Watches,
        Case::Connections,
        Case::Puts,
        Case::Txns,
        Case::Churn,
        Case::Leases,
        Case::Keys,
        Case::Versions,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Case::EmptyOps => "empty-ops",
            Case::Silent => "silent",
            Case::Uploads => "uploads",
            Case::Lists => "lists",
            Case::Stopped => "stopped",
            Case::History => "history",
            Case::Watches => "watches",
            Case::Connections => "connections",
            Case::Puts => "puts",
            Case::Txns => "txns",
            Case::Churn => "churn",
            Case::Leases => "leases",
            Case::Keys => "keys",
            Case::Versions => "versions",
        }
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Case::EmptyOps => "2 MiB of empty operations in a transaction, 64 times at once",
            Case::Silent => "1000 streams that announce 2 MiB and send nothing",
            Case::Uploads => "64 waiting uploads beside a keepalive and a watch on their connection",
            Case::Lists => "8 readers of a list of 300 MB, one at 4 MiB/s",
            Case::Stopped => "20 watchers of 400 events of 1 MiB, half of them not reading for a while",
            Case::History => "50 watchers from revision 1 over 400 MB of history",
            Case::Watches => "50,000 watches on 500 streams",
            Case::Connections => "5000 connections with a watch each",
            Case::Puts => "512 puts of 1 MiB at once over 64 connections, kill -9, restart",
            Case::Txns => "transactions of 128 operations and 1 MiB",
            Case::Churn => "values of 100 KiB at full speed, compaction each second",
            Case::Leases => "300,000 leases with a key each",
            Case::Keys => "1,000,000 keys, kill -9, restart",
            Case::Versions => "50,000 keys with 20 versions each, then compaction",
        }
    }

    /// Whether the store is killed and started again on its data, and the acknowledged writes looked at.
    pub(super) const fn restarts(self) -> bool {
        matches!(self, Case::Puts | Case::Keys)
    }

    /// # Errors
    /// Anything that is not a refusal for lack of memory, and anything that came back wrong.
    pub(super) async fn attack(self, store: &Store, divide: u64) -> Result<Acked> {
        match self {
            Case::EmptyOps => floods::empty_ops(store).await,
            Case::Silent => floods::silent(store, 1000 / divide).await,
            Case::Uploads => floods::uploads(store, 64).await,
            Case::Lists => reads::lists(store, 300 / divide, 8).await,
            Case::Stopped => watches::stopped(store, 400 / divide).await,
            Case::History => watches::history(store, 400 / divide, 50).await,
            Case::Watches => watches::many(store, 500 / divide, 100).await,
            Case::Connections => watches::connections(store, 5000 / divide).await,
            Case::Puts => writes::puts(store, 2048 / divide).await,
            Case::Txns => writes::txns(store, 400 / divide).await,
            Case::Churn => writes::churn(store, 20 / divide.min(10)).await,
            Case::Leases => writes::leases(store, 300_000 / divide).await,
            Case::Keys => writes::keys(store, 1_000_000 / divide).await,
            Case::Versions => writes::versions(store, 50_000 / divide, 20).await,
        }
    }

    /// # Errors
    /// When something that was acknowledged is not there.
    pub(super) async fn verify(self, store: &Store, acked: &Acked) -> Result<()> {
        match self {
            Case::Puts => writes::verify_puts(store, acked).await,
            Case::Keys => writes::verify_keys(store, acked).await,
            _ => Ok(()),
        }
    }
}

/// Sorts the outcome of an operation: done, or refused for lack of memory.
fn count(outcome: Result<(), Error>, acked: &mut Acked) -> Result<()> {
    match outcome {
        Ok(()) => acked.done += 1,
        Err(Error::TooManyRequests) => acked.refused += 1,
        Err(error) => bail!("an operation failed: {error}"),
    }
    Ok(())
}
