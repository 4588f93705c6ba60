//! Hashes of passwords as `htpasswd` writes them. Pure.
//!
//! | begins with | is |
//! |---|---|
//! | `$2a$` `$2b$` `$2x$` `$2y$` | bcrypt |
//! | `$apr1$` `$1$` | MD5, a thousand times |
//! | `$5$` `$6$` | SHA-256 and SHA-512, thousands of times (crypt) |
//! | `{SHA}` `{SSHA}` | SHA-1, the second with salt |
//! | `$NAME$` `{NAME}` `!` `*` of any other kind; nothing; 13 characters of DES `crypt` | a hash that nobody can check, or a lock: never fits |
//! | anything else | the password itself |

use base64::{Engine, prelude::BASE64_STANDARD};
use sha_crypt::{Sha256Params, Sha512Params, sha256_crypt_b64, sha512_crypt_b64};
use sha1::{Digest, Sha1};

use super::md5;

const BCRYPT_BYTES: usize = 60;
const COST_MIN: u32 = 4;
/// Largest cost of bcrypt: 4 s of one core.
const COST_MAX: u32 = 16;
/// Most rounds of SHA, a second of one core, and those where none are told.
const ROUNDS_MAX: usize = 1_000_000;
const ROUNDS: usize = 5000;
const ROUNDS_MIN: usize = 1000;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Bcrypt(String),
    Md5 {
        magic: &'static str,
        salt: String,
        told: String,
    },
    Sha256 {
        rounds: usize,
        salt: String,
        told: String,
    },
    Sha512 {
        rounds: usize,
        salt: String,
        told: String,
    },
    /// With its salt, which may be empty.
    Sha1 {
        digest: Vec<u8>,
        salt: Vec<u8>,
    },
    Plain(String),
    /// Malformed, or so costly that nobody may ask for it.
    Never,
}

/// Which work a check is: hashes of one cost take as long as each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cost {
    Bcrypt(u32),
    Md5,
    Sha256(usize),
    Sha512(usize),
    Sha1,
    Plain,
}

impl Cost {
    /// A hash of this cost for names that nobody has. What it says must not count: that of `Plain` fits a password.
    pub(super) fn stand_in(self) -> Hash {
        let (salt, told) = ("........".to_owned(), ".".to_owned());
        match self {
            Cost::Bcrypt(cost) => Hash::Bcrypt(format!("$2y${cost:02}${}", ".".repeat(53))),
            Cost::Md5 => Hash::Md5 { magic: "$apr1$", salt, told },
            Cost::Sha256(rounds) => Hash::Sha256 { rounds, salt, told },
            Cost::Sha512(rounds) => Hash::Sha512 { rounds, salt, told },
            Cost::Sha1 => Hash::Sha1 { digest: vec![0; 20], salt: vec![0; 4] },
            Cost::Plain => Hash::Plain("........".to_owned()),
        }
    }
}

impl Hash {
    pub(super) fn read(text: &str) -> Self {
        Self::known(text).unwrap_or(Hash::Never)
    }

    fn known(text: &str) -> Option<Self> {
        if ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|start| text.starts_with(start)) {
            let cost: u32 = text.get(4..6)?.parse().ok()?;
            // One that cannot be checked to its end would be told from others by its time.
            let digits = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte));
            let whole = text.len() == BCRYPT_BYTES && text.get(6..7) == Some("$") && text.get(7..).is_some_and(digits);
            return (whole && (COST_MIN..=COST_MAX).contains(&cost)).then(|| Hash::Bcrypt(text.to_owned()));
        }
        for magic in ["$apr1$", "$1$"] {
            if let Some(rest) = text.strip_prefix(magic) {
                let (salt, told) = rest.split_once('$')?;
                return Some(Hash::Md5 { magic, salt: salt.to_owned(), told: told.to_owned() });
            }
        }
        if let Some(rest) = text.strip_prefix("$5$") {
            let (rounds, salt, told) = sha_parts(rest)?;
            return Some(Hash::Sha256 { rounds, salt, told });
        }
        if let Some(rest) = text.strip_prefix("$6$") {
            let (rounds, salt, told) = sha_parts(rest)?;
            return Some(Hash::Sha512 { rounds, salt, told });
        }
        if let Some(rest) = text.strip_prefix("{SHA}") {
            let digest = BASE64_STANDARD.decode(rest).ok().filter(|digest| digest.len() == 20)?;
            return Some(Hash::Sha1 { digest, salt: Vec::new() });
        }
        if let Some(rest) = text.strip_prefix("{SSHA}") {
            let mut digest = BASE64_STANDARD.decode(rest).ok().filter(|digest| digest.len() >= 20)?;
            let salt = digest.split_off(20);
            return Some(Hash::Sha1 { digest, salt });
        }
        (!is_foreign(text)).then(|| Hash::Plain(text.to_owned()))
    }

    /// What checking a password takes; `None` where nothing ever fits.
    pub(super) fn cost(&self) -> Option<Cost> {
        Some(match self {
            Hash::Bcrypt(text) => Cost::Bcrypt(text.get(4..6)?.parse().ok()?),
            Hash::Md5 { .. } => Cost::Md5,
            Hash::Sha256 { rounds, .. } => Cost::Sha256(*rounds),
            Hash::Sha512 { rounds, .. } => Cost::Sha512(*rounds),
            Hash::Sha1 { .. } => Cost::Sha1,
            Hash::Plain(_) => Cost::Plain,
            Hash::Never => return None,
        })
    }

    /// Whether checking it takes so long that no I/O thread may do it.
    pub(super) const fn is_slow(&self) -> bool {
        !matches!(self, Hash::Sha1 { .. } | Hash::Plain(_) | Hash::Never)
    }

    pub(super) fn fits(&self, password: &[u8]) -> bool {
        match self {
            Hash::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
            Hash::Md5 { magic, salt, told } => same(md5::crypt(password, magic, salt.as_bytes()).as_bytes(), told),
            Hash::Sha256 { rounds, salt, told } => Sha256Params::new(*rounds)
                .and_then(|rounds| sha256_crypt_b64(password, salt.as_bytes(), &rounds))
                .is_ok_and(|made| same(made.as_bytes(), told)),
            Hash::Sha512 { rounds, salt, told } => Sha512Params::new(*rounds)
                .and_then(|rounds| sha512_crypt_b64(password, salt.as_bytes(), &rounds))
                .is_ok_and(|made| same(made.as_bytes(), told)),
            Hash::Sha1 { digest, salt } => {
                same(&Sha1::new().chain_update(password).chain_update(salt).finalize(), digest)
            }
            Hash::Plain(text) => same(password, text),
            Hash::Never => false,
        }
    }
}

/// Whether a text looks like a hash of a kind that is not known, or like a lock. Taken as a password, it would let everybody in who
/// has read the file.
fn is_foreign(text: &str) -> bool {
    let name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let named = |open: char, close: char| {
        let kind = text.strip_prefix(open).and_then(|rest| rest.split_once(close));
        kind.is_some_and(|(kind, _)| !kind.is_empty() && name(kind))
    };
    let des = text.len() == 13 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte));
    text.is_empty() || text.starts_with(['!', '*']) || named('$', '$') || named('{', '}') || des
}

/// `[rounds=N$]salt$hash`.
fn sha_parts(text: &str) -> Option<(usize, String, String)> {
    let (rounds, rest) = match text.strip_prefix("rounds=") {
        Some(rest) => {
            let (rounds, rest) = rest.split_once('$')?;
            (rounds.parse().ok().filter(|rounds| (ROUNDS_MIN..=ROUNDS_MAX).contains(rounds))?, rest)
        }
        None => (ROUNDS, text),
    };
    let (salt, told) = rest.split_once('$')?;
    Some((rounds, salt.to_owned(), told.to_owned()))
}

/// In a time that tells nothing but the lengths.
fn same(made: &[u8], told: impl AsRef<[u8]>) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(made, told.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `htpasswd` and `openssl passwd`; the bcrypt one and those of SHA-crypt stand in their authors' tests.
    #[test]
    fn every_form_of_htpasswd_is_known() {
        for (text, password) in [
            ("$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
            ("$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "myPassword"),
            ("$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/", "password"),
            ("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "Hello world!"),
            (
                "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
                "Hello world!",
            ),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "password"),
            ("{SSHA}yI6cZwQadOA1e+/f+T+H3eCQQhRzYWx0", "password"),
            ("pass:word", "pass:word"),
            ("$ecret", "$ecret"),
            ("{a b}", "{a b}"),
            ("twelve-chars", "twelve-chars"),
        ] {
            let hash = Hash::read(text);
            assert!(hash.fits(password.as_bytes()), "{text}");
            assert!(!hash.fits(b"other") && !hash.fits(format!("{password}x").as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_malformed_or_too_costly_fits_nothing() {
        for text in [
            "$2y$17$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$2y$05$short",
            "$2y$03$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$5$rounds=1$saltstring$x",
            "$2y$xx",
            "$2y$",
            "$apr1$r31.....",
            "$5$rounds=1000001$saltstring$x",
            "$6$saltstring",
            "{SHA}W6ph5Mm5Pz8GgiULbPgz",
            "{SSHA}!",
            "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA",
            "$y$j9T$salt$hash",
            "$7$x",
            "$pbkdf2-sha256$1$x",
            "{SHA256}x",
            "{PLAIN}x",
            "!",
            "!$6$saltstring$x",
            "*",
            "*LK*",
            "",
            "rqXexS6ZhobKA",
        ] {
            assert!(!Hash::read(text).fits(text.as_bytes()), "{text}");
            assert_eq!(Hash::read(text).cost(), None);
            assert_eq!(Hash::read(text), Hash::Never, "{text}");
        }
    }

    #[test]
    fn a_stand_in_costs_what_it_stands_for() {
        for text in [
            "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$1$salt$x",
            "$5$rounds=2000$salt$x",
            "$6$salt$x",
            "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
            "plain",
        ] {
            let hash = Hash::read(text);
            let cost = hash.cost().unwrap();
            let stand_in = cost.stand_in();
            assert_eq!((stand_in.cost(), stand_in.is_slow()), (Some(cost), hash.is_slow()), "{text}");
            assert!(!stand_in.fits(b"") && !stand_in.fits(b"x"));
            // The hash is really made: text of that form is parsed to its end.
            if let Hash::Bcrypt(text) = &stand_in {
                assert_eq!(bcrypt::verify(b"x", text).ok(), Some(false));
            }
        }
    }
}
