//! What a request says of its signature.

use std::{collections::BTreeMap, time::Duration};

use tidegate_http::message::{Known, RequestHead};

use super::{Literal, day};
use crate::text::form_pairs;

pub(super) struct Given {
    /// Name of the key.
    pub(super) key: String,
    /// What stands between the day and the suffix.
    pub(super) scopes: Vec<String>,
    /// `yyyymmddThhmmssZ`, not checked yet.
    pub(super) time: String,
    pub(super) signed_headers: String,
    pub(super) signature: String,
    /// How long it counts; only in a query, which has it always.
    pub(super) expires: Option<Duration>,
}

impl Given {
    /// `None` where something is missing or malformed.
    pub(super) fn read(head: &RequestHead, literal: &Literal) -> Option<Self> {
        let header = head.headers.text(Known::Authorization).unwrap_or_default();
        if header.is_empty() { Self::of_query(head.query(), literal) } else { Self::of_header(header, head, literal) }
    }

    fn of_header(header: &str, head: &RequestHead, literal: &Literal) -> Option<Self> {
        let (algorithm, rest) = header.split_once(' ')?;
        if algorithm != literal.algorithm_value {
            return None;
        }
        let mut parts = rest.split(',').map(str::trim);
        let credential = parts.next()?.strip_prefix("Credential=")?;
        let signed_headers = parts.next()?.strip_prefix("SignedHeaders=")?.to_owned();
        let signature = parts.next()?.strip_prefix("Signature=")?.to_owned();
        let time = std::str::from_utf8(head.headers.find(&literal.date)?).ok()?.to_owned();
        let (key, scopes) = credential_of(credential, &time, literal)?;
        parts.next().is_none().then_some(Self { key, scopes, time, signed_headers, signature, expires: None })
    }

    fn of_query(query: &[u8], literal: &Literal) -> Option<Self> {
        let mut values = BTreeMap::new();
        for (name, value) in form_pairs(query) {
            // The first of a name counts.
            values.entry(String::from_utf8(name).ok()?).or_insert(value);
        }
        let mut take = |name: &String| values.remove(name).and_then(|value| String::from_utf8(value).ok());
        if take(&literal.algorithm_name)? != literal.algorithm_value {
            return None;
        }
        let time = take(&literal.date)?;
        let (key, scopes) = credential_of(&take(&literal.credential)?, &time, literal)?;
        let expires = Some(Duration::from_secs(take(&literal.expires)?.parse().ok()?));
        let (signed_headers, signature) = (take(&literal.signed_headers)?, take(&literal.signature)?);
        Some(Self { key, scopes, time, signed_headers, signature, expires })
    }
}

/// `KEY/yyyymmdd/scope…/suffix`, whose day must be that of the time.
fn credential_of(credential: &str, time: &str, literal: &Literal) -> Option<(String, Vec<String>)> {
    let parts: Vec<&str> = credential.split('/').collect();
    let [key, given, scopes @ .., suffix] = parts.as_slice() else { return None };
    let good = *given == day(time) && *suffix == literal.scope_suffix;
    good.then(|| ((*key).to_owned(), scopes.iter().map(|scope| (*scope).to_owned()).collect()))
}
