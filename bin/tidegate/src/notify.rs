//! Tells the service manager that we serve, where one waits for it (`Type=notify`).

use std::{
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Once, when requests are served. Source: systemd, `sd_notify(3)`.
pub(crate) fn ready() {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = tell(&socket, b"READY=1")
    {
        tracing::warn!(%error, "the service manager cannot be told that we serve");
    }
}

/// A name that begins with `@` is no file but stands in the abstract namespace.
fn tell(socket: &OsString, word: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(word, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_arrives_at_files_and_abstract_names() {
        let name = format!("tidegate-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (bound, told) in [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}").into()),
        ] {
            tell(&told, b"READY=1").unwrap();
            let mut word = [0; 20];
            let read = bound.recv(&mut word).unwrap();
            assert_eq!(&word[..read], b"READY=1");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(tell(&path.into(), b"READY=1").is_err());
    }
}
