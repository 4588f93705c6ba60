//! Which server of a pool a request goes to. Pure but for the shared turn.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_http::message::RequestHead;
use tidegate_pipeline::Problems;

use super::{
    hash::{Fnv, Random, of_client},
    health::HealthConfig,
    sticky::StickyConfig,
};

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LoadBalance {
    /// `roundRobin`, `random`, `weightedRandom`, `ipHash`, `headerHash` or `cookieHash`. Another name is `roundRobin`.
    pub(super) policy: String,
    /// The header that `headerHash` goes by.
    pub(super) header_hash_key: String,
    /// Keeps a client with its server.
    pub(super) sticky_session: Option<StickyConfig>,
    /// The pool's `healthCheck`, in its old place.
    pub(super) health_check: Option<HealthConfig>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Policy {
    RoundRobin,
    Random,
    /// By the weights of the servers; where those that are well have none, each is as likely.
    Weighted(Box<[u32]>),
    IpHash,
    HeaderHash(String),
    CookieHash,
}

impl Policy {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Policy::RoundRobin => "roundRobin",
            Policy::Random => "random",
            Policy::Weighted(_) => "weightedRandom",
            Policy::IpHash => "ipHash",
            Policy::HeaderHash(_) => "headerHash",
            Policy::CookieHash => "cookieHash",
        }
    }
}

impl LoadBalance {
    pub(super) fn policy(&self, at: &str, weights: Vec<u32>, problems: &mut Problems) -> Policy {
        match self.policy.as_str() {
            "random" => Policy::Random,
            "weightedRandom" => Policy::Weighted(weights.into_boxed_slice()),
            "ipHash" => Policy::IpHash,
            "cookieHash" => Policy::CookieHash,
            "headerHash" => {
                let given = !self.header_hash_key.is_empty();
                problems.require(given, format!("{at}.headerHashKey"), "is required for headerHash");
                Policy::HeaderHash(self.header_hash_key.clone())
            }
            "forward" => {
                problems.add(format!("{at}.policy"), "forward is for GRPCProxy only");
                Policy::RoundRobin
            }
            _ => Policy::RoundRobin,
        }
    }
}

/// Picks one of the servers for which `well` says yes, `count` of `all`; `None` when there is none.
pub(super) fn pick(
    policy: &Policy,
    all: usize,
    well: impl Fn(usize) -> bool,
    turn: &AtomicUsize,
    random: &Random,
    (head, peer): (&RequestHead, Option<IpAddr>),
) -> Option<usize> {
    let count = (0..all).filter(|number| well(*number)).count();
    let hashed = |hash: u32| hash as usize;
    let any = || usize::try_from(random.next() >> 33).unwrap_or(0);
    let nth = match policy {
        _ if count == 0 => return None,
        // The turn wraps at the end of its width; one server then has its turn twice.
        Policy::RoundRobin => turn.fetch_add(1, Ordering::Relaxed),
        Policy::Random => any(),
        Policy::Weighted(weights) => {
            let weight = |number: usize| u64::from(weights.get(number).copied().unwrap_or(0));
            let total: u64 = (0..all).filter(|number| well(*number)).map(weight).sum();
            if total > 0 {
                let mut left = random.next() % total;
                return (0..all).filter(|number| well(*number)).find(|number| {
                    let (here, weight) = (left < weight(*number), weight(*number));
                    left = left.saturating_sub(weight);
                    here
                });
            }
            any()
        }
        Policy::IpHash => hashed(of_client(head, peer)),
        Policy::HeaderHash(name) => hashed(Fnv::of(head.headers.find(name).unwrap_or_default())),
        Policy::CookieHash => hashed(Fnv::of(head.headers.find("Cookie").unwrap_or_default())),
    };
    (0..all).filter(|number| well(*number)).nth(nth % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_picked_by_the_policy() {
        let (turn, random) = (AtomicUsize::new(0), Random::new());
        let mut head = RequestHead::default();
        head.headers.append("X-Key", b"foobar");
        head.headers.append("Cookie", b"a");
        let peer: Option<IpAddr> = Some("10.1.2.3".parse().unwrap());
        let pick = |policy: &Policy, well: &[bool]| {
            let well = well.to_vec();
            super::pick(policy, well.len(), |number| well[number], &turn, &random, (&head, peer))
        };
        let all = [true, true, true];
        let turns: Vec<_> = (0..4).map(|_| pick(&Policy::RoundRobin, &all).unwrap()).collect();
        assert_eq!(turns, [0, 1, 2, 0]);
        let turns: Vec<_> = (0..4).map(|_| pick(&Policy::RoundRobin, &[true, false, true]).unwrap()).collect();
        assert!(!turns.contains(&1) && turns.contains(&0) && turns.contains(&2), "{turns:?}");
        assert_eq!(pick(&Policy::HeaderHash("x-key".into()), &all), Some(0x31f0_b262 % 3));
        assert_eq!(pick(&Policy::CookieHash, &all), Some(0x050c_5d7e % 3));
        assert_eq!(pick(&Policy::IpHash, &all), Some(Fnv::of(b"10.1.2.3") as usize % 3));
        for policy in [Policy::RoundRobin, Policy::Random, Policy::Weighted([1, 1].into()), Policy::IpHash] {
            assert_eq!(pick(&policy, &[false, false]), None);
            assert_eq!(pick(&policy, &[false, true]), Some(1));
        }
        let count = |weights: [u32; 2], server: usize| {
            let policy = Policy::Weighted(weights.into());
            (0..1000).filter(|_| pick(&policy, &[true, true]) == Some(server)).count()
        };
        assert_eq!(count([0, 7], 1), 1000);
        assert!((650..850).contains(&count([1, 3], 1)));
        assert!((400..600).contains(&count([0, 0], 1)), "without weights each is as likely");
    }
}
