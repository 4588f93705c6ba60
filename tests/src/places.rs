//! Where the programs are.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Programs of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Etcd,
    Etcdctl,
    /// An older etcdctl, as the distribution has it.
    EtcdctlOfDebian,
}

impl Peer {
    /// Name of the program in [`peers_dir`].
    pub const fn name(self) -> &'static str {
        match self {
            Peer::Etcd => "etcd",
            Peer::Etcdctl => "etcdctl",
            Peer::EtcdctlOfDebian => "etcdctl-debian",
        }
    }
}

/// Our program.
///
/// # Errors
/// When it is not built.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("TIDEGATE_BIN") {
        let path = PathBuf::from(path);
        return if path.is_file() { Ok(path) } else { bail!("TIDEGATE_BIN={} is not a file", path.display()) };
    }
    // A test runs from TARGET/PROFILE/deps, a tool from TARGET/PROFILE. Only the release profile builds the server.
    let own = env::current_exe().context("path of this program")?;
    let target = own.ancestors().find(|dir| dir.join("release").is_dir() || dir.join("debug").is_dir());
    let places = [target.map(Path::to_path_buf), cache_dir().map(|dir| dir.join("target"))];
    for place in places.iter().flatten() {
        let path = place.join("release/tidegate");
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!("tidegate is not built: run `make build`, or name the program in TIDEGATE_BIN")
}

/// A program of the reference. `None` only when tests are told to do without (`TIDEGATE_WITHOUT_PEERS=1`).
///
/// # Errors
/// When it is not there.
pub fn peer(peer: Peer) -> Result<Option<PathBuf>> {
    if env::var("TIDEGATE_WITHOUT_PEERS").is_ok_and(|value| value == "1") {
        return Ok(None);
    }
    let path = peers_dir()?.join(peer.name());
    if !path.is_file() {
        bail!(
            "{} is missing: `cargo xtask peers` builds the reference, TIDEGATE_PEERS names another directory, and \
             TIDEGATE_WITHOUT_PEERS=1 leaves out what needs it",
            path.display()
        );
    }
    Ok(Some(path))
}

/// Directory of the reference's programs.
///
/// # Errors
/// When there is neither `TIDEGATE_PEERS` nor a home.
pub fn peers_dir() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("TIDEGATE_PEERS") {
        return Ok(dir.into());
    }
    Ok(cache_dir().context("neither TIDEGATE_PEERS nor HOME is set")?.join("peers"))
}

fn cache_dir() -> Option<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(base.join("tidegate"))
}

/// A new directory for the data of servers, on a real file system: `TIDEGATE_SCRATCH`, else the temporary directory.
///
/// # Errors
/// When it cannot be made.
pub fn scratch() -> Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("tidegate-");
    let dir = match env::var_os("TIDEGATE_SCRATCH") {
        Some(base) => builder.tempdir_in(base),
        None => builder.tempdir(),
    };
    dir.context("make a directory for data")
}
