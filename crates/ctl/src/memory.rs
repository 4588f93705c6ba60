//! `memory`: who holds the bytes of the process.

use serde_json::Value;
use tidegate_base::ByteSize;

use crate::{
    Error, Output, Streams,
    print::{write_table, write_value},
    server::Server,
};

pub(crate) async fn memory(server: &Server, output: Output, streams: &mut Streams<'_>) -> Result<bool, Error> {
    let report = server.memory().await?;
    match output {
        Output::Json | Output::Yaml => write_value(streams.out, output, &report)?,
        Output::Default | Output::Table => table(&report, streams)?,
    }
    Ok(true)
}

/// A node of another version may say more or less than is looked for: what it does not say is left blank.
fn table(report: &Value, streams: &mut Streams<'_>) -> Result<(), Error> {
    let number = |value: &Value| value.as_u64().map(|number| number.to_string()).unwrap_or_default();
    let mut rows: Vec<[String; 5]> = Vec::new();
    for holder in report["holders"].as_array().into_iter().flatten() {
        let name = holder["holder"].as_str().unwrap_or_default().to_owned();
        let [used, limit, peak] = ["used", "limit", "peak"].map(|key| size(&holder[key]));
        rows.push([name, used, limit, peak, number(&holder["refused"])]);
    }
    let fixed = |name: &str, used: &Value, limit: &Value| {
        [name.to_owned(), size(used), size(limit), String::new(), String::new()]
    };
    let engine = &report["engine"];
    rows.push(fixed("pool", &report["pool"]["used"], &report["pool"]["limit"]));
    rows.push(fixed("engine cache", &engine["cache"], &engine["cacheLimit"]));
    rows.push(fixed("engine outside", &engine["tables"], &engine["outsideLimit"]));
    rows.push(fixed("program, uncounted", &report["unaccounted"], &report["program"]["limit"]));
    rows.push(fixed("allocator slack", &Value::Null, &report["slack"]["limit"]));
    write_table(streams.out, &["HOLDER", "USED", "LIMIT", "PEAK", "REFUSED"], &rows)?;

    let (process, allocator) = (&report["process"], &report["allocator"]);
    let facts = [
        ("budget", &report["budget"]),
        ("accounted for", &report["accounted"]),
        ("allocated", &allocator["allocated"]),
        ("resident, anonymous", &process["rssAnon"]),
        ("resident", &process["rss"]),
        ("resident, peak", &process["rssPeak"]),
    ];
    writeln!(streams.out)?;
    let rows: Vec<_> = facts.iter().map(|(name, value)| [(*name).to_owned(), size(value)]).collect();
    write_table(streams.out, &["PROCESS", "BYTES"], &rows)?;

    let keys = report["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !keys.is_empty() {
        let row = |key: &Value| {
            let name = key["key"].as_str().unwrap_or_default().to_owned();
            [size(&key["bytesWritten"]), size(&key["overestimatedByAtMost"]), number(&key["writes"]), name]
        };
        writeln!(streams.out)?;
        let rows: Vec<_> = keys.iter().map(row).collect();
        write_table(streams.out, &["WRITTEN", "LESS AT MOST", "WRITES", "KEY"], &rows)?;
    }
    Ok(())
}

fn size(value: &Value) -> String {
    value.as_u64().map(|bytes| ByteSize(bytes).to_string()).unwrap_or_default()
}
