//! What any bytes may be handed to. For the targets in `fuzz/`, and for the tests, which replay what those have found.

mod allocated;

use bytes::Bytes;

use self::allocated::allocated;
use crate::{
    Error, Method, pb,
    pb::{health, v3electionpb as election, v3lockpb as lock},
    validate::{self, TXN_OPS_MAX},
    wire,
};

/// What a refusal may take besides: the decoder notes the messages it was in, at most one for each level, and its text
/// names them.
const REFUSAL: usize = 12 << 10;

/// The path of a method, a line end, and a request: estimated, decoded and checked as the server does it.
///
/// # Panics
/// When that took more memory than was estimated.
pub fn request(data: &[u8]) {
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else { return };
    let Some(method) = std::str::from_utf8(&data[..at]).ok().and_then(Method::from_path) else { return };
    let message = Bytes::copy_from_slice(&data[at + 1..]);
    let shared = message.clone();
    let Ok(cost) = wire::decode_cost(method, &message, TXN_OPS_MAX) else { return };
    let (result, taken) = allocated(|| check(method, message));
    let most = if result.is_ok() { cost } else { cost + REFUSAL };
    assert!(taken <= most, "{method:?} took {taken} bytes of {cost}: {result:?}");
    drop(shared);
}

/// Decodes `message` as the server does, and checks what has checks.
fn check(method: Method, message: Bytes) -> Result<(), Error> {
    macro_rules! decodes {
        ($message:ty) => {
            wire::decode::<$message>(message).map(drop)
        };
    }
    match method {
        Method::Range => validate::range(&wire::decode(message)?),
        Method::RangeStream => validate::range_stream(&wire::decode(message)?),
        Method::Put => validate::put(&wire::decode(message)?),
        Method::DeleteRange => validate::delete_range(&wire::decode(message)?),
        Method::Txn => {
            let txn = wire::decode(message)?;
            // Asked before and after a check fails.
            let _kinds = (validate::reads_only(&txn), validate::serializable(&txn));
            validate::txn(&txn, TXN_OPS_MAX)
        }
        Method::Compact => decodes!(pb::CompactionRequest),
        Method::Watch => decodes!(pb::WatchRequest),
        Method::LeaseGrant => validate::lease_grant(&wire::decode(message)?),
        Method::LeaseRevoke => decodes!(pb::LeaseRevokeRequest),
        Method::LeaseKeepAlive => decodes!(pb::LeaseKeepAliveRequest),
        Method::LeaseTimeToLive => decodes!(pb::LeaseTimeToLiveRequest),
        Method::LeaseLeases => decodes!(pb::LeaseLeasesRequest),
        Method::MemberAdd => decodes!(pb::MemberAddRequest),
        Method::MemberRemove => decodes!(pb::MemberRemoveRequest),
        Method::MemberUpdate => decodes!(pb::MemberUpdateRequest),
        Method::MemberList => decodes!(pb::MemberListRequest),
        Method::MemberPromote => decodes!(pb::MemberPromoteRequest),
        Method::Alarm => decodes!(pb::AlarmRequest),
        Method::Status => decodes!(pb::StatusRequest),
        Method::Defragment => decodes!(pb::DefragmentRequest),
        Method::Hash => decodes!(pb::HashRequest),
        Method::HashKv => decodes!(pb::HashKvRequest),
        Method::Snapshot => decodes!(pb::SnapshotRequest),
        Method::MoveLeader => decodes!(pb::MoveLeaderRequest),
        Method::Downgrade => decodes!(pb::DowngradeRequest),
        Method::AuthEnable => decodes!(pb::AuthEnableRequest),
        Method::AuthDisable => decodes!(pb::AuthDisableRequest),
        Method::AuthStatus => decodes!(pb::AuthStatusRequest),
        Method::Authenticate => decodes!(pb::AuthenticateRequest),
        Method::UserAdd => decodes!(pb::AuthUserAddRequest),
        Method::UserGet => decodes!(pb::AuthUserGetRequest),
        Method::UserList => decodes!(pb::AuthUserListRequest),
        Method::UserDelete => decodes!(pb::AuthUserDeleteRequest),
        Method::UserChangePassword => decodes!(pb::AuthUserChangePasswordRequest),
        Method::UserGrantRole => decodes!(pb::AuthUserGrantRoleRequest),
        Method::UserRevokeRole => decodes!(pb::AuthUserRevokeRoleRequest),
        Method::RoleAdd => decodes!(pb::AuthRoleAddRequest),
        Method::RoleGet => decodes!(pb::AuthRoleGetRequest),
        Method::RoleList => decodes!(pb::AuthRoleListRequest),
        Method::RoleDelete => decodes!(pb::AuthRoleDeleteRequest),
        Method::RoleGrantPermission => decodes!(pb::AuthRoleGrantPermissionRequest),
        Method::RoleRevokePermission => decodes!(pb::AuthRoleRevokePermissionRequest),
        Method::Lock => decodes!(lock::LockRequest),
        Method::Unlock => decodes!(lock::UnlockRequest),
        Method::Campaign => decodes!(election::CampaignRequest),
        Method::Proclaim => decodes!(election::ProclaimRequest),
        Method::Leader | Method::Observe => decodes!(election::LeaderRequest),
        Method::Resign => decodes!(election::ResignRequest),
        Method::HealthCheck | Method::HealthWatch => decodes!(health::HealthCheckRequest),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::corpus::replay;

    #[test]
    fn requests_survive_and_cost_no_more_than_estimated() {
        replay("request", super::request);
    }
}
