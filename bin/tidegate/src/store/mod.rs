//! `tidegate store`: the store alone, started as etcd is.

mod config;
mod flags;
mod url;

use std::process::ExitCode;

use tidegate_base::Profile;
use tidegate_member::VERSION;

pub(crate) use self::{
    config::StoreConfig,
    url::{Address, Url},
};
use self::{
    config::{ConfigError, PROGRESS_LEAST, default_host},
    flags::{CommandLine, Effect, FLAGS, FileError, FlagError, Parsed, UsageError, Values, parse_duration},
};
use crate::{
    logging::{FATAL, LogError, Settings},
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
    Usage(#[from] UsageError),
    #[error(transparent)]
    Flag(#[from] FlagError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Node(#[from] NodeError),
}

pub(crate) fn main(arguments: &[String], called_as: CalledAs) -> ExitCode {
    let Err(error) = run(arguments, called_as) else { return ExitCode::SUCCESS };
    tell(&error);
    match error {
        // A level without a meaning is a panic of etcd's.
        StoreError::Usage(_) | StoreError::Log(LogError::Level(_)) => ExitCode::from(2),
        StoreError::Flag(_) | StoreError::Log(_) | StoreError::Config(_) | StoreError::Node(_) => ExitCode::FAILURE,
    }
}

/// Says why it did not start, where and as etcd says it: tools look for these lines.
fn tell(error: &StoreError) {
    match error {
        StoreError::Usage(_) => return eprintln!("{error}\n{USAGE}"),
        StoreError::Flag(FlagError::File(FileError::Urls { .. })) => return eprintln!("{error}"),
        _ => crate::logging::install_fallback(),
    }
    match error {
        StoreError::Flag(FlagError::Shadowed { variable }) => {
            tracing::error!(target: FATAL, { "environment-variable" = variable.as_str() }, "{error}");
        }
        StoreError::Config(ConfigError::Bootstrap(_)) | StoreError::Node(_) => {
            tracing::error!(target: FATAL, %error, "discovery failed");
            if !crate::logging::on_stderr() {
                eprintln!("tidegate store: {error}");
            }
        }
        _ => {
            tracing::warn!(%error, "failed to verify flags");
            if matches!(error, StoreError::Config(ConfigError::AdvertiseUnset)) {
                tracing::warn!(%error, "advertise client URLs are not set");
            }
        }
    }
}

fn run(arguments: &[String], called_as: CalledAs) -> Result<(), StoreError> {
    let line = match flags::parse(arguments)? {
        Parsed::Run(line) => line,
        Parsed::Help => {
            eprintln!("{USAGE}");
            print_help();
            return Ok(());
        }
    };
    if line.asks_version() {
        print_version(called_as);
        return Ok(());
    }
    let values = finish(line)?;
    if values.get("logger") != "zap" {
        return Err(ConfigError::Flag(format!("unknown logger option \"{}\"", values.get("logger"))).into());
    }
    let settings = Settings::parse(values.get("log-level"), values.get("log-format"), values.get("log-outputs"))?;
    settings.install()?;
    report_sources(&values);
    let config = StoreConfig::from_flags(&values, default_host)?;
    report(&values, &config);
    let node = Node::start(&config, Profile::Store)?;
    notify::ready();
    node.run_until_signal(|_, _| ())?;
    Ok(())
}

fn finish(line: CommandLine) -> Result<Values, FlagError> {
    // What is not UTF-8 is no flag of ours, whoever set it.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    line.finish(variables)
}

/// Where the settings come from.
fn report_sources(values: &Values) {
    let notes = &values.notes;
    for variable in &notes.used_variables {
        tracing::info!("variable-name" = variable.as_str(), "recognized and used environment variable");
    }
    for variable in &notes.unknown_variables {
        tracing::warn!("environment-variable" = variable.as_str(), "unrecognized environment variable");
    }
    for flag in &notes.ignored {
        tracing::warn!("flag-name" = flag.as_str(), "flag is no longer supported - ignoring");
    }
    if let Some(path) = &notes.file {
        tracing::info!(
            path,
            "loaded server configuration, other configuration command line flags and environment variables will be ignored \
             if provided"
        );
    }
}

/// What tools and people look for in the log at start.
fn report(values: &Values, config: &StoreConfig) {
    for (later, message) in [
        (true, "these flags are accepted and shown; what they ask for is not enforced yet"),
        (false, "these flags are accepted and have no meaning here"),
    ] {
        let flags: Vec<String> = values
            .without_effect()
            .filter(|(flag, _)| (flag.effect == Effect::Later) == later)
            .map(|(flag, value)| format!("{}={value}", flag.name))
            .collect();
        if !flags.is_empty() {
            tracing::warn!(flags = flags.join(" "), "{message}");
        }
    }
    let every = parse_duration(values.get("watch-progress-notify-interval")).unwrap_or_default();
    if every > 0 && every < PROGRESS_LEAST.as_nanos().cast_signed() {
        tracing::warn!(
            "min-watch-progress-notify-interval" = "100ms",
            "adjusting watch progress notify interval to minimum period"
        );
    }
    if config.name == "default" {
        tracing::warn!(
            name = config.name,
            "it isn't recommended to use default name, please set a value for --name: members are told apart by it"
        );
    }
    if !values.given("data-dir") {
        tracing::warn!("data-dir" = %config.data_dir.display(), "'data-dir' was empty; using default");
    }
    tracing::info!(
        "etcd-version" = VERSION,
        tidegate = env!("CARGO_PKG_VERSION"),
        name = %config.name,
        "data-dir" = %config.data_dir.display(),
        "memory-budget" = %config.memory_budget,
        "heartbeat-interval" = ?config.heartbeat,
        "max-request-bytes" = config.request_bytes_max,
        "quota-backend-bytes" = config.quota_bytes,
        "auto-compaction-mode" = values.get("auto-compaction-mode"),
        "auto-compaction-retention" = values.get("auto-compaction-retention"),
        "snapshot-catchup-entries" = values.get("snapshot-catchup-entries").parse::<u64>().unwrap_or(0),
        "starting an etcd server"
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

const USAGE: &str = "Usage:

  tidegate store [flags]        start a store; called by the name etcd, this is the whole program
  tidegate store --version      print the version
  tidegate store -h | --help    list the flags
  tidegate store --config-file FILE
                                take everything from FILE (YAML or JSON, with etcd's keys): other flags and variables do not
                                count then; durations in it are whole nanoseconds
";

fn print_help() {
    println!("Each flag has an ETCD_ variable: --data-dir is ETCD_DATA_DIR.\n");
    for flag in FLAGS {
        let note = match flag.effect {
            Effect::Works => "",
            Effect::NoMeaning => "  (accepted; no meaning here)",
            Effect::Later => "  (accepted and shown; not enforced yet)",
            Effect::Missing => "  (not implemented: refused)",
        };
        println!("  --{} {}  default '{}'{note}", flag.name, flag.kind.shown(), flag.default);
    }
}
