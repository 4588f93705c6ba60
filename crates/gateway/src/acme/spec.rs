//! What users write.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tidegate_http::upstream::Endpoint;
use tidegate_pipeline::{GoDuration, METADATA, Report, decode, field, stored_form};

pub(crate) const AUTO_CERT_MANAGER: &str = "AutoCertManager";
/// Most names. Each is a certificate of its own.
pub(super) const DOMAINS_MAX: usize = 256;
/// What a name takes in memory without its certificate: the name, when it is due, why its last order failed.
const DOMAIN_BYTES: u64 = 1 << 10;
/// Longest address of a mailbox. Source: RFC 5321, 4.5.3.1.3.
const EMAIL_BYTES_MAX: usize = 254;
const URL_BYTES_MAX: usize = 1 << 10;
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const NO_DNS: &str = "unimplemented: there is no DNS-01 yet";

/// Gets certificates from an authority by ACME (RFC 8555) and renews them, for every HTTPServer with `autoCert`. There can be one.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AutoCertManagerSpec {
    /// Directory of the authority.
    #[serde(rename = "directoryURL", default = "lets_encrypt")]
    directory_url: String,
    /// Address that the authority writes to.
    email: String,
    /// A certificate is renewed this long before it expires, but not in the first half of its life.
    #[serde(default = "thirty_days")]
    renew_before: GoDuration,
    /// Whether the authority may ask any HTTPServer for a token, on port 80.
    #[serde(rename = "enableHTTP01", default = "yes")]
    enable_http01: bool,
    /// Whether the authority may ask any HTTPServer of https for a certificate with a token, on port 443.
    #[serde(rename = "enableTLSALPN01", default = "yes")]
    enable_tls_alpn01: bool,
    /// Whether tokens may be put into DNS. Has no effect yet.
    #[serde(rename = "enableDNS01", default = "yes")]
    enable_dns01: bool,
    /// The names, at most 256. Each gets a certificate of its own.
    domains: Vec<DomainSpec>,
}

/// A name that gets a certificate.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct DomainSpec {
    /// The name, in its ASCII form (`xn--...`) where it has other letters.
    name: String,
    /// Who changes its DNS records. Not supported yet.
    #[serde(default)]
    dns_provider: Option<BTreeMap<String, Value>>,
}

fn lets_encrypt() -> String {
    LETS_ENCRYPT.to_owned()
}

const fn thirty_days() -> GoDuration {
    GoDuration(Duration::from_secs(720 * 3600))
}

const fn yes() -> bool {
    true
}

/// The spec as it is kept: the default of its duration is written as the reference writes it.
pub(crate) fn stored(spec: &Value) -> Value {
    let mut stored = stored_form::<AutoCertManagerSpec>(spec, METADATA);
    if let (None, Value::Object(map)) = (field(spec, "renewBefore"), &mut stored) {
        map.insert("renewBefore".to_owned(), "720h".into());
    }
    stored
}

/// A spec that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(super) name: String,
    pub(super) directory: String,
    pub(super) email: String,
    pub(super) renew_before: Duration,
    pub(super) http01: bool,
    pub(super) tls_alpn01: bool,
    /// In lower case, each once.
    pub(super) domains: Vec<String>,
}

impl Settings {
    /// `None` when the report has problems.
    pub(crate) fn read(name: &str, spec: &Value, report: &mut Report) -> Option<Self> {
        let spec: AutoCertManagerSpec = decode(spec, "", METADATA, report)?;
        check_directory(&spec.directory_url, report);
        let problems = &mut report.problems;
        problems.require(is_mailbox(&spec.email), "email", "must be an address such as admin@example.com");
        problems.require(!spec.renew_before.0.is_zero(), "renewBefore", "must be longer than zero");
        let can = spec.enable_http01 || spec.enable_tls_alpn01;
        let why = if spec.enable_dns01 { NO_DNS } else { "one kind of challenge is needed" };
        problems.require(can, "enableHTTP01", format!("must be true, or enableTLSALPN01: {why}"));
        problems.require(!spec.domains.is_empty(), "domains", "must not be empty");
        problems.require(spec.domains.len() <= DOMAINS_MAX, "domains", format!("must not be more than {DOMAINS_MAX}"));
        let mut seen = BTreeSet::new();
        for (index, domain) in spec.domains.iter().enumerate().take(DOMAINS_MAX) {
            let at = format!("domains[{index}]");
            if let Some(why) = domain.wrong() {
                problems.add(format!("{at}.name"), why);
            } else if !seen.insert(domain.name.to_ascii_lowercase()) {
                problems.add(format!("{at}.name"), "is there twice");
            }
            problems.require(domain.dns_provider.is_none(), format!("{at}.dnsProvider"), NO_DNS);
        }
        problems.is_empty().then(|| Self {
            name: name.to_owned(),
            directory: spec.directory_url,
            email: spec.email,
            renew_before: spec.renew_before.0,
            http01: spec.enable_http01,
            tls_alpn01: spec.enable_tls_alpn01,
            domains: spec.domains.iter().map(|domain| domain.name.to_ascii_lowercase()).collect(),
        })
    }

    /// What it takes beside what the spec's own size says.
    pub(crate) fn further_bytes(&self) -> u64 {
        self.domains.len() as u64 * DOMAIN_BYTES
    }

    /// Of the object.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn has(&self, domain: &str) -> bool {
        self.domains.iter().any(|own| own == domain)
    }
}

fn check_directory(url: &str, report: &mut Report) {
    let good = url.len() <= URL_BYTES_MAX && Endpoint::parse(url).is_ok() && url.parse::<http::Uri>().is_ok();
    report.problems.require(good, "directoryURL", "must be a URL such as https://acme.example.com/directory");
    if good && !url.to_ascii_lowercase().starts_with("https://") {
        report.warn("directoryURL", "is not https: whoever is on the way decides which certificates come");
    }
}

impl DomainSpec {
    fn wrong(&self) -> Option<&'static str> {
        let label = |label: &str| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(good)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let name = self.name.as_str();
        let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        match name {
            name if name.starts_with('*') => Some("a wildcard needs DNS-01, and there is no DNS-01 yet: unimplemented"),
            name if !name.is_ascii() => Some("must be in its ASCII form, such as xn--bcher-kva.example"),
            name if name.len() > 253 || !name.contains('.') || numeric || !name.split('.').all(label) => {
                Some("must be the full name of a host, such as www.example.com")
            }
            _ => None,
        }
    }
}

/// Not whether it exists: whether it can stand in a `mailto:` URL as it is.
fn is_mailbox(email: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_graphic() && !b",?&%<>\"".contains(&byte);
    let parts = email.split_once('@');
    email.len() <= EMAIL_BYTES_MAX
        && email.bytes().all(good)
        && parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(change: Value) -> (Option<Settings>, Vec<String>) {
        let mut spec = json!({"email": "a@b.test", "domains": [{"name": "www.Example.com"}]});
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let mut report = Report::default();
        let settings = Settings::read("m", &spec, &mut report);
        assert_eq!(settings.is_none(), !report.problems.is_empty());
        let told = |problem: &tidegate_pipeline::Problem| format!("{}: {}", problem.field, problem.message);
        (settings, report.problems.iter().map(told).collect())
    }

    #[test]
    fn what_is_not_said_is_as_in_the_reference() {
        let (settings, _) = read(json!({}));
        let expected = Settings {
            name: "m".to_owned(),
            directory: LETS_ENCRYPT.to_owned(),
            email: "a@b.test".to_owned(),
            renew_before: Duration::from_secs(30 * 24 * 3600),
            http01: true,
            tls_alpn01: true,
            domains: vec!["www.example.com".to_owned()],
        };
        assert_eq!(settings, Some(expected));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |change: Value, expected: &[&str]| {
            let (_, problems) = read(change.clone());
            assert_eq!(problems.len(), expected.len(), "{change}: {problems:?}");
            for (problem, expected) in problems.iter().zip(expected) {
                assert!(problem.starts_with(expected), "{change}: {problem}");
            }
        };
        let name = |name: &str| json!({"domains": [{ "name": name }]});
        check(json!({"email": "nobody"}), &["email"]);
        check(json!({"email": "a@b\r\n"}), &["email"]);
        check(json!({"directoryURL": "ftp://a"}), &["directoryURL"]);
        check(json!({"directoryURL": "https://a b/"}), &["directoryURL"]);
        check(json!({"renewBefore": "0s"}), &["renewBefore"]);
        check(json!({"renewBefore": "3 weeks"}), &["renewBefore"]);
        check(json!({"domains": []}), &["domains"]);
        check(json!({"domains": [{"name": "a.b"}, {"name": "A.b"}]}), &["domains[1].name"]);
        let many: Vec<Value> = (0..=DOMAINS_MAX).map(|number| json!({ "name": format!("h{number}.b") })).collect();
        check(json!({ "domains": many }), &["domains: must not be more"]);
        for wrong in ["localhost", "", "a..b", "-a.b", "a_b.c", "10.0.0.1", "a.b.", "bücher.example", "*.a.b", "a/b.c"]
        {
            check(name(wrong), &["domains[0].name"]);
        }
        check(name(&format!("{}.b", "a".repeat(64))), &["domains[0].name"]);
        check(
            json!({"enableHTTP01": false, "enableTLSALPN01": false}),
            &["enableHTTP01: must be true, or enableTLSALPN01: unimplemented"],
        );
        check(
            json!({"enableHTTP01": false, "enableTLSALPN01": false, "enableDNS01": false}),
            &["enableHTTP01: must be true, or enableTLSALPN01: one kind"],
        );
        let provider = json!({"name": "cloudflare", "zone": "b.c", "apiToken": "x"});
        check(
            json!({"domains": [{"name": "a.b", "dnsProvider": provider}]}),
            &["domains[0].dnsProvider: unimplemented"],
        );
        check(
            json!({"domains": [{"name": "*.b", "dnsProvider": provider}]}),
            &["domains[0].name: a wildcard needs DNS-01", "domains[0].dnsProvider"],
        );
    }

    #[test]
    fn a_directory_without_tls_is_warned_of() {
        let mut report = Report::default();
        let spec = json!({"email": "a@b", "domains": [{"name": "a.b"}], "directoryURL": "http://127.0.0.1:14000/dir"});
        assert!(Settings::read("m", &spec, &mut report).is_some());
        assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    }
}
