//! Names and passwords (RFC 7617).

mod checker;
mod file;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod hash;
mod known;
mod md5;
mod records;
mod users;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::{Engine, prelude::BASE64_STANDARD};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tidegate_base::{Holder, Lease};
use tidegate_http::message::{Known as Name, RequestHead};
use tidegate_pipeline::{Deps, Extent, Following, Problems};

use checker::PASSWORD_BYTES_MAX;
use file::UserFile;
use hash::{Cost, Hash};
use known::{KNOWN_BYTES, Known};
use records::Records;
use users::{Stored, Users};

/// Who may come in.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    /// Where users are kept: `FILE`, `ETCD` (records of the store), or `LDAP`, which is not implemented.
    mode: String,
    /// File of `htpasswd`, of at most 4 MiB; `/etc/apache2/.htpasswd` unless given.
    #[serde(default)]
    user_file: String,
    /// What the records' keys begin with, below `/custom-data/`; `credentials/` unless given.
    #[serde(default)]
    etcd_prefix: String,
    /// Server of a directory. Not implemented.
    #[serde(default)]
    ldap: Option<Value>,
}

/// Checks names and passwords.
pub(super) struct Basic {
    users: Source,
    known: Mutex<Known>,
    _lease: Lease,
}

enum Source {
    File(Arc<UserFile>),
    Records(Arc<Records>, #[expect(dead_code, reason = "ends with the filter")] Following),
    /// The spec is only checked.
    Nobody,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checked {
    Good(String),
    Refused,
    /// Too many wait for their check.
    Busy,
}

impl Config {
    pub(super) fn build(self, at: &str, deps: &Deps, problems: &mut Problems) -> Option<Basic> {
        let or = |given: &str, usual: &str| if given.is_empty() { usual.to_owned() } else { given.to_owned() };
        problems.require(self.ldap.is_none(), format!("{at}.ldap"), "unimplemented");
        let users = match (self.mode.as_str(), deps.io.is_some()) {
            ("FILE" | "ETCD", false) => Source::Nobody,
            ("FILE", true) => {
                let path = or(&self.user_file, "/etc/apache2/.htpasswd");
                let file = Arc::new(UserFile::open(path.into(), &deps.budget));
                checker::follow(&file);
                Source::File(file)
            }
            ("ETCD", true) => {
                let Some(data) = &deps.custom_data else {
                    problems.add(format!("{at}.mode"), "this node has no store to follow");
                    return None;
                };
                let records = Arc::new(Records::new(&deps.budget));
                let prefix = or(&self.etcd_prefix, "credentials/");
                let following =
                    data.follow(prefix.trim_start_matches('/'), Extent::Records, Arc::<Records>::clone(&records));
                Source::Records(records, following)
            }
            ("LDAP", _) => {
                problems.add(format!("{at}.mode"), "LDAP is unimplemented");
                return None;
            }
            _ => {
                problems.add(format!("{at}.mode"), "must be FILE or ETCD");
                return None;
            }
        };
        let lease = deps.budget.try_lease(Holder::Gateway, KNOWN_BYTES);
        match (lease, Known::new()) {
            (Some(lease), Ok(known)) => Some(Basic { users, known: Mutex::new(known), _lease: lease }),
            (None, _) => {
                problems.add(at, "no memory is free for it");
                None
            }
            (_, Err(error)) => {
                problems.add(at, format!("the system has no random numbers: {error}"));
                None
            }
        }
    }
}

impl Basic {
    /// Whether the request names a user and the password that goes with the name.
    pub(super) async fn check(&self, head: &RequestHead) -> Checked {
        let Some((name, password)) = credentials(head) else { return Checked::Refused };
        let (stored, exists) = self.find(&name);
        // From here on both are treated alike: one hash is made, or looked for among the known.
        let good = if stored.hash.is_slow() {
            let digest = self.known().digest(&name, &stored.text, &password);
            if self.known().has(&digest) {
                return Checked::Good(name);
            }
            let Some(fits) = checker::check(stored, password).await else { return Checked::Busy };
            if fits && exists {
                self.known().keep(digest);
            }
            fits
        } else {
            stored.hash.fits(&password)
        };
        if good && exists { Checked::Good(name) } else { Checked::Refused }
    }

    /// The user's password, and whether there is such a user; else one that costs what another user's does. The time must not tell
    /// which names there are.
    fn find(&self, name: &str) -> (Arc<Stored>, bool) {
        let find = |users: &Users| {
            if let Some(stored) = users.find(name).filter(|stored| stored.hash != Hash::Never) {
                return (stored, true);
            }
            let drawn = users.stranger(|cost| self.known().draw(name, &format!("{cost:?}")));
            let hash = drawn.unwrap_or(Cost::Plain).stand_in();
            (Arc::new(Stored { text: String::new(), hash }), false)
        };
        match &self.users {
            Source::File(file) => file.with_users(find),
            Source::Records(records, _) => records.with_users(find),
            Source::Nobody => (Arc::new(Stored { text: String::new(), hash: Cost::Plain.stand_in() }), false),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Name and password of `Authorization: Basic`. A password may have colons (RFC 7617, 2).
fn credentials(head: &RequestHead) -> Option<(String, Vec<u8>)> {
    let digits = head.headers.get(Name::Authorization)?.strip_prefix(b"Basic ")?;
    let both = BASE64_STANDARD.decode(digits).ok()?;
    let colon = both.iter().position(|byte| *byte == b':')?;
    let (name, password) = (both.get(..colon)?, both.get(colon + 1..)?);
    let good = !name.is_empty() && password.len() <= PASSWORD_BYTES_MAX;
    good.then(|| Some((std::str::from_utf8(name).ok()?.to_owned(), password.to_vec())))?
}
