//! The methods of the client services by their path.

/// How many messages go each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Unary,
    /// One request, a stream of answers.
    ServerStream,
    /// Streams both ways.
    Bidi,
}

macro_rules! methods {
    ($($name:ident $service:literal $rpc:literal $kind:ident $implemented:literal;)*) => {
        /// A method of a client service.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Method {
            $($name,)*
        }

        impl Method {
            pub const ALL: &'static [Method] = &[$(Method::$name,)*];

            /// The method that a request's `:path` names.
            pub fn from_path(path: &str) -> Option<Self> {
                match path {
                    $(concat!("/", $service, "/", $rpc) => Some(Method::$name),)*
                    _ => None,
                }
            }

            pub const fn path(self) -> &'static str {
                match self {
                    $(Method::$name => concat!("/", $service, "/", $rpc),)*
                }
            }

            /// Package and service, such as `etcdserverpb.KV`: a label of etcd's metrics.
            pub const fn service(self) -> &'static str {
                match self {
                    $(Method::$name => $service,)*
                }
            }

            /// Name within the service, such as `Put`.
            pub const fn rpc(self) -> &'static str {
                match self {
                    $(Method::$name => $rpc,)*
                }
            }

            pub const fn kind(self) -> Kind {
                match self {
                    $(Method::$name => Kind::$kind,)*
                }
            }

            /// Whether the store answers it; the others get [`crate::Error::unimplemented`] with their name.
            pub const fn implemented(self) -> bool {
                match self {
                    $(Method::$name => $implemented,)*
                }
            }
        }
    };
}

methods! {
    Range "etcdserverpb.KV" "Range" Unary true;
    RangeStream "etcdserverpb.KV" "RangeStream" ServerStream false;
    Put "etcdserverpb.KV" "Put" Unary true;
    DeleteRange "etcdserverpb.KV" "DeleteRange" Unary true;
    Txn "etcdserverpb.KV" "Txn" Unary true;
    Compact "etcdserverpb.KV" "Compact" Unary true;
    Watch "etcdserverpb.Watch" "Watch" Bidi true;
    LeaseGrant "etcdserverpb.Lease" "LeaseGrant" Unary true;
    LeaseRevoke "etcdserverpb.Lease" "LeaseRevoke" Unary true;
    LeaseKeepAlive "etcdserverpb.Lease" "LeaseKeepAlive" Bidi true;
    LeaseTimeToLive "etcdserverpb.Lease" "LeaseTimeToLive" Unary true;
    LeaseLeases "etcdserverpb.Lease" "LeaseLeases" Unary true;
    MemberAdd "etcdserverpb.Cluster" "MemberAdd" Unary false;
    MemberRemove "etcdserverpb.Cluster" "MemberRemove" Unary false;
    MemberUpdate "etcdserverpb.Cluster" "MemberUpdate" Unary false;
    MemberList "etcdserverpb.Cluster" "MemberList" Unary true;
    MemberPromote "etcdserverpb.Cluster" "MemberPromote" Unary false;
    Alarm "etcdserverpb.Maintenance" "Alarm" Unary true;
    Status "etcdserverpb.Maintenance" "Status" Unary true;
    Defragment "etcdserverpb.Maintenance" "Defragment" Unary false;
    Hash "etcdserverpb.Maintenance" "Hash" Unary false;
    HashKv "etcdserverpb.Maintenance" "HashKV" Unary true;
    Snapshot "etcdserverpb.Maintenance" "Snapshot" ServerStream false;
    MoveLeader "etcdserverpb.Maintenance" "MoveLeader" Unary false;
    Downgrade "etcdserverpb.Maintenance" "Downgrade" Unary false;
    AuthEnable "etcdserverpb.Auth" "AuthEnable" Unary false;
    AuthDisable "etcdserverpb.Auth" "AuthDisable" Unary false;
    AuthStatus "etcdserverpb.Auth" "AuthStatus" Unary false;
    Authenticate "etcdserverpb.Auth" "Authenticate" Unary false;
    UserAdd "etcdserverpb.Auth" "UserAdd" Unary false;
    UserGet "etcdserverpb.Auth" "UserGet" Unary false;
    UserList "etcdserverpb.Auth" "UserList" Unary false;
    UserDelete "etcdserverpb.Auth" "UserDelete" Unary false;
    UserChangePassword "etcdserverpb.Auth" "UserChangePassword" Unary false;
    UserGrantRole "etcdserverpb.Auth" "UserGrantRole" Unary false;
    UserRevokeRole "etcdserverpb.Auth" "UserRevokeRole" Unary false;
    RoleAdd "etcdserverpb.Auth" "RoleAdd" Unary false;
    RoleGet "etcdserverpb.Auth" "RoleGet" Unary false;
    RoleList "etcdserverpb.Auth" "RoleList" Unary false;
    RoleDelete "etcdserverpb.Auth" "RoleDelete" Unary false;
    RoleGrantPermission "etcdserverpb.Auth" "RoleGrantPermission" Unary false;
    RoleRevokePermission "etcdserverpb.Auth" "RoleRevokePermission" Unary false;
    Lock "v3lockpb.Lock" "Lock" Unary false;
    Unlock "v3lockpb.Lock" "Unlock" Unary false;
    Campaign "v3electionpb.Election" "Campaign" Unary false;
    Proclaim "v3electionpb.Election" "Proclaim" Unary false;
    Leader "v3electionpb.Election" "Leader" Unary false;
    Observe "v3electionpb.Election" "Observe" ServerStream false;
    Resign "v3electionpb.Election" "Resign" Unary false;
    HealthCheck "grpc.health.v1.Health" "Check" Unary false;
    HealthWatch "grpc.health.v1.Health" "Watch" ServerStream false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_leads_back_to_its_method() {
        for method in Method::ALL {
            assert_eq!(Method::from_path(method.path()), Some(*method));
            assert_eq!(method.path(), format!("/{}/{}", method.service(), method.rpc()));
        }
    }

    #[test]
    fn other_paths_are_no_method() {
        for path in
            ["", "/", "/etcdserverpb.KV/", "/etcdserverpb.KV/put", "etcdserverpb.KV/Put", "/etcdserverpb.KV/Put/"]
        {
            assert_eq!(Method::from_path(path), None, "{path}");
        }
    }

    #[test]
    fn every_rpc_of_the_proto_files_is_listed_with_its_kind() {
        let mut found = Vec::new();
        for (package, text) in [
            ("etcdserverpb", include_str!("../proto/rpc.proto")),
            ("v3lockpb", include_str!("../proto/lock.proto")),
            ("v3electionpb", include_str!("../proto/election.proto")),
            ("grpc.health.v1", include_str!("../proto/health.proto")),
        ] {
            let mut service = "";
            for line in text.lines().map(str::trim) {
                if let Some(rest) = line.strip_prefix("service ") {
                    service = rest.trim_end_matches(" {");
                } else if let Some(rest) = line.strip_prefix("rpc ") {
                    let rpc = rest.split('(').next().unwrap();
                    let kind = match (rest.contains("(stream"), rest.contains("returns (stream")) {
                        (false, false) => Kind::Unary,
                        (true, true) if rest.matches("(stream").count() == 1 => Kind::ServerStream,
                        _ => Kind::Bidi,
                    };
                    found.push((format!("/{package}.{service}/{rpc}"), kind));
                }
            }
        }
        let mut listed: Vec<_> = Method::ALL.iter().map(|method| (method.path().to_owned(), method.kind())).collect();
        listed.sort_by(|a, b| a.0.cmp(&b.0));
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(listed, found);
    }
}
