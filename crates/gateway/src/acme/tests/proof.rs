//! How an authority looks whether a name is who asks. Written apart from the code under test.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::data::tests::{body, read_all, status};

/// Thumbprint of a key. Source: RFC 7638, 3.
pub(super) fn thumbprint(jwk: &Value) -> String {
    let text = |key: &str| jwk[key].as_str().expect("a key of P-256 has it").to_owned();
    let json = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, text("x"), text("y"));
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(json))
}

/// Source: RFC 8555, 8.3.
pub(super) fn http01(port: u16, domain: &str, token: &str, proof: &str) -> Result<(), String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    let path = format!("/.well-known/acme-challenge/{token}");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {domain}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let answer = read_all(&mut stream);
    match (status(&answer), body(&answer)) {
        (200, body) if body == proof => Ok(()),
        other => Err(format!("the answer was {other:?}")),
    }
}

/// Source: RFC 8737, 3.
pub(super) fn tls_alpn01(port: u16, domain: &str, proof: &str) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let digest = Sha256::digest(proof).to_vec();
    let verifier = Arc::new(Verifier { domain: domain.to_owned(), digest });
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let name = ServerName::try_from(domain.to_owned()).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream);
    let mut rest = Vec::new();
    // The server says that nothing follows, and closes.
    stream.read_to_end(&mut rest).map_err(|error| error.to_string())?;
    match (stream.conn.alpn_protocol(), rest.is_empty()) {
        (Some(b"acme-tls/1"), true) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

#[derive(Debug)]
struct Verifier {
    domain: String,
    digest: Vec<u8>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|error| Error::General(error.to_string()))?;
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        let extension = leaf.extensions().iter().find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
        let digest = extension.and_then(|extension| extension.value.get(2..));
        let named = format!("{:?}", names.value.general_names);
        if digest == Some(&self.digest) && named == format!("[DNSName({:?})]", self.domain) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General(format!("it shows {digest:?} for {named}")))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
