//! What connections to servers are made with.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{Identity, PROVIDER, Roots, TlsError};

/// What a [`Client`] is made of.
#[derive(Debug, Clone, Default)]
pub struct ClientSettings {
    /// Servers must have a certificate of one of these for their name; `None`: **any certificate is taken**, and whoever sits
    /// on the way can read and change everything.
    pub roots: Option<Roots>,
    /// Shown to servers that ask for a certificate.
    pub identity: Option<Identity>,
    /// Names of servers whose sessions are kept to be resumed, of each at most eight tickets. Beyond it the oldest are forgotten.
    pub sessions: usize,
}

/// A client's side of handshakes, with the sessions it can resume. Cheap to clone.
#[derive(Clone)]
pub struct Client(pub(super) Arc<ClientConfig>);

impl Client {
    /// # Errors
    /// When `rustls` does not take the authorities.
    pub fn new(settings: ClientSettings) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER));
        let builder = builder.with_safe_default_protocol_versions()?;
        let builder = match settings.roots {
            Some(roots) => builder.with_root_certificates(roots.0),
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)),
        };
        let mut config = match settings.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::new(Always(identity))),
        };
        config.resumption = match settings.sessions {
            0 => Resumption::disabled(),
            names => Resumption::in_memory_sessions(names),
        };
        Ok(Self(Arc::new(config)))
    }

    /// The same, offering these protocols (ALPN), the one it likes best first.
    pub(crate) fn offering(&self, protocols: &[&[u8]]) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Self(Arc::new(config))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Shows its certificate whichever authorities the server names: what it names is often incomplete, as Go has it.
#[derive(Debug)]
struct Always(Identity);

impl rustls::client::ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        let identity = &self.0.0;
        identity.key.choose_scheme(schemes).map(|_| Arc::clone(identity))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes any certificate, but the server must have its key.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &PROVIDER.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}
