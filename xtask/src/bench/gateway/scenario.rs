//! The scenarios by name.

use super::{
    idle::Protocol,
    load::{Connections, Headers, Load},
};

pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) load: Load,
    pub(super) path: &'static str,
    /// Numbers of rules; a fleet for each, and all of them take turns.
    pub(super) routes: &'static [usize],
    pub(super) filters: bool,
    /// Beside nginx alone.
    pub(super) only_nginx: bool,
}

const fn scenario(name: &'static str, path: &'static str, load: Load) -> Scenario {
    Scenario { name, load, path, routes: &[0], filters: false, only_nginx: false }
}

const fn plain(connections: Connections, headers: Headers, body: usize) -> Load {
    Load::Plain { connections, headers, body }
}

const GET: Load = plain(Connections::Given, Headers::Few, 0);

/// All of them, in the order in which they run. `docs/performance.md` says what each is.
pub(super) static ALL: &[Scenario] = &[
    scenario("get", "/", GET),
    scenario("headers", "/", plain(Connections::Given, Headers::Many, 0)),
    scenario("get-100k", "/100k", GET),
    scenario("get-100k-chunked", "/100kc", GET),
    scenario("post-10k", "/", plain(Connections::Given, Headers::Few, 10 << 10)),
    scenario("post-100k", "/", plain(Connections::Given, Headers::Few, 100 << 10)),
    scenario("connections", "/", plain(Connections::Thousand, Headers::Few, 0)),
    // The path is that of the rule in the middle.
    Scenario { routes: &[10, 10_000], ..scenario("routes", "", GET) },
    Scenario { filters: true, only_nginx: true, ..scenario("pipeline", "/", GET) },
    scenario("tls", "/", Load::Secure),
    scenario("tls-full", "/", Load::Handshakes { resume: false }),
    scenario("tls-resumed", "/", Load::Handshakes { resume: true }),
    scenario("h2", "/", Load::Streams),
    scenario("idle", "/", Load::Idle(Protocol::Http1)),
    scenario("idle-tls", "/", Load::Idle(Protocol::Tls)),
    scenario("idle-h2", "/", Load::Idle(Protocol::Http2)),
];

/// The one of this name.
pub(super) fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
