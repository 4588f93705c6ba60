//! Every error that a client can see, with its code and text.
//!
//! Clients recognise errors by their text, so texts are part of the contract and stand in one table.

use std::{borrow::Cow, fmt};

/// Codes of gRPC, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    Canceled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    pub const ALL: [Code; 16] = [
        Code::Canceled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];

    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The code of `number`; `None` for 0, which is success, and for numbers that gRPC does not know.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Name as gRPC's Go implementation prints it, which is how etcd quotes errors inside texts and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Code::Canceled => "Canceled",
            Code::Unknown => "Unknown",
            Code::InvalidArgument => "InvalidArgument",
            Code::DeadlineExceeded => "DeadlineExceeded",
            Code::NotFound => "NotFound",
            Code::AlreadyExists => "AlreadyExists",
            Code::PermissionDenied => "PermissionDenied",
            Code::ResourceExhausted => "ResourceExhausted",
            Code::FailedPrecondition => "FailedPrecondition",
            Code::Aborted => "Aborted",
            Code::OutOfRange => "OutOfRange",
            Code::Unimplemented => "Unimplemented",
            Code::Internal => "Internal",
            Code::Unavailable => "Unavailable",
            Code::DataLoss => "DataLoss",
            Code::Unauthenticated => "Unauthenticated",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! catalogue {
    ($($name:ident => $code:ident, $text:literal;)*) => {
        /// An error as a client sees it. Its row in the table below is its code and its text.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Error {
            $($name,)*
            /// What has no row: the raw text of a server, or of a connection.
            Other { code: Code, text: Cow<'static, str> },
        }

        impl Error {
            /// Every error that has a row.
            pub const ALL: &'static [Error] = &[$(Error::$name,)*];

            /// Code and text on the wire.
            pub fn row(&self) -> (Code, &str) {
                match self {
                    $(Error::$name => (Code::$code, $text),)*
                    Error::Other { code, text } => (*code, text),
                }
            }

            /// Reads an answer back: by its text, as all clients do, because a code may differ between versions.
            pub fn from_wire(code: Code, text: &str) -> Self {
                match text {
                    $($text => Error::$name,)*
                    _ => Error::Other { code, text: Cow::Owned(text.to_owned()) },
                }
            }
        }
    };
}

// Source: the error table of etcd 3.7. Two codes differ from its table and agree with what it sends or should:
// `MemberNotEnoughStarted` reaches clients as Unknown, and `TooManyRequests` has the code that its table names, because a
// proxy must be able to tell it from a fault.
catalogue! {
    EmptyKey => InvalidArgument, "etcdserver: key is not provided";
    KeyNotFound => InvalidArgument, "etcdserver: key not found";
    ValueProvided => InvalidArgument, "etcdserver: value is provided";
    LeaseProvided => InvalidArgument, "etcdserver: lease is provided";
    TooManyOps => InvalidArgument, "etcdserver: too many operations in txn request";
    DuplicateKey => InvalidArgument, "etcdserver: duplicate key given in txn request";
    InvalidClientApiVersion => InvalidArgument, "etcdserver: invalid client api version";
    InvalidSortOption => InvalidArgument, "etcdserver: invalid sort option";
    Compacted => OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    FutureRev => OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    NoSpace => ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    LeaseNotFound => NotFound, "etcdserver: requested lease not found";
    LeaseExist => FailedPrecondition, "etcdserver: lease already exists";
    LeaseTtlTooLarge => OutOfRange, "etcdserver: too large lease TTL";
    WatchCanceled => Canceled, "etcdserver: watch canceled";
    MemberExist => FailedPrecondition, "etcdserver: member ID already exist";
    PeerUrlExist => FailedPrecondition, "etcdserver: Peer URLs already exists";
    MemberNotEnoughStarted => Unknown, "etcdserver: re-configuration failed due to not enough started members";
    MemberBadUrls => InvalidArgument, "etcdserver: given member URLs are invalid";
    MemberNotFound => NotFound, "etcdserver: member not found";
    MemberNotLearner => FailedPrecondition, "etcdserver: can only promote a learner member";
    LearnerNotReady => FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader";
    TooManyLearners => FailedPrecondition, "etcdserver: too many learner members in cluster";
    ClusterIdMismatch => FailedPrecondition, "etcdserver: cluster ID mismatch";
    RequestTooLarge => InvalidArgument, "etcdserver: request is too large";
    TooManyRequests => ResourceExhausted, "etcdserver: too many requests";
    RootUserNotExist => FailedPrecondition, "etcdserver: root user does not exist";
    RootRoleNotExist => FailedPrecondition, "etcdserver: root user does not have root role";
    UserAlreadyExist => FailedPrecondition, "etcdserver: user name already exists";
    UserEmpty => InvalidArgument, "etcdserver: user name is empty";
    UserNotFound => FailedPrecondition, "etcdserver: user name not found";
    RoleAlreadyExist => FailedPrecondition, "etcdserver: role name already exists";
    RoleNotFound => FailedPrecondition, "etcdserver: role name not found";
    RoleEmpty => InvalidArgument, "etcdserver: role name is empty";
    AuthFailed => InvalidArgument, "etcdserver: authentication failed, invalid user ID or password";
    PermissionNotGiven => InvalidArgument, "etcdserver: permission not given";
    PermissionDenied => PermissionDenied, "etcdserver: permission denied";
    RoleNotGranted => FailedPrecondition, "etcdserver: role is not granted to the user";
    PermissionNotGranted => FailedPrecondition, "etcdserver: permission is not granted to the role";
    AuthNotEnabled => FailedPrecondition, "etcdserver: authentication is not enabled";
    InvalidAuthToken => Unauthenticated, "etcdserver: invalid auth token";
    InvalidAuthMgmt => InvalidArgument, "etcdserver: invalid auth management";
    AuthOldRevision => InvalidArgument, "etcdserver: revision of auth store is old";
    NoLeader => Unavailable, "etcdserver: no leader";
    NotLeader => FailedPrecondition, "etcdserver: not leader";
    LeaderChanged => Unavailable, "etcdserver: leader changed";
    NotCapable => FailedPrecondition, "etcdserver: not capable";
    Stopped => Unavailable, "etcdserver: server stopped";
    Timeout => Unavailable, "etcdserver: request timed out";
    TimeoutDueToLeaderFail => Unavailable, "etcdserver: request timed out, possibly due to previous leader failure";
    TimeoutDueToConnectionLost => Unavailable, "etcdserver: request timed out, possibly due to connection lost";
    TimeoutWaitAppliedIndex => Unavailable,
        "etcdserver: request timed out, waiting for the applied index took too long";
    Unhealthy => Unavailable, "etcdserver: unhealthy cluster";
    Corrupt => DataLoss, "etcdserver: corrupt cluster";
    NotSupportedForLearner => FailedPrecondition, "etcdserver: rpc not supported for learner";
    BadLeaderTransferee => FailedPrecondition, "etcdserver: bad leader transferee";
    WrongDowngradeVersionFormat => InvalidArgument, "etcdserver: wrong downgrade target version format";
    InvalidDowngradeTargetVersion => InvalidArgument, "etcdserver: invalid downgrade target version";
    ClusterVersionUnavailable => FailedPrecondition, "etcdserver: cluster version not found during downgrade";
    DowngradeInProcess => FailedPrecondition, "etcdserver: cluster has a downgrade job in progress";
    NoInflightDowngrade => FailedPrecondition, "etcdserver: no inflight downgrade job";
    RequestCanceled => Canceled, "etcdserver: request canceled";
    RequestDeadlineExceeded => DeadlineExceeded, "etcdserver: context deadline exceeded";

    // What has no row of its own in etcd and is told apart by its text all the same.
    ContextCanceled => Canceled, "context canceled";
    ContextDeadlineExceeded => DeadlineExceeded, "context deadline exceeded";
    RangeStreamSort => Unimplemented, "RangeStream does not support custom sort orders";
    RangeStreamFilters => Unimplemented, "RangeStream does not support revision filters";
    NoPasswordUser => Unknown, "auth: authentication failed, password was given for no password user";
    VerifyOnlyKey => Unknown, "auth: token signing attempted with verify-only key";
    LeaderTransferTimeout => Unknown, "etcdserver: request timed out, leader transfer took too long";
    UnknownMethod => Unknown, "etcdserver: unknown method";
    MutexSessionExpired => Unknown, "mutex: session is expired";
    ElectionNoLeader => Unknown, "election: no leader";
    ElectionNotLeader => Unknown, "election: not leader";
    LeaderNotProvided => Unknown, "\"leader\" field must be provided";
}

impl Error {
    pub fn code(&self) -> Code {
        self.row().0
    }

    pub fn text(&self) -> &str {
        self.row().1
    }

    pub fn other(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Error::Other { code, text: text.into() }
    }

    /// An RPC, or an option of one, that this server does not have.
    pub fn unimplemented(what: impl fmt::Display) -> Self {
        Self::other(Code::Unimplemented, format!("{what} is not implemented"))
    }

    /// A message that is not what its method takes.
    pub fn undecodable(why: impl fmt::Display) -> Self {
        Self::other(Code::Internal, format!("grpc: error unmarshalling request: {why}"))
    }

    /// The error as etcd quotes it inside other texts, such as the reason of a cancelled watch.
    pub fn quoted(&self) -> String {
        let (code, text) = self.row();
        format!("rpc error: code = {code} desc = {text}")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn texts_are_unique_and_read_back() {
        let texts: BTreeSet<&str> = Error::ALL.iter().map(Error::text).collect();
        assert_eq!(texts.len(), Error::ALL.len());
        for error in Error::ALL {
            // Another version may send another code: the text decides.
            assert_eq!(Error::from_wire(Code::Unknown, error.text()), *error);
        }
    }

    #[test]
    fn unknown_texts_keep_their_code() {
        let error = Error::from_wire(Code::Aborted, "something else");
        assert_eq!(error.row(), (Code::Aborted, "something else"));
    }

    #[test]
    fn codes_have_the_numbers_of_grpc() {
        let numbers: Vec<u8> = Code::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(numbers, (1..=16).collect::<Vec<u8>>());
        for code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), Some(code));
        }
        assert_eq!([Code::from_number(0), Code::from_number(17)], [None, None]);
    }

    #[test]
    fn rows_are_those_that_clients_know() {
        let check = |error: Error, number: u8, text: &str| {
            assert_eq!((error.code().number(), error.to_string().as_str()), (number, text));
        };
        check(Error::EmptyKey, 3, "etcdserver: key is not provided");
        check(Error::Compacted, 11, "etcdserver: mvcc: required revision has been compacted");
        check(Error::NoSpace, 8, "etcdserver: mvcc: database space exceeded");
        check(Error::TooManyRequests, 8, "etcdserver: too many requests");
        check(Error::Corrupt, 15, "etcdserver: corrupt cluster");
        check(Error::InvalidAuthToken, 16, "etcdserver: invalid auth token");
        check(Error::NoLeader, 14, "etcdserver: no leader");
        check(
            Error::MemberNotEnoughStarted,
            2,
            "etcdserver: re-configuration failed due to not enough started members",
        );
        check(Error::unimplemented("Maintenance/Hash"), 12, "Maintenance/Hash is not implemented");
    }

    #[test]
    fn quoted_errors_read_as_in_etcd() {
        assert_eq!(
            Error::PermissionDenied.quoted(),
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
        );
    }
}
