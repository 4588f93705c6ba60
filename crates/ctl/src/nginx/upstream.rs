//! Groups of servers.

use serde_json::{Value, json};

use super::{Directive, Scope};

/// Largest weight that a pool takes.
const WEIGHT_MAX: u64 = 100;

#[derive(Debug, Clone)]
pub(super) struct Upstream {
    /// Addresses, with their weights.
    servers: Vec<(String, Option<u64>)>,
    balance: Value,
}

impl Upstream {
    /// One server that is not in a group.
    pub(super) fn single(address: &str) -> Self {
        Self { servers: vec![(address.to_owned(), None)], balance: json!({"policy": "roundRobin"}) }
    }

    pub(super) fn read(block: &Directive, scope: &mut Scope<'_>) -> Self {
        let mut upstream = Self { servers: Vec::new(), balance: json!({"policy": "roundRobin"}) };
        for directive in &block.children {
            match (&*directive.name, directive.arg(0)) {
                ("server", address) if address.starts_with("unix:") => scope.not_converted(directive),
                ("server", address) => {
                    if let Some(weight) = weight(directive, scope) {
                        upstream.servers.push((address.to_owned(), weight));
                    }
                }
                ("ip_hash", _) | ("hash", "$remote_addr" | "$binary_remote_addr") => {
                    upstream.balance = json!({"policy": "ipHash"});
                }
                ("hash", key) if key.starts_with("$http_") => {
                    let header = key.trim_start_matches("$http_").replace('_', "-");
                    upstream.balance = json!({"policy": "headerHash", "headerHashKey": header});
                }
                ("hash", key) if key.starts_with("$cookie_") => upstream.balance = json!({"policy": "cookieHash"}),
                ("random", _) => upstream.balance = json!({"policy": "random"}),
                // Connections are kept in any case.
                ("keepalive" | "keepalive_timeout" | "keepalive_requests" | "zone", _) => {}
                _ => scope.not_converted(directive),
            }
        }
        if upstream.servers.is_empty() {
            scope.warn(block, &format!("upstream {} has no server that can be used", block.arg(0)));
        }
        let weighted = upstream.servers.iter().any(|(_, weight)| weight.is_some());
        if weighted && upstream.balance["policy"] == "roundRobin" {
            upstream.balance = json!({"policy": "weightedRandom"});
        }
        upstream
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// The pool that sends to these servers. Either all of them have weights, or none.
    pub(super) fn pool(&self, scheme: &str, keep_host: bool) -> Value {
        let most = self.servers.iter().filter_map(|(_, weight)| *weight).max();
        let server = |(address, weight): &(String, Option<u64>)| {
            let mut server = json!({"url": format!("{scheme}://{address}")});
            if keep_host {
                server["keepHost"] = true.into();
            }
            if let Some(most) = most {
                let weight = weight.unwrap_or(1);
                // Weights that are too large keep their proportion.
                let scaled = if most > WEIGHT_MAX {
                    u128::from(weight) * u128::from(WEIGHT_MAX) / u128::from(most)
                } else {
                    weight.into()
                };
                server["weight"] = u64::try_from(scaled).unwrap_or(WEIGHT_MAX).max(1).into();
            }
            server
        };
        let servers: Vec<Value> = self.servers.iter().map(server).collect();
        let mut pool = json!({"servers": servers, "loadBalance": self.balance});
        if !keep_host {
            pool["setUpstreamHost"] = true.into();
        }
        pool
    }
}

/// The server's weight, where it has one; `None` for a server that is not used.
fn weight(directive: &Directive, scope: &mut Scope<'_>) -> Option<Option<u64>> {
    let mut weight = None;
    for word in directive.args.iter().skip(1) {
        match word.split_once('=') {
            Some(("weight", number)) => weight = number.parse().ok(),
            None if word == "down" => return None,
            None if word == "backup" => {
                scope.not_converted(directive);
                return None;
            }
            _ => scope.warn(directive, &format!("not converted: {word} of server {}", directive.arg(0))),
        }
    }
    Some(weight)
}
