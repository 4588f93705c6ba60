//! `tidegate store`: the store alone, started as etcd is.

mod config;
mod flags;

use std::process::ExitCode;

use tidegate_base::Profile;
use tidegate_member::VERSION;

pub(crate) use self::config::{Address, StoreConfig, Url};
use self::flags::{Effect, FLAGS, FlagError, Kind, Parsed, Values};
use crate::{
    logging::Settings,
    node::{Node, NodeError},
    notify,
};

/// By which name the program was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CalledAs {
    Tidegate,
    Etcd,
}

#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error(transparent)]
    Flag(#[from] FlagError),
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    #[error(transparent)]
    Log(#[from] crate::logging::LogError),
    #[error(transparent)]
    Node(#[from] NodeError),
}

impl StoreError {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Flag(error) => error.exit_code(),
            Self::Config(_) | Self::Log(_) | Self::Node(_) => 1,
        }
    }
}

pub(crate) fn main(arguments: &[String], called_as: CalledAs) -> ExitCode {
    match run(arguments, called_as) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate store: {error}");
            if let StoreError::Flag(flag) = &error
                && flag.exit_code() == 2
            {
                eprintln!("Usage: tidegate store [flags]; --help lists them");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: &[String], called_as: CalledAs) -> Result<(), StoreError> {
    // What is not UTF-8 is no flag of ours, whoever set it.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let values = match flags::parse(arguments, variables)? {
        Parsed::Run(values) => values,
        Parsed::Help => {
            print_help();
            return Ok(());
        }
        Parsed::Version => {
            print_version(called_as);
            return Ok(());
        }
    };
    let settings = Settings::parse(values.get("log-level"), values.get("log-format"), values.get("log-outputs"))?;
    let config = StoreConfig::from_flags(&values)?;
    settings.install()?;
    report(&values, &config);
    let node = Node::start(&config, Profile::Store)?;
    notify::ready();
    node.run_until_signal(|_, _| ())?;
    Ok(())
}

/// What tools and people look for in the log at start.
fn report(values: &Values, config: &StoreConfig) {
    for variable in &values.unknown_variables {
        tracing::warn!(variable, "unrecognized environment variable");
    }
    for flag in &values.ignored {
        tracing::warn!(flag, "this flag has no effect any more");
    }
    for (flag, value) in values.without_effect() {
        match flag.effect {
            Effect::Later => tracing::warn!(flag = flag.name, value, "accepted and shown; not enforced yet"),
            _ => tracing::info!(flag = flag.name, value, "accepted; has no meaning here"),
        }
    }
    if config.name == "default" {
        tracing::warn!("running with the default name: give each member a name of its own");
    }
    tracing::info!(
        version = VERSION,
        tidegate = env!("CARGO_PKG_VERSION"),
        name = %config.name,
        data_dir = %config.data_dir.display(),
        memory_budget = %config.memory_budget,
        max_request_bytes = config.request_bytes_max,
        quota_backend_bytes = config.quota_bytes,
        auto_compaction_mode = values.get("auto-compaction-mode"),
        auto_compaction_retention = values.get("auto-compaction-retention"),
        "snapshot-catchup-entries" = values.get("snapshot-catchup-entries").parse::<i64>().unwrap_or(0),
        "starting a store"
    );
}

fn print_version(called_as: CalledAs) {
    if called_as == CalledAs::Etcd {
        println!("etcd Version: {VERSION}");
        println!("Git SHA: tidegate-{}", env!("CARGO_PKG_VERSION"));
        println!("Go Version: none (Rust)");
        println!("Go OS/Arch: {}/{}", std::env::consts::OS, std::env::consts::ARCH);
    } else {
        println!("tidegate {}, speaking the API of etcd {VERSION}", env!("CARGO_PKG_VERSION"));
    }
}

fn print_help() {
    println!("Usage: tidegate store [flags]\n\nEach flag has an ETCD_ variable: --data-dir is ETCD_DATA_DIR.\n");
    for flag in FLAGS {
        let kind = match flag.kind {
            Kind::Bool => "true|false",
            Kind::Text => "text",
            Kind::Int => "number",
            Kind::Duration => "duration",
        };
        let note = match flag.effect {
            Effect::Works => "",
            Effect::NoMeaning => "  (accepted; no meaning here)",
            Effect::Later => "  (accepted and shown; not enforced yet)",
            Effect::Missing => "  (not implemented: refused)",
        };
        println!("  --{} {kind}  default '{}'{note}", flag.name, flag.default);
    }
}
