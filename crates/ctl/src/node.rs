//! Verbs about the node itself: its kinds and routes, health, profiles, logs, metrics.

use serde_json::{Value, json};
use tidegate_http::message::Method;

use crate::{
    Error, Output, Streams,
    args::{LogsCommand, ProfileCommand, ProfileKind, Show},
    kinds::OTHERS,
    print::{list, text, write_table, write_value},
    server::{PREFIX, Server, segment},
};

pub(crate) async fn api_resources(server: &Server, output: Output, streams: &mut Streams<'_>) -> Result<bool, Error> {
    let resources = server.get("/object-api-resources").await?;
    if matches!(output, Output::Json | Output::Yaml) {
        write_value(streams.out, output, &resources)?;
        return Ok(true);
    }
    let mut rows: Vec<[String; 5]> = Vec::new();
    for resource in &list(resources) {
        let aliases = resource["Aliases"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let aliases = aliases.collect::<Vec<_>>().join(",");
        let [name, category, kind] = ["Name", "Category", "Kind"].map(|key| text(resource, key).to_owned());
        rows.push([name, aliases, category, kind, "create,apply,delete,edit,get,describe".to_owned()]);
    }
    let other = |&(kind, name, aliases, verbs): &(&str, &str, &[&str], &str)| {
        [name.to_owned(), aliases.join(","), "-".to_owned(), kind.to_owned(), verbs.to_owned()]
    };
    rows.extend(OTHERS.iter().map(other));
    write_table(streams.out, &["NAME", "ALIASES", "CATEGORY", "KIND", "ACTION"], &rows)?;
    Ok(true)
}

pub(crate) async fn apis(server: &Server, output: Output, streams: &mut Streams<'_>) -> Result<bool, Error> {
    let groups = server.get("").await?;
    if matches!(output, Output::Json | Output::Yaml) {
        write_value(streams.out, output, &groups)?;
        return Ok(true);
    }
    let version = PREFIX.rsplit('/').next().unwrap_or_default();
    let mut rows: Vec<[String; 4]> = Vec::new();
    for group in &list(groups) {
        for entry in group["Entries"].as_array().into_iter().flatten() {
            let path = format!("{PREFIX}{}", text(entry, "path"));
            rows.push([path, text(entry, "method").to_owned(), version.to_owned(), text(group, "Group").to_owned()]);
        }
    }
    write_table(streams.out, &["PATH", "METHOD", "VERSION", "GROUP"], &rows)?;
    Ok(true)
}

pub(crate) async fn health(server: &Server, streams: &mut Streams<'_>) -> Result<bool, Error> {
    server.call(Method::Get, "/healthz", None).await?;
    writeln!(streams.out, "OK")?;
    Ok(true)
}

pub(crate) async fn metrics(server: &Server, streams: &mut Streams<'_>) -> Result<bool, Error> {
    write!(streams.out, "{}", server.get_text("/metrics").await?)?;
    Ok(true)
}

pub(crate) async fn profile(
    server: &Server,
    command: &ProfileCommand,
    before: Show,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    match command {
        ProfileCommand::Info(show) => write_value(streams.out, before.over(*show), &server.get("/profile").await?)?,
        ProfileCommand::Start { what } => {
            let (kind, path) = match what {
                ProfileKind::Cpu { path } => ("cpu", path),
                ProfileKind::Memory { path } => ("memory", path),
            };
            server.call(Method::Post, &format!("/profile/start/{kind}"), Some(&json!({"path": path}))).await?;
            writeln!(streams.out, "start {kind} profile {path} successfully")?;
        }
        ProfileCommand::Stop => {
            server.call(Method::Post, "/profile/stop", None).await?;
            writeln!(streams.out, "stop profile successfully")?;
        }
    }
    Ok(true)
}

pub(crate) async fn logs(
    server: &Server,
    tail: i64,
    follow: bool,
    command: Option<&LogsCommand>,
    streams: &mut Streams<'_>,
) -> Result<bool, Error> {
    match command {
        None if follow => server.follow(&format!("/logs?tail={tail}&follow=true"), streams.out).await?,
        None => write!(streams.out, "{}", server.get_text(&format!("/logs?tail={tail}&follow=false")).await?)?,
        Some(LogsCommand::GetLevel) => {
            writeln!(streams.out, "{}", server.get_text("/logs/level").await?.trim_end())?;
        }
        Some(LogsCommand::SetLevel { level }) => {
            server.call(Method::Put, &format!("/logs/level/{}", segment(level)), None).await?;
            writeln!(streams.out, "set log level {level} successfully")?;
        }
    }
    Ok(true)
}
