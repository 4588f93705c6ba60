//! What is done to both stores: one call, or one thing on a stream of watches.

use tidegate_api::{
    Method,
    pb::{
        CompactionRequest, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest, LeaseRevokeRequest,
        LeaseTimeToLiveRequest, PutRequest, RangeRequest, TxnRequest, WatchCreateRequest,
    },
};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Call {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    LeaseGrant(LeaseGrantRequest),
    LeaseRevoke(LeaseRevokeRequest),
    LeaseTimeToLive(LeaseTimeToLiveRequest),
    LeaseKeepAlive(i64),
    LeaseLeases,
    HashKv(HashKvRequest),
}

impl Call {
    pub(super) fn method(&self) -> Method {
        match self {
            Call::Range(_) => Method::Range,
            Call::Put(_) => Method::Put,
            Call::DeleteRange(_) => Method::DeleteRange,
            Call::Txn(_) => Method::Txn,
            Call::Compact(_) => Method::Compact,
            Call::LeaseGrant(_) => Method::LeaseGrant,
            Call::LeaseRevoke(_) => Method::LeaseRevoke,
            Call::LeaseTimeToLive(_) => Method::LeaseTimeToLive,
            Call::LeaseKeepAlive(_) => Method::LeaseKeepAlive,
            Call::LeaseLeases => Method::LeaseLeases,
            Call::HashKv(_) => Method::HashKv,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Call(Call),
    /// A grant whose lease would end within the run, and its revocation at once.
    ShortLease(LeaseGrantRequest),
    /// A watch, on a stream that is opened when it is not.
    Watch {
        stream: usize,
        create: WatchCreateRequest,
    },
    CancelWatch {
        stream: usize,
        id: i64,
    },
    Progress {
        stream: usize,
    },
    CloseStream {
        stream: usize,
    },
}

impl Step {
    /// How it is counted.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Step::Call(call) => call.method().rpc(),
            Step::ShortLease(_) => Method::LeaseGrant.rpc(),
            Step::Watch { .. } => "Watch: create",
            Step::CancelWatch { .. } => "Watch: cancel",
            Step::Progress { .. } => "Watch: progress",
            Step::CloseStream { .. } => "Watch: close",
        }
    }
}
