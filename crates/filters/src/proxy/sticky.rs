//! Sessions that stay with their server.
//!
//! ```text
//!   CookieConsistentHash   application's cookie ──murmur3──► one of 1024 partitions ──ring──► server
//!   DurationBased          our cookie, set with each answer:  hex(key ‖ HMAC-SHA256(key, URL of the server))
//!   ApplicationBased       the same, set only where the server sets the application's cookie
//! ```
//! The key stands in the cookie itself: the cookie hides the server's name and proves nothing.

use std::{fmt::Write, time::Duration};

use hmac::{Hmac, Mac};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::Sha256;
use tidegate_base::Moment;
use tidegate_http::message::{Headers, RequestHead};
use tidegate_pipeline::{GoDuration, Problems};

use super::hash::murmur3;
use crate::text::cookie;

const PARTITIONS: usize = 1024;
/// Points of each server on the ring.
const POINTS: usize = 50;
const KEY_BYTES: usize = 8;
const MAC_BYTES: usize = 32;
const COOKIE: &str = "EG_SESSION";
const LIFETIME: Duration = Duration::from_secs(2 * 3600);

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StickyConfig {
    /// `CookieConsistentHash`: by the value of the application's cookie. `DurationBased`: by a cookie that each answer sets.
    /// `ApplicationBased`: by a cookie that is set where the server sets the application's.
    mode: String,
    /// The application's cookie.
    #[serde(default)]
    app_cookie_name: String,
    /// The cookie that is set; `EG_SESSION` unless given.
    #[serde(default)]
    lb_cookie_name: String,
    /// How long it lasts; two hours unless given.
    #[serde(default)]
    lb_cookie_expire: Option<GoDuration>,
}

#[derive(Debug)]
enum Mode {
    /// The server of each partition.
    Hash(Box<[u32]>),
    Duration,
    Application,
}

/// A checked [`StickyConfig`].
#[derive(Debug)]
pub(super) struct Sticky {
    mode: Mode,
    app_cookie: String,
    own_cookie: String,
    lifetime: Duration,
}

impl StickyConfig {
    pub(super) fn build(&self, at: &str, urls: &[&str], problems: &mut Problems) -> Option<Sticky> {
        let mode = match self.mode.as_str() {
            "CookieConsistentHash" => Mode::Hash(partitions(urls)?),
            "DurationBased" => Mode::Duration,
            "ApplicationBased" => Mode::Application,
            _ => {
                let message = "must be CookieConsistentHash, DurationBased or ApplicationBased";
                problems.add(format!("{at}.mode"), message);
                return None;
            }
        };
        if !matches!(mode, Mode::Duration) {
            let given = !self.app_cookie_name.is_empty();
            problems.require(given, format!("{at}.appCookieName"), "is required for this mode");
        }
        let own_cookie = if self.lb_cookie_name.is_empty() { COOKIE } else { &self.lb_cookie_name };
        let token = own_cookie.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        problems.require(token, format!("{at}.lbCookieName"), "must be a cookie's name");
        let lifetime = self.lb_cookie_expire.map(|expire| expire.0).filter(|expire| !expire.is_zero());
        Some(Sticky {
            mode,
            app_cookie: self.app_cookie_name.clone(),
            own_cookie: own_cookie.to_owned(),
            lifetime: lifetime.unwrap_or(LIFETIME),
        })
    }
}

impl Sticky {
    /// The server of the request's session; `None` where it has none yet, or one that is not well.
    pub(super) fn find<'a>(
        &self,
        head: &RequestHead,
        urls: impl Iterator<Item = &'a str>,
        well: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        match &self.mode {
            Mode::Hash(partitions) => {
                let value = cookie(&head.headers, &self.app_cookie)?;
                let at = usize::try_from(murmur3(value) % PARTITIONS as u64).ok()?;
                // Sessions of a server that is not well go to those of the partitions behind theirs.
                let owners = partitions.iter().cycle().skip(at).take(PARTITIONS);
                owners.map(|owner| *owner as usize).find(|owner| well(*owner))
            }
            Mode::Duration | Mode::Application => {
                let signed = unhex(cookie(&head.headers, &self.own_cookie)?)?;
                let (key, mac) = signed.split_at(KEY_BYTES);
                let mut servers = urls.enumerate().filter(|(number, _)| well(*number));
                servers.find(|(_, url)| hmac(key, url).verify_slice(mac).is_ok()).map(|(number, _)| number)
            }
        }
    }

    /// Sets the cookie for the server at `url` where the mode says so. `key` is random, `now` the time since 1970.
    pub(super) fn mark(&self, answer: &mut Headers, url: &str, key: u64, now: Duration) {
        let set = match self.mode {
            Mode::Hash(_) => false,
            Mode::Duration => true,
            Mode::Application => answer.matching("Set-Cookie").any(|value| {
                let name = value.split(|byte| *byte == b'=').next().unwrap_or_default();
                name.trim_ascii() == self.app_cookie.as_bytes()
            }),
        };
        if set {
            let (name, expires) = (&self.own_cookie, Moment::new(now + self.lifetime).http());
            let value = sign(key.to_le_bytes(), url);
            answer.append("Set-Cookie", format!("{name}={value}; Expires={expires}").as_bytes());
        }
    }
}

fn hmac(key: &[u8], url: &str) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is good").chain_update(url)
}

fn sign(key: [u8; KEY_BYTES], url: &str) -> String {
    let mut text = String::with_capacity(2 * (KEY_BYTES + MAC_BYTES));
    for byte in key.iter().chain(&hmac(&key, url).finalize().into_bytes()) {
        let written = write!(text, "{byte:02x}");
        debug_assert!(written.is_ok());
    }
    text
}

fn unhex(text: &[u8]) -> Option<[u8; KEY_BYTES + MAC_BYTES]> {
    let mut bytes = [0; KEY_BYTES + MAC_BYTES];
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?;
    }
    Some(bytes)
}

/// Hands the partitions out: each to the server whose point follows its hash on the ring, or a later one while that server
/// has its share, the average and a quarter. Consistent hashing with bounded loads, as the package `consistent` of Go has it.
fn partitions(urls: &[&str]) -> Option<Box<[u32]>> {
    let mut members: Vec<(u32, &str)> = (0..).zip(urls.iter().copied()).collect();
    // One URL is one member, however often it stands there.
    members.sort_by_key(|(number, url)| (*url, *number));
    members.dedup_by_key(|(_, url)| *url);
    let mut ring: Vec<(u64, u32)> = Vec::with_capacity(members.len() * POINTS);
    for (number, url) in &members {
        ring.extend((0..POINTS).map(|point| (murmur3(format!("{url}{point}").as_bytes()), *number)));
    }
    ring.sort_unstable();
    let average = PARTITIONS / members.len().max(1);
    // ceil(1.25 × average); never less than lets all of them in.
    let most = (average * 5).div_ceil(4).max(PARTITIONS.div_ceil(members.len().max(1)));
    let mut loads = vec![0usize; urls.len()];
    let mut owners = Vec::with_capacity(PARTITIONS);
    for partition in 0..PARTITIONS as u64 {
        let start = ring.partition_point(|(point, _)| *point < murmur3(&partition.to_le_bytes()));
        let owner = ring.iter().cycle().skip(start).take(ring.len()).map(|(_, owner)| *owner).find(|owner| {
            let load = loads.get_mut(*owner as usize);
            load.is_some_and(|load| {
                let room = *load < most;
                *load += usize::from(room);
                room
            })
        })?;
        owners.push(owner);
    }
    Some(owners.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const URLS: [&str; 3] = ["http://10.0.0.1:80", "http://10.0.0.2:80", "http://10.0.0.3:80"];

    fn build(config: Value) -> Sticky {
        let config: StickyConfig = serde_json::from_value(config).unwrap();
        config.build("s", &URLS, &mut Problems::default()).unwrap()
    }

    fn find(sticky: &Sticky, cookie: &str, well: [bool; 3]) -> Option<usize> {
        let mut head = RequestHead::default();
        head.headers.append("Cookie", cookie.as_bytes());
        sticky.find(&head, URLS.into_iter(), |number| well[number])
    }

    #[test]
    fn a_signed_cookie_leads_back_to_its_server() {
        let sticky = build(json!({"mode": "DurationBased", "lbCookieExpire": "1h"}));
        let mut answer = Headers::new();
        sticky.mark(&mut answer, URLS[1], 7, Duration::ZERO);
        let set = String::from_utf8(answer.find("Set-Cookie").unwrap().to_vec()).unwrap();
        let (pair, expires) = set.split_once("; ").unwrap();
        assert_eq!(expires, "Expires=Thu, 01 Jan 1970 01:00:00 GMT");
        assert!(pair.starts_with("EG_SESSION=0700000000000000") && pair.len() == 11 + 80, "{pair}");
        let all = [true; 3];
        assert_eq!(find(&sticky, &format!("a=b; {pair}; c=d"), all), Some(1));
        assert_eq!(find(&sticky, pair, [true, false, true]), None, "it is not well");
        for wrong in ["EG_SESSION=", "EG_SESSION=zz", &pair.replace("=07", "=08"), &pair[..pair.len() - 2]] {
            assert_eq!(find(&sticky, wrong, all), None, "{wrong}");
        }
    }

    #[test]
    fn macs_are_those_of_the_standard() {
        // RFC 4231, test case 2.
        let mac = hmac(b"Jefe", "what do ya want for nothing?").finalize().into_bytes();
        assert_eq!(mac[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    }

    #[test]
    fn the_application_says_when_its_session_begins() {
        let sticky = build(json!({"mode": "ApplicationBased", "appCookieName": "JSESSIONID", "lbCookieName": "lb"}));
        let mut answer = Headers::new();
        answer.append("Set-Cookie", b"OTHER=JSESSIONID");
        sticky.mark(&mut answer, URLS[0], 1, Duration::ZERO);
        assert_eq!(answer.len(), 1);
        answer.append("Set-Cookie", b"JSESSIONID=1; Path=/");
        sticky.mark(&mut answer, URLS[0], 1, Duration::ZERO);
        assert!(answer.matching("Set-Cookie").last().unwrap().starts_with(b"lb=0100"));
    }

    #[test]
    fn values_of_the_applications_cookie_spread_and_stay() {
        let sticky = build(json!({"mode": "CookieConsistentHash", "appCookieName": "id"}));
        let mut counts = [0; 3];
        for id in 0..300 {
            let cookie = format!("id={id}");
            let server = find(&sticky, &cookie, [true; 3]).unwrap();
            counts[server] += 1;
            assert_eq!(find(&sticky, &cookie, [true; 3]), Some(server));
            let mut well = [true; 3];
            well[server] = false;
            assert!(find(&sticky, &cookie, well).is_some_and(|other| other != server));
        }
        assert!(counts.iter().all(|count| *count > 40), "{counts:?}");
        assert_eq!(find(&sticky, "other=1", [true; 3]), None);
    }

    #[test]
    fn no_server_has_more_than_its_share_of_partitions() {
        for count in [1, 2, 3, 7, 100, 1000, 1500] {
            let urls: Vec<String> = (0..count).map(|number| format!("http://server-{number}")).collect();
            let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
            let owners = partitions(&urls).unwrap();
            let mut loads = vec![0; count];
            owners.iter().for_each(|owner| loads[*owner as usize] += 1);
            let most = (1024 / count * 5).div_ceil(4).max(1024usize.div_ceil(count));
            assert!(owners.len() == 1024 && loads.iter().all(|load| *load <= most), "{count}");
        }
        assert_eq!(partitions(&["http://a", "http://a"]).unwrap().iter().max(), Some(&0));
        assert!(partitions(&[]).is_none());
    }
}
