//! Signatures of requests by a shared secret, in the manner of AWS's version 4, for who makes them and who checks them.
//!
//! ```text
//!   canonical request ─ SHA-256 ─► string to sign ──┐
//!   secret ─ HMAC: date ─ scopes… ─ suffix ─► key ──┴─ HMAC-SHA256 ─► signature, in a header or in the query
//! ```
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>, with the names of headers and
//! the algorithm's own name open. Time is an input. A difference from AWS, which Easegress has and clients rely on: the query is encoded as a form
//! (a blank is `+`).

mod canonical;
mod config;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod given;
#[cfg(test)]
mod tests;

use std::time::Duration;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use tidegate_base::Moment;
use tidegate_http::message::{Known, RequestHead};

use crate::text::{hex, unhex};
use canonical::Canonical;
pub(crate) use config::Config;
use config::Literal;
use given::Given;

/// Stands for the body's hash where the body is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// Headers that are never signed: the one has the signature, the other is changed on the way. Nor are those that belong to a
/// connection or to a body's framing: they do not go on as they are.
const NEVER_SIGNED: [&str; 2] = ["Authorization", "User-Agent"];
/// Characters of a day, and of a time.
const DAY: usize = 8;
const TIME: usize = 16;

/// Checks signatures, or makes them.
pub(crate) struct Signer {
    literal: Literal,
    config: Config,
}

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Malformed,
    UnknownKey,
    Expired,
    Wrong,
}

impl Signer {
    /// Whether the body's bytes are needed.
    pub(crate) const fn needs_body(&self) -> bool {
        !self.config.exclude_body
    }

    /// Checks the signature of a request. `body` is the whole body, or `None` where it is streamed or not signed; `now` the time
    /// since 1970.
    ///
    /// # Errors
    /// [`Refused`]
    pub(crate) fn verify(&self, head: &RequestHead, body: Option<&[u8]>, now: Duration) -> Result<(), Refused> {
        let given = Given::read(head, &self.literal).ok_or(Refused::Malformed)?;
        let at = wall_of(&given.time).ok_or(Refused::Malformed)?;
        let (age, early) = (now.saturating_sub(at), at.saturating_sub(now));
        let ttl = self.config.ttl();
        if !ttl.is_zero() && (age > ttl || early > ttl) {
            return Err(Refused::Expired);
        }
        if given.expires.is_some_and(|expires| age > expires) {
            return Err(Refused::Expired);
        }
        let secret = self.config.access_keys.get(&given.key).ok_or(Refused::UnknownKey)?;
        let names: Vec<&str> = given.signed_headers.split(';').collect();
        let canonical = Canonical {
            literal: &self.literal,
            head,
            names: &names,
            presigned: given.expires.is_some(),
            body_hash: &self.body_hash(body),
        };
        let scopes: Vec<&str> = given.scopes.iter().map(String::as_str).collect();
        let signature = unhex(given.signature.as_bytes()).ok_or(Refused::Wrong)?;
        let mac = self.mac(secret, &given.time, &scopes, &canonical.text());
        mac.verify_slice(&signature).map_err(|_| Refused::Wrong)
    }

    /// Signs a request in its headers. `body` and `now` as in [`Signer::verify`].
    pub(crate) fn sign(&self, head: &mut RequestHead, body: Option<&[u8]>, now: Duration) {
        let moment = Moment::new(now);
        let time = moment.date_time().replace(['-', ':'], "") + "Z";
        // What the client told of its body is not vouched for.
        head.headers.remove(&self.literal.content_sha256);
        let body_hash = self.body_hash(body);
        if body_hash == UNSIGNED {
            head.headers.set(&self.literal.content_sha256, body_hash.as_bytes());
        }
        head.headers.set(&self.literal.date, time.as_bytes());
        let mut names = vec!["host".to_owned()];
        for (name, _) in head.headers.iter() {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            let known = Known::of(name.as_bytes());
            if known.is_hop_by_hop() || matches!(known, Known::ContentLength | Known::Expect) {
                continue;
            }
            let ignored = NEVER_SIGNED.iter().copied().chain(self.config.ignored_headers.iter().map(String::as_str));
            if !ignored.into_iter().any(|ignored| ignored.eq_ignore_ascii_case(&name)) {
                names.push(name);
            }
        }
        names.sort_unstable();
        names.dedup();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let canonical =
            Canonical { literal: &self.literal, head, names: &names, presigned: false, body_hash: &body_hash };
        let scopes: Vec<&str> = self.config.scopes.iter().map(String::as_str).collect();
        let mac = self.mac(&self.config.access_key_secret, &time, &scopes, &canonical.text());
        let signature = hex(&mac.finalize().into_bytes());
        let Literal { algorithm_value, .. } = &self.literal;
        let (key, scope, names) = (&self.config.access_key_id, self.scope(&time, &scopes), names.join(";"));
        let value = format!("{algorithm_value} Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}");
        head.headers.set("Authorization", value.as_bytes());
    }

    fn body_hash(&self, body: Option<&[u8]>) -> String {
        match body {
            Some(body) if !self.config.exclude_body => hex(&Sha256::digest(body)),
            _ => UNSIGNED.to_owned(),
        }
    }

    fn scope(&self, time: &str, scopes: &[&str]) -> String {
        let parts = [day(time)].into_iter().chain(scopes.iter().copied()).chain([self.literal.scope_suffix.as_str()]);
        parts.collect::<Vec<_>>().join("/")
    }

    /// The MAC of the string to sign.
    fn mac(&self, secret: &str, time: &str, scopes: &[&str], canonical: &str) -> Hmac<Sha256> {
        let first = format!("{}{secret}", self.literal.signing_key_prefix).into_bytes();
        let parts = [day(time)].into_iter().chain(scopes.iter().copied()).chain([self.literal.scope_suffix.as_str()]);
        let key = parts.fold(first, |key, part| hmac(&key, part.as_bytes()).finalize().into_bytes().to_vec());
        let (algorithm, scope) = (&self.literal.algorithm_value, self.scope(time, scopes));
        let text = format!("{algorithm}\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        hmac(&key, text.as_bytes())
    }
}

fn hmac(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is good").chain_update(text)
}

fn day(time: &str) -> &str {
    time.get(..DAY).unwrap_or_default()
}

/// Time since 1970 of `yyyymmddThhmmssZ`.
fn wall_of(time: &str) -> Option<Duration> {
    let good = |(index, byte): (usize, u8)| match index {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    if time.len() != TIME || !time.bytes().enumerate().all(good) {
        return None;
    }
    let part = |from: usize, to: usize| time.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(9, 11)?, part(11, 13)?, part(13, 15)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years begin with March here, so that the leap day ends one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let wall = Duration::from_secs(days * 86_400 + hour * 3600 + minute * 60 + second);
    // A day that its month does not have comes out as another.
    (Moment::new(wall).day == part(6, 8)?).then_some(wall)
}
