//! Certificates for tests, made anew by each.

use std::time::{Duration, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SignatureAlgorithm,
};

pub use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

/// Somebody who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate in PEM.
    pub cert: String,
}

impl Authority {
    #[expect(clippy::new_without_default, reason = "each one differs")]
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no name is wrong");
        // Else it has the name of those it signs, which OpenSSL takes for certificates that have signed themselves.
        params.distinguished_name.push(DnType::CommonName, "Authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("there is randomness");
        let cert = params.self_signed(&key).expect("a key signs").pem();
        Self { issuer: Issuer::new(params, key), cert }
    }

    /// For these hosts: names, also with a wildcard, or addresses.
    pub fn pair(&self, hosts: &[&str]) -> Pair {
        self.pair_of(&PKCS_ECDSA_P256_SHA256, hosts)
    }

    /// The certificate that is asked for, in PEM, good from when until when, since 1970; `None` for what is no request.
    pub fn sign(&self, request: &[u8], from: Duration, until: Duration) -> Option<String> {
        let mut request = CertificateSigningRequestParams::from_der(&request.to_vec().into()).ok()?;
        request.params.not_before = (UNIX_EPOCH + from).into();
        request.params.not_after = (UNIX_EPOCH + until).into();
        Some(request.signed_by(&self.issuer).ok()?.pem())
    }

    /// As [`Authority::pair`], with a key of this kind.
    pub fn pair_of(&self, kind: &'static SignatureAlgorithm, hosts: &[&str]) -> Pair {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let params = CertificateParams::new(hosts).expect("the hosts of a test are good");
        let key = KeyPair::generate_for(kind).expect("there is randomness");
        let cert = params.signed_by(&key, &self.issuer).expect("a key signs").pem();
        Pair { cert, key: key.serialize_pem() }
    }
}

/// An example of a manual with real certificates in the places of `CERTIFICATE`, `KEY` and `AUTHORITY`.
pub fn fill(example: &str) -> String {
    let authority = Authority::new();
    let pair = authority.pair(&["example.test"]);
    let filled = example.replace(": CERTIFICATE", &format!(": {}", base64(&pair.cert)));
    let filled = filled.replace(": KEY", &format!(": {}", base64(&pair.key)));
    filled.replace(": AUTHORITY", &format!(": {}", base64(&authority.cert)))
}

/// As specs have it: in base64.
pub fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let piece = |part: &[u8]| {
        let bits = part.iter().fold(0usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - part.len()));
        let digit = |at: usize| if at <= part.len() { char::from(DIGITS[bits >> (18 - 6 * at) & 63]) } else { '=' };
        (0..4).map(digit).collect::<String>()
    };
    text.as_bytes().chunks(3).map(piece).collect()
}
