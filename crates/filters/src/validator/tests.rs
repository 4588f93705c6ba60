use std::time::Duration;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{self as sig, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::json;
use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};
use tidegate_http::message::RequestHead;

use super::*;
use crate::text::hex;

fn budget() -> Budget {
    Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap())
}

fn build(config: Value) -> Result<Validator, Problems> {
    Validator::new(serde_json::from_value(config).unwrap(), &Deps::new(budget(), 1))
}

fn fields(config: Value) -> Vec<String> {
    let problems = build(config).err().unwrap();
    problems.iter().map(|problem| problem.field.clone()).collect()
}

/// Signs in the way that a token names.
enum Maker {
    Hmac(Vec<u8>),
    Rsa(RsaKeyPair, &'static sig::RsaSignatureEncoding),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Maker {
    fn sign(&self, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Maker::Hmac(key) => {
                aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key), text)
                    .as_ref()
                    .to_vec()
            }
            Maker::Rsa(pair, encoding) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, text, &mut out).unwrap();
                out
            }
            Maker::Ec(pair) => pair.sign(&random, text).unwrap().as_ref().to_vec(),
            Maker::Ed(pair) => pair.sign(text).as_ref().to_vec(),
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(self.sign(text.as_bytes())))
    }
}

fn pem(der: &[u8]) -> String {
    hex(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(der)).as_bytes())
}

fn spki(key: &impl AsDer<PublicKeyX509Der<'static>>) -> String {
    pem(key.as_der().unwrap().as_ref())
}

fn jwt(config: Value) -> Jwt {
    let mut problems = Problems::default();
    let jwt = serde_json::from_value::<jwt::Config>(config).unwrap().build("jwt", &mut problems);
    jwt.unwrap_or_else(|| panic!("{problems}"))
}

fn bearer(token: &str) -> RequestHead {
    let mut head = RequestHead::default();
    head.headers.append("Authorization", format!("Bearer {token}").as_bytes());
    head
}

const NOW: Duration = Duration::from_secs(1_800_000_000);

/// Source: RFC 7515, appendix A.1.
#[test]
fn the_example_of_the_standard_counts_until_it_expires() {
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
                 cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let secret = hex(&BASE64_URL_SAFE_NO_PAD.decode(secret).unwrap());
    let checks = jwt(json!({"algorithm": "HS256", "secret": secret}));
    assert!(checks.fits(&bearer(token), Duration::from_secs(1_300_819_379)));
    assert!(!checks.fits(&bearer(token), Duration::from_secs(1_300_819_380)), "no leeway");
    let changed = token.replace("eyJpc3Mi", "eyJpc3Nj");
    assert!(!checks.fits(&bearer(&changed), Duration::from_secs(1_300_819_379)));
    let other = jwt(json!({"algorithm": "HS512", "secret": secret}));
    assert!(!other.fits(&bearer(token), Duration::from_secs(1)), "a token does not choose how it is checked");
}

#[test]
fn every_algorithm_counts_and_no_other_key_does() {
    let random = |algorithm| EcdsaKeyPair::generate(algorithm).unwrap();
    let rsa = || RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let [p256, p384, p521] = [
        &sig::ECDSA_P256_SHA256_FIXED_SIGNING,
        &sig::ECDSA_P384_SHA384_FIXED_SIGNING,
        &sig::ECDSA_P521_SHA512_FIXED_SIGNING,
    ]
    .map(random);
    let ed = Ed25519KeyPair::generate().unwrap();
    let rsas = [rsa(), rsa(), rsa()];
    let ec = |pair: &EcdsaKeyPair| spki(pair.public_key());
    let rsa_key = |pair: &RsaKeyPair| spki(pair.public_key());
    let keys = [
        ("ES256", ec(&p256)),
        ("ES384", ec(&p384)),
        ("ES512", ec(&p521)),
        ("EdDSA", spki(ed.public_key())),
        ("RS256", rsa_key(&rsas[0])),
        ("RS384", rsa_key(&rsas[1])),
        ("RS512", rsa_key(&rsas[2])),
    ];
    let [first, second, third] = rsas;
    let makers = [
        Maker::Ec(p256),
        Maker::Ec(p384),
        Maker::Ec(p521),
        Maker::Ed(ed),
        Maker::Rsa(first, &sig::RSA_PKCS1_SHA256),
        Maker::Rsa(second, &sig::RSA_PKCS1_SHA384),
        Maker::Rsa(third, &sig::RSA_PKCS1_SHA512),
    ];
    for (index, (algorithm, key)) in keys.iter().enumerate() {
        let checks = jwt(json!({"algorithm": algorithm, "publicKey": key}));
        for (other, maker) in makers.iter().enumerate() {
            let token = maker.token(&json!({ "alg": algorithm }), &json!({}));
            assert_eq!(checks.fits(&bearer(&token), NOW), index == other, "{algorithm} by key {other}");
        }
        // The public key is known to all: it must not count as a secret.
        let forged = Maker::Hmac(key.clone().into_bytes()).token(&json!({"alg": "HS256"}), &json!({}));
        assert!(!checks.fits(&bearer(&forged), NOW), "{algorithm}");
    }
    for (algorithm, key) in
        [("ES256", &keys[1].1), ("RS256", &keys[0].1), ("EdDSA", &keys[4].1), ("ES256", &"00".to_owned())]
    {
        let config = json!({"jwt": {"algorithm": algorithm, "publicKey": key}});
        assert_eq!(fields(config), ["jwt.publicKey"], "{algorithm} with another's key");
    }
}

#[test]
fn claims_of_time_and_the_place_of_the_token_count() {
    let maker = Maker::Hmac(b"secret".to_vec());
    let checks = jwt(json!({"algorithm": "HS256", "secret": hex(b"secret"), "cookieName": "session"}));
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let now = NOW.as_secs();
    for (claims, good) in [
        (json!({}), true),
        (json!({"exp": now + 1, "nbf": now, "iat": now}), true),
        (json!({"exp": now}), false),
        (json!({"nbf": now + 1}), false),
        (json!({"iat": now + 1}), false),
        (json!({"exp": (now + 1).to_string()}), false),
        (json!({"exp": 0}), false),
        (json!([]), false),
    ] {
        assert_eq!(checks.fits(&bearer(&maker.token(&header, &claims)), NOW), good, "{claims}");
    }
    let good = maker.token(&header, &json!({}));
    for (header, fits) in [
        (json!({"alg": "HS256", "crit": ["x"]}), false),
        (json!({"alg": "none"}), false),
        (json!({"alg": "hs256"}), false),
        (json!({}), false),
        (header, true),
    ] {
        assert_eq!(checks.fits(&bearer(&maker.token(&header, &json!({}))), NOW), fits, "{header}");
    }
    for token in ["", ".", "..", "a.b.c", &format!("{good}."), &format!("x.{good}"), &good[..good.len() - 4]] {
        assert!(!checks.fits(&bearer(token), NOW), "{token}");
    }
    for (name, value, fits) in [
        ("Cookie", format!("a=1; session={good}"), true),
        ("Cookie", "session=x".to_owned(), false),
        ("Authorization", format!("bearer {good}"), false),
        ("Authorization", good.clone(), false),
    ] {
        let mut head = RequestHead::default();
        head.headers.append(name, value.as_bytes());
        assert_eq!(checks.fits(&head, NOW), fits, "{name}: {value}");
    }
    let mut both = bearer(&good);
    both.headers.append("Cookie", b"session=");
    assert!(checks.fits(&both, NOW), "an empty cookie leaves the header");
    both.headers.set("Cookie", b"session=x");
    assert!(!checks.fits(&both, NOW), "the cookie comes first");
}

#[test]
fn every_problem_is_named() {
    assert_eq!(fields(json!({})), [""]);
    assert_eq!(
        fields(json!({
            "headers": {"A": {}, "B": {"regexp": "("}}, "jwt": {"algorithm": "none"}, "signature": {},
            "oauth2": {"tokenIntrospect": {}}, "basicAuth": {"mode": "LDAP", "ldap": {}},
        })),
        [
            "oauth2",
            "headers.A",
            "headers.B.regexp",
            "jwt.algorithm",
            "signature.accessKeys",
            "basicAuth.ldap",
            "basicAuth.mode",
        ]
    );
    for (config, field) in [
        (json!({"jwt": {"algorithm": "HS256", "publicKey": "00"}}), "jwt.secret"),
        (json!({"jwt": {"algorithm": "HS256", "secret": "0"}}), "jwt.secret"),
        (json!({"jwt": {"algorithm": "RS256", "secret": "00"}}), "jwt.publicKey"),
        (json!({"basicAuth": {"mode": "file"}}), "basicAuth.mode"),
    ] {
        assert_eq!(fields(config.clone()), [field], "{config}");
    }
}

#[test]
fn one_value_of_a_header_must_fit() {
    let checks =
        build(json!({"headers": {"x-a": {"values": ["1", "2"], "regexp": "^[x-z]+$"}, "X-B": {"values": [""]}}}));
    let checks = checks.unwrap();
    let fits = |headers: &[(&str, &str)]| {
        let mut head = RequestHead::default();
        for (name, value) in headers {
            head.headers.append(name, value.as_bytes());
        }
        checks.headers.iter().all(|(name, rule)| rule.fits(&head.headers, name))
    };
    for (values, good) in [(&["2"][..], true), (&["3", "xyz"], true), (&["3"], false), (&["xyz1"], false), (&[], false)]
    {
        let headers: Vec<(&str, &str)> = values.iter().map(|value| ("X-A", *value)).chain([("X-B", "")]).collect();
        assert_eq!(fits(&headers), good, "{values:?}");
    }
    assert!(!fits(&[("X-A", "1")]), "both headers are needed");
}

#[test]
fn a_spec_that_is_only_checked_reads_no_users_and_gives_everything_back() {
    let budget = budget();
    let config = json!({"basicAuth": {"mode": "FILE", "userFile": "/nowhere"}});
    let filter = Validator::new(serde_json::from_value(config).unwrap(), &Deps::new(budget.clone(), 1));
    assert!(budget.used(Holder::Gateway) > 0);
    drop(filter);
    assert_eq!(budget.used(Holder::Gateway), 0);
}
