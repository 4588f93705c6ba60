//! The certificate that answers a challenge of TLS-ALPN-01 (RFC 8737).

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};

use super::rows;

/// The text of the row: a certificate that its own key has signed, for `domain`, with `digest`, the SHA-256 of the key
/// authorization, in it.
///
/// # Errors
/// A name that no certificate can have; the system has no randomness.
pub(super) fn certificate(domain: &str, digest: &[u8; 32]) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new([domain.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(rows::text(&key.serialize_pem(), &certificate.pem()))
}

/// A new key in PEM, and the request for a certificate of `domain` in DER.
///
/// # Errors
/// As [`certificate`].
pub(super) fn request(domain: &str) -> Result<(String, Vec<u8>), rcgen::Error> {
    let mut params = CertificateParams::new([domain.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate()?;
    let request = params.serialize_request(&key)?;
    Ok((key.serialize_pem(), request.der().to_vec()))
}

#[cfg(test)]
mod tests {
    use x509_parser::{certificate::X509Certificate, prelude::FromDer};

    use super::*;

    #[test]
    fn the_certificate_has_its_name_and_the_digest_and_says_that_they_matter() {
        let digest = [7; 32];
        let text = certificate("a.test", &digest).unwrap();
        let read = rows::challenge("a.test", text.as_bytes()).unwrap();
        assert!(rows::challenge("b.test", text.as_bytes()).is_err());
        let (_, certificate) = X509Certificate::from_der(read.identity.leaf()).unwrap();
        let extension = certificate.extensions().iter().find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
        let extension = extension.unwrap();
        assert!(extension.critical);
        // An OCTET STRING of 32 bytes (RFC 8737, 3).
        assert_eq!(extension.value, [&[4, 32][..], &digest].concat());
    }
}
