//! Who the client is, and whether it may come in. Pure.

use std::net::{IpAddr, Ipv6Addr};

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_http::message::{Headers, Known};
use tidegate_pipeline::Problems;

/// Addresses that are let in or kept out. With `allowIPs`, only those come in.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpFilterSpec {
    /// Whether an address that is in no list, or in both, is kept out.
    #[serde(default)]
    pub block_by_default: bool,
    /// Addresses, or blocks such as `10.0.0.0/8`, that are let in; any others are kept out.
    #[serde(default, rename = "allowIPs")]
    pub allow_ips: Vec<String>,
    /// Addresses or blocks that are kept out.
    #[serde(default, rename = "blockIPs")]
    pub block_ips: Vec<String>,
}

/// Sorted ranges that do not touch, those of IPv4 apart from those of IPv6.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ranges {
    v4: Box<[Range]>,
    v6: Box<[Range]>,
}

/// First and last address.
type Range = (u128, u128);

/// A compiled filter. A look-up costs the logarithm of the number of blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IpFilter {
    allow: Ranges,
    block: Ranges,
    allows_others: bool,
}

impl IpFilter {
    /// Adds a problem, below `at`, for each text that is no block.
    pub(crate) fn new(spec: &IpFilterSpec, at: &str, problems: &mut Problems) -> Self {
        let mut ranges = |texts: &[String], key: &str| {
            let mut list = Vec::with_capacity(texts.len());
            for (index, text) in texts.iter().enumerate() {
                match range(text) {
                    Some(found) => list.push(found),
                    None => problems.add(
                        format!("{at}.{key}[{index}]"),
                        format!("\"{text}\" is neither an address nor a block such as 10.0.0.0/8"),
                    ),
                }
            }
            Ranges::new(&list)
        };
        let allow = ranges(&spec.allow_ips, "allowIPs");
        Self { allow, block: ranges(&spec.block_ips, "blockIPs"), allows_others: !spec.block_by_default }
    }

    /// Whether the client may come in; `None`: nobody knows its address.
    pub(crate) fn allows(&self, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return self.allows_others };
        let (allowed, blocked) = (self.allow.contains(address), self.block.contains(address));
        match (allowed, blocked) {
            (false, _) if !self.allow.is_empty() => false,
            (true, true) | (false, false) => self.allows_others,
            (allowed, _) => allowed,
        }
    }
}

impl Ranges {
    fn new(list: &[(bool, Range)]) -> Self {
        let of = |v6| merge(list.iter().filter(|(is, _)| *is == v6).map(|(_, range)| *range).collect());
        Self { v4: of(false), v6: of(true) }
    }

    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    fn contains(&self, address: IpAddr) -> bool {
        let (list, number) = if address.is_ipv6() { (&self.v6, number(address)) } else { (&self.v4, number(address)) };
        let behind = list.partition_point(|(start, _)| *start <= number);
        behind.checked_sub(1).and_then(|at| list.get(at)).is_some_and(|(_, end)| number <= *end)
    }
}

fn merge(mut list: Vec<Range>) -> Box<[Range]> {
    list.sort_unstable();
    let mut merged: Vec<Range> = Vec::with_capacity(list.len());
    for (start, end) in list {
        match merged.last_mut() {
            Some(last) if start <= last.1.saturating_add(1) => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged.into()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A block, and whether it is one of IPv6.
fn range(text: &str) -> Option<(bool, Range)> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().ok()?;
    let bits: u32 = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => bits,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
    };
    let free = bits.checked_sub(length)?;
    let mask = 1u128.checked_shl(free).map_or(u128::MAX, |end| end - 1);
    let first = number(address) & !mask;
    Some((address.is_ipv6(), (first, first | mask)))
}

/// The client's address as the headers of those before us tell it: the first public one of `X-Forwarded-For`, else
/// `X-Real-Ip`; the address of the connection where neither header is there. `None`: there is none, since the first header
/// has no public one and the second is missing or is none.
pub(crate) fn real_ip(headers: &Headers, peer: Option<IpAddr>) -> Option<IpAddr> {
    let text = |name| headers.text(name).filter(|text| !text.is_empty());
    match (text(Known::XForwardedFor), text(Known::XRealIp)) {
        (None, None) => peer,
        (list, real) => {
            let mut members = list.unwrap_or_default().split(',').filter_map(parse);
            members.find(|address| is_public(*address)).or_else(|| real.and_then(parse))
        }
    }
}

fn parse(text: &str) -> Option<IpAddr> {
    text.trim().parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// Neither private (RFC 1918, RFC 4193) nor of the link or the machine.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !(address.is_private() || address.is_loopback() || address.is_link_local()),
        IpAddr::V6(address) => {
            !(address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local())
                && address != Ipv6Addr::UNSPECIFIED
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_decide_as_the_table_says() {
        let filter = |block_by_default, allow: &[&str], block: &[&str]| {
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            let spec = IpFilterSpec { block_by_default, allow_ips: texts(allow), block_ips: texts(block) };
            let mut problems = Problems::default();
            let filter = IpFilter::new(&spec, "f", &mut problems);
            assert!(problems.is_empty(), "{problems}");
            filter
        };
        for (block_by_default, allow, block, address, expected) in [
            (false, &[][..], &[][..], "1.1.1.1", true),
            (true, &[], &[], "1.1.1.1", false),
            (false, &["1.1.1.1"], &[], "1.1.1.1", true),
            (false, &["1.1.1.1"], &[], "1.1.1.2", false),
            (true, &["1.1.1.1"], &[], "1.1.1.1", true),
            (false, &["1.0.0.0/8"], &["1.1.0.0/16"], "1.1.1.1", true),
            (true, &["1.0.0.0/8"], &["1.1.0.0/16"], "1.1.1.1", false),
            (true, &["1.0.0.0/8"], &["1.1.0.0/16"], "1.2.1.1", true),
            (false, &[], &["1.1.0.0/16"], "1.1.255.255", false),
            (true, &[], &["1.1.0.0/16"], "1.2.0.0", false),
            (false, &[], &["1.1.0.0/16"], "1.2.0.0", true),
            (false, &["1.1.1.1"], &[], "", true),
            (true, &["1.1.1.1"], &[], "", false),
            (false, &[], &["2001:db8::/32"], "2001:db8:1::1", false),
            (false, &[], &["2001:db8::/32"], "2001:db9::1", true),
            (false, &[], &["0.0.0.0/0"], "9.9.9.9", false),
            (false, &[], &["0.0.0.0/0"], "::1", true),
            (false, &[], &["::/0"], "9.9.9.9", true),
            (false, &[], &["::/0"], "2001:db8::1", false),
            // A block is what its length leaves of the address.
            (false, &[], &["10.1.2.3/8"], "10.0.0.0", false),
            (false, &[], &["1.1.1.1", "1.1.1.2", "1.1.1.0/30", "3.3.3.3"], "1.1.1.3", false),
            (false, &[], &["1.1.1.1", "1.1.1.2", "3.3.3.3"], "1.1.1.3", true),
        ] {
            let allows = filter(block_by_default, allow, block).allows(parse(address));
            assert_eq!(allows, expected, "{block_by_default} {allow:?} {block:?} {address}");
        }
    }

    #[test]
    fn what_is_no_block_is_named() {
        let bad = ["1.1.1", "1.1.1.1/33", "1.1.1.1/", "1.1.1.1/+3", "::1/129", "host", ""];
        let spec = IpFilterSpec { block_ips: bad.map(str::to_owned).to_vec(), ..IpFilterSpec::default() };
        let mut problems = Problems::default();
        IpFilter::new(&spec, "f", &mut problems);
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "f.blockIPs[0]",
                "f.blockIPs[1]",
                "f.blockIPs[2]",
                "f.blockIPs[3]",
                "f.blockIPs[4]",
                "f.blockIPs[5]",
                "f.blockIPs[6]"
            ]
        );
    }

    #[test]
    fn the_client_is_who_the_headers_say() {
        for (list, real, expected) in [
            (None, None, "9.9.9.9"),
            (Some("1.2.3.4"), None, "1.2.3.4"),
            (Some("10.0.0.1, 192.168.1.1, 1.2.3.4, 5.6.7.8"), None, "1.2.3.4"),
            (Some("nobody, 1.2.3.4"), Some("5.6.7.8"), "1.2.3.4"),
            (Some("10.0.0.1"), Some("5.6.7.8"), "5.6.7.8"),
            (Some("10.0.0.1"), None, ""),
            (None, Some("10.0.0.9"), "10.0.0.9"),
            (None, Some("nobody"), ""),
            (Some("fd00::1, fe80::1, ::1, 2001:db8::1"), None, "2001:db8::1"),
            (Some("::ffff:10.0.0.1, ::ffff:1.2.3.4"), None, "1.2.3.4"),
        ] {
            let mut headers = Headers::new();
            for (name, value) in [("X-Forwarded-For", list), ("x-real-ip", real)] {
                if let Some(value) = value {
                    headers.append(name, value.as_bytes());
                }
            }
            let found = real_ip(&headers, parse("9.9.9.9")).map(|address| address.to_string()).unwrap_or_default();
            assert_eq!(found, expected, "{list:?} {real:?}");
        }
    }
}
