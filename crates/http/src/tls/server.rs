//! What a listener offers.

use std::{cell::Cell, collections::BTreeMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};

use super::{Identity, PROVIDER, Roots, TlsError};

/// What a [`Server`] is made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerSettings {
    /// At least one; the first is for clients that name no host, or one that nobody has a certificate for.
    pub identities: Vec<Identity>,
    /// Clients must have a certificate of one of these; `None`: they are not asked for one.
    pub client_roots: Option<Roots>,
    /// Protocols, the preferred first.
    pub alpn: Vec<Vec<u8>>,
}

/// A server's side of handshakes. Cheap to clone.
///
/// Sessions are resumed by tickets that the client keeps, under keys that change every six hours and never leave the
/// process: nothing is held for one.
#[derive(Clone)]
pub struct Server(pub(super) Arc<ServerConfig>);

/// The [`Server`] for new handshakes. Connections that were made with an earlier one stay.
#[derive(Debug)]
pub struct Handle(ArcSwap<Server>);

impl Server {
    /// # Errors
    /// No identity was given, the authorities are none that could sign, or the system has no randomness.
    pub fn new(settings: ServerSettings) -> Result<Self, TlsError> {
        let first = settings.identities.first().ok_or(rustls::Error::NoCertificatesPresented)?;
        let names = Names::new(&settings.identities, Arc::clone(&first.0));
        let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER));
        let builder = builder.with_safe_default_protocol_versions()?;
        let builder = match settings.client_roots {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.0, Arc::clone(&PROVIDER));
                let verifier = verifier.build().map_err(|error| rustls::Error::General(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(names));
        config.alpn_protocols = settings.alpn;
        config.ticketer = Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // Our order: many clients put the dearest suite first, for no reason of their own.
        config.ignore_client_order = true;
        // As Go has it: a second one costs as much as the first, and few clients use it.
        config.send_tls13_tickets = 1;
        Ok(Self(Arc::new(config)))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Handle {
    pub fn new(server: Server) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(server)))
    }

    pub fn swap(&self, server: Server) {
        self.0.store(Arc::new(server));
    }

    pub fn current(&self) -> Server {
        Server::clone(&self.0.load())
    }
}

/// Identities by the names that their certificates are for.
struct Names {
    /// Names, those with a wildcard as `*.example.com`, in lower case. Of several identities of a name (one of RSA and one of
    /// ECDSA) the first that the client can check is taken.
    by_name: BTreeMap<String, Vec<Arc<CertifiedKey>>>,
    /// In the order of the settings.
    all: Vec<Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

impl Names {
    fn new(identities: &[Identity], first: Arc<CertifiedKey>) -> Self {
        let mut by_name: BTreeMap<String, Vec<Arc<CertifiedKey>>> = BTreeMap::new();
        for identity in identities {
            // What cannot be read is no identity.
            let Some(Ok(leaf)) = identity.chain().first().map(webpki::EndEntityCert::try_from) else { continue };
            for name in leaf.valid_dns_names() {
                by_name.entry(name.to_ascii_lowercase()).or_default().push(Arc::clone(&identity.0));
            }
        }
        Self { by_name, all: identities.iter().map(|identity| Arc::clone(&identity.0)).collect(), first }
    }

    fn find(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        let name = name.trim_end_matches('.');
        self.by_name.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        })
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        ASKED.set(name.map(Box::from));
        let fits = |identity: &&Arc<CertifiedKey>| identity.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = name.and_then(|name| self.find(name)).and_then(|found| found.iter().find(fits));
        let any = || self.all.iter().find(fits).unwrap_or(&self.first);
        Some(Arc::clone(named.unwrap_or_else(any)))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_name.keys()).finish()
    }
}

thread_local! {
    /// The name that a client asked for, from within `rustls`, whose unbuffered connections do not tell it.
    static ASKED: Cell<Option<Box<str>>> = const { Cell::new(None) };
}

/// The name that the client of the pass just made has asked for, if the pass came to it. Once.
pub(super) fn take_asked() -> Option<Box<str>> {
    ASKED.take()
}
