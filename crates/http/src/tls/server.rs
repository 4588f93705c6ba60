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

/// The protocol of a client that only looks for the certificate of a challenge. Source: RFC 8737, 6.2.
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// Finds a certificate by the name that a client asks for, in lower case. It is called within handshakes, on I/O threads, and so
/// waits for nothing. Two are equal when they are clones of one.
#[derive(Clone)]
pub struct Lookup(Arc<Find>);

type Find = dyn Fn(&str) -> Option<Identity> + Send + Sync;

/// What a [`Server`] is made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerSettings {
    /// The first is for clients that name no host, or one that nobody has a certificate for. None is needed beside `found`: such
    /// clients are then refused.
    pub identities: Vec<Identity>,
    /// Asked for names that no identity is for.
    pub found: Option<Lookup>,
    /// Asked where a client offers [`ACME_TLS`] and nothing else; what it does not find is refused. Adds that protocol to `alpn`.
    pub challenges: Option<Lookup>,
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
        if settings.identities.is_empty() && settings.found.is_none() {
            return Err(rustls::Error::NoCertificatesPresented.into());
        }
        let names = Names::new(&settings);
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
        config.alpn_protocols.extend(settings.challenges.map(|_| ACME_TLS.to_vec()));
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

impl Lookup {
    pub fn new(find: impl Fn(&str) -> Option<Identity> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    fn find(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        (self.0)(name.trim_end_matches('.')).map(|identity| identity.0)
    }
}

impl PartialEq for Lookup {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").finish_non_exhaustive()
    }
}

/// Identities by the names that their certificates are for.
struct Names {
    /// Names, those with a wildcard as `*.example.com`, in lower case. Of several identities of a name (one of RSA and one of
    /// ECDSA) the first that the client can check is taken.
    by_name: BTreeMap<String, Vec<Arc<CertifiedKey>>>,
    /// In the order of the settings.
    all: Vec<Arc<CertifiedKey>>,
    found: Option<Lookup>,
    challenges: Option<Lookup>,
}

impl Names {
    fn new(settings: &ServerSettings) -> Self {
        let ServerSettings { identities, found, challenges, .. } = settings;
        let mut by_name: BTreeMap<String, Vec<Arc<CertifiedKey>>> = BTreeMap::new();
        for identity in identities {
            // What cannot be read is no identity.
            let Some(Ok(leaf)) = identity.chain().first().map(webpki::EndEntityCert::try_from) else { continue };
            for name in leaf.valid_dns_names() {
                by_name.entry(name.to_ascii_lowercase()).or_default().push(Arc::clone(&identity.0));
            }
        }
        let all = identities.iter().map(|identity| Arc::clone(&identity.0)).collect();
        Self { by_name, all, found: found.clone(), challenges: challenges.clone() }
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
        if let Some(challenges) = &self.challenges
            && hello.alpn().is_some_and(|mut offered| offered.next() == Some(ACME_TLS) && offered.next().is_none())
        {
            return challenges.find(name?);
        }
        let fits = |identity: &&Arc<CertifiedKey>| identity.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = name.and_then(|name| self.find(name)).and_then(|named| named.iter().find(fits)).cloned();
        let found = || self.found.as_ref()?.find(name?).filter(|found| fits(&found));
        let any = || self.all.iter().find(fits).or(self.all.first()).cloned();
        named.or_else(found).or_else(any)
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
