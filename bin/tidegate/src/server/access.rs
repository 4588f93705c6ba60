//! Who may use the admin API, and over what.

use std::{fs, io, path::Path, sync::Arc};

use tidegate_gateway::admin::Credentials;
use tidegate_http::tls::{self, Identity, Roots, ServerSettings};

use super::{ServerError, config::ServerConfig};

/// Largest file of a certificate, a key or a token.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the settings say about it.
pub(super) fn credentials(config: &ServerConfig) -> Result<Credentials, ServerError> {
    let token = match config.text("api-token-file") {
        "" => None,
        path => {
            let text = read("api-token-file", path)?;
            let text = String::from_utf8(text).map_err(|_| wrong("api-token-file", "is no text"))?;
            Some(text.trim().to_owned())
        }
    };
    let certificates = !config.text("client-ca-file").is_empty();
    Ok(Credentials { token, users: config.map("basic-auth").clone(), certificates, origins: Vec::new() })
}

/// What the listener offers; `None` without TLS.
pub(super) fn offer(config: &ServerConfig) -> Result<Option<Arc<tls::Handle>>, ServerError> {
    if !config.is("tls") {
        return Ok(None);
    }
    let [cert, key] = ["cert-file", "key-file"].map(|name| read(name, config.text(name)));
    let identity = Identity::from_pem(&cert?, &key?).map_err(|error| wrong("cert-file, key-file", error))?;
    let client_roots = match config.text("client-ca-file") {
        "" => None,
        path => {
            let pem = read("client-ca-file", path)?;
            Some(Roots::from_pem(&pem).map_err(|error| wrong("client-ca-file", error))?)
        }
    };
    let (identities, alpn) = (vec![identity], vec![b"http/1.1".to_vec()]);
    let settings = ServerSettings { identities, client_roots, alpn, ..ServerSettings::default() };
    let server = tls::Server::new(settings).map_err(|error| wrong("tls", error))?;
    Ok(Some(tls::Handle::new(server)))
}

fn wrong(setting: &str, why: impl ToString) -> ServerError {
    ServerError::Setting { setting: setting.to_owned(), why: why.to_string() }
}

fn read(setting: &str, path: &str) -> Result<Vec<u8>, ServerError> {
    let within = |path: &Path| match fs::metadata(path)?.len() {
        ..=FILE_BYTES_MAX => fs::read(path),
        _ => Err(io::Error::other("the file is too large")),
    };
    within(Path::new(path)).map_err(|error| wrong(setting, format!("{path}: {}", crate::logging::go_text(&error))))
}
