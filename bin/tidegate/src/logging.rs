//! Log lines as etcd writes them: JSON with `level`, `ts`, `caller`, `msg` and the fields, or tab-separated text.
//!
//! A `tracing` subscriber of its own: there are no spans here, and a line is one `write` of a bounded buffer.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, UNIX_EPOCH},
};

use tidegate_base::clock;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

/// Longest line; what is longer is cut.
const LINE_BYTES_MAX: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Console,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
    File(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("unrecognized level: {0:?}")]
    Level(String),
    #[error("unknown log format: {0}, supported values json, console")]
    Format(String),
    #[error("multi logoutput for \"default\" is not supported yet")]
    Several,
    #[error("--log-outputs: systemd/journal is not implemented yet")]
    Journal,
    #[error("open sink {path:?}: open {path}: {why}")]
    Open { path: String, why: String },
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) level: LevelFilter,
    pub(crate) format: Format,
    pub(crate) outputs: Vec<Output>,
}

impl Settings {
    /// From the values of `--log-level`, `--log-format` and `--log-outputs`.
    pub(crate) fn parse(level: &str, format: &str, outputs: &str) -> Result<Self, LogError> {
        let level = match level.to_ascii_lowercase().as_str() {
            "debug" => LevelFilter::DEBUG,
            "info" | "" => LevelFilter::INFO,
            "warn" => LevelFilter::WARN,
            "error" | "dpanic" | "panic" | "fatal" => LevelFilter::ERROR,
            _ => return Err(LogError::Level(level.to_owned())),
        };
        let format = match format {
            "json" | "" => Format::Json,
            "console" => Format::Console,
            other => return Err(LogError::Format(other.to_owned())),
        };
        let names: BTreeSet<&str> = outputs.split(',').map(str::trim).collect();
        if names.len() > 1 && names.contains("default") {
            return Err(LogError::Several);
        }
        let outputs = names.into_iter().map(|output| match output {
            "default" | "stderr" => Ok(Output::Stderr),
            "stdout" => Ok(Output::Stdout),
            "systemd/journal" => Err(LogError::Journal),
            path => Ok(Output::File(PathBuf::from(path))),
        });
        Ok(Self { level, format, outputs: outputs.collect::<Result<_, _>>()? })
    }

    /// Makes this the log of the process.
    ///
    /// # Errors
    /// A file that cannot be opened for appending.
    pub(crate) fn install(self) -> Result<(), LogError> {
        let open = |output: &Output| match output {
            Output::Stdout => Ok(Sink::Stdout),
            Output::Stderr => Ok(Sink::Stderr),
            Output::File(path) => OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .map(Sink::File)
                .map_err(|error| LogError::Open { path: path.display().to_string(), why: go_text(&error) }),
        };
        let sinks = self.outputs.iter().map(open).collect::<Result<_, _>>()?;
        ON_STDERR.store(self.outputs.contains(&Output::Stderr), Ordering::Relaxed);
        let logger = Logger { level: self.level, format: self.format, sinks, failed: AtomicBool::new(false) };
        tracing::subscriber::set_global_default(logger).expect("the log is installed once");
        Ok(())
    }
}

/// Target of the line that says why the process ends: its level is `fatal`, which `tracing` does not have.
pub(crate) const FATAL: &str = "tidegate::fatal";

static ON_STDERR: AtomicBool = AtomicBool::new(false);

/// Whether the log, once there is one, goes to the standard error.
pub(crate) fn on_stderr() -> bool {
    ON_STDERR.load(Ordering::Relaxed)
}

/// A log for a process that ends before it has found out which one is wanted.
pub(crate) fn install_fallback() {
    if tracing::dispatcher::has_been_set() {
        return;
    }
    let settings = Settings { level: LevelFilter::INFO, format: Format::Json, outputs: vec![Output::Stderr] };
    settings.install().expect("no file is to be opened");
}

/// An error of a file as Go words the common ones.
pub(crate) fn go_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

enum Sink {
    Stdout,
    Stderr,
    File(File),
}

struct Logger {
    level: LevelFilter,
    format: Format,
    sinks: Vec<Sink>,
    /// A sink failed, and that was said.
    failed: AtomicBool,
}

impl Subscriber for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries speak up from warnings on; their chatter below that is not ours.
        let ours = metadata.target().starts_with("tidegate") || metadata.target() == "audit";
        *metadata.level() <= self.level && (ours || *metadata.level() <= Level::WARN)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        let line = format_line(self.format, event, clock::wall());
        for sink in &self.sinks {
            let written = match sink {
                Sink::Stdout => io::stdout().write_all(line.as_bytes()),
                Sink::Stderr => io::stderr().write_all(line.as_bytes()),
                Sink::File(file) => (&mut &*file).write_all(line.as_bytes()),
            };
            if written.is_err() && !self.failed.swap(true, Ordering::Relaxed) {
                // Where could it be said? A log that cannot be written must not stop the member.
                drop(io::stderr().write_all(b"a log output cannot be written\n"));
            }
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn format_line(format: Format, event: &Event<'_>, now: Duration) -> String {
    let metadata = event.metadata();
    let level = match *metadata.level() {
        Level::ERROR if metadata.target() == FATAL => "fatal",
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    };
    let time = humantime::format_rfc3339_micros(UNIX_EPOCH + now).to_string();
    let mut fields = Fields::default();
    event.record(&mut fields);
    let caller = caller(metadata);
    let mut line = match format {
        Format::Json => {
            let mut line = String::with_capacity(256);
            let head = [("level", level), ("ts", &time), ("caller", &caller), ("msg", &fields.message)];
            for (at, (key, value)) in head.into_iter().enumerate() {
                line.push_str(if at == 0 { "{" } else { "," });
                push_json_text(&mut line, key);
                line.push(':');
                push_json_text(&mut line, value);
            }
            line.push_str(&fields.json);
            line.push('}');
            line
        }
        Format::Console => {
            let mut line = format!("{time}\t{level}\t{caller}\t{}", fields.message);
            if let Some(json) = fields.json.strip_prefix(',') {
                line.push_str("\t{");
                line.push_str(json);
                line.push('}');
            }
            line
        }
    };
    if line.len() > LINE_BYTES_MAX {
        let mut end = LINE_BYTES_MAX;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
    }
    line.push('\n');
    line
}

/// `crate/file.rs:line`, the last two parts of the path.
fn caller(metadata: &Metadata<'_>) -> String {
    let file = metadata.file().unwrap_or("?");
    let start = file.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    format!("{}:{}", &file[start..], metadata.line().unwrap_or(0))
}

#[derive(Default)]
struct Fields {
    message: String,
    /// `,"key":value` for each field but the message.
    json: String,
}

impl Fields {
    fn key(&mut self, field: &Field) {
        self.json.push(',');
        push_json_text(&mut self.json, field.name());
        self.json.push(':');
    }

    fn text(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.key(field);
            push_json_text(&mut self.json, value);
        }
    }

    fn plain(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.key(field);
        self.json.write_fmt(value).expect("a string takes everything");
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, format_args!("{value}"));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, format_args!("{value}"));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, format_args!("{value}"));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.plain(field, format_args!("{value}"));
        } else {
            self.text(field, &value.to_string());
        }
    }
}

fn push_json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes everything"),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Capture(Format, Arc<Mutex<Vec<String>>>);
    impl Subscriber for Capture {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn event(&self, event: &Event<'_>) {
            self.1.lock().unwrap().push(format_line(self.0, event, Duration::from_micros(1_700_000_000_000_001)));
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    fn lines(format: Format, emit: impl FnOnce()) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        tracing::subscriber::with_default(Capture(format, Arc::clone(&lines)), emit);
        lines.lock().unwrap().split_off(0)
    }

    #[test]
    fn a_json_line_has_the_keys_in_order_and_escapes() {
        let lines = lines(Format::Json, || {
            tracing::warn!(path = "a\"b\n\u{1}", count = 3u64, on = true, "took too long");
        });
        let line = &lines[0];
        assert!(
            line.starts_with(r#"{"level":"warn","ts":"2023-11-14T22:13:20.000001Z","caller":"src/logging.rs:"#),
            "{line}"
        );
        assert!(
            line.ends_with("\",\"msg\":\"took too long\",\"path\":\"a\\\"b\\n\\u0001\",\"count\":3,\"on\":true}\n"),
            "{line}"
        );
    }

    #[test]
    fn a_console_line_is_separated_by_tabs() {
        let lines = lines(Format::Console, || tracing::info!(n = 1, "ready"));
        let parts: Vec<_> = lines[0].trim_end().split('\t').collect();
        assert_eq!((parts[1], parts[3], parts[4]), ("info", "ready", "{\"n\":1}"));
    }

    #[test]
    fn the_last_line_is_fatal() {
        let lines = lines(Format::Json, || tracing::error!(target: FATAL, "the end"));
        assert!(lines[0].starts_with("{\"level\":\"fatal\","), "{}", lines[0]);
    }

    #[test]
    fn a_long_line_is_cut() {
        let lines = lines(Format::Console, || tracing::info!(text = "ü".repeat(LINE_BYTES_MAX), "x"));
        assert!(lines[0].len() <= LINE_BYTES_MAX + 1);
    }

    #[test]
    fn settings_name_what_is_wrong() {
        assert!(Settings::parse("loud", "json", "default").unwrap_err().to_string().contains("loud"));
        assert!(Settings::parse("info", "xml", "default").unwrap_err().to_string().contains("xml"));
        assert!(Settings::parse("info", "json", "default,stdout").unwrap_err().to_string().contains("multi logoutput"));
        let settings = Settings::parse("DEBUG", "console", "stdout,/tmp/x.log,stdout").unwrap();
        assert_eq!(settings.outputs, [Output::File("/tmp/x.log".into()), Output::Stdout]);
    }
}
