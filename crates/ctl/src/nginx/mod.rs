//! `convert nginx`: nginx.conf to HTTPServers and Pipelines.
//!
//! What nginx decides by its own order (exact names before wildcards, the longest prefix, expressions before prefixes) is written
//! down in that order, because an HTTPServer takes the first rule and path that fit. What has no counterpart is a warning.

mod lex;
mod location;
mod server;
mod upstream;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::Path,
};

use lex::{Directive, Reader};
use serde_json::Value;
use upstream::Upstream;

use crate::{Error, Streams, args::NginxArgs, files::create_private, print};

/// What is known while servers and locations are read.
struct Scope<'a> {
    prefix: &'a str,
    upstreams: BTreeMap<String, Upstream>,
    /// What relative paths start from.
    folder: &'a Path,
    pipelines: Vec<Value>,
    warnings: Vec<String>,
}

impl Scope<'_> {
    fn warn(&mut self, directive: &Directive, told: &str) {
        self.warnings.push(format!("{}: {told}", directive.place));
    }

    fn not_converted(&mut self, directive: &Directive) {
        let words = [&directive.name].into_iter().chain(&directive.args).map(String::as_str).collect::<Vec<_>>();
        self.warn(directive, &format!("not converted: {}", words.join(" ")));
    }

    /// An expression as HTTPServer takes it, where it takes it.
    fn regexp(&mut self, directive: &Directive, expression: &str, ignore_case: bool) -> Option<String> {
        if ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|look| expression.contains(look)) {
            self.warn(directive, &format!("not converted: the expression {expression}, because it looks around"));
            return None;
        }
        Some(if ignore_case { format!("(?i){expression}") } else { expression.to_owned() })
    }
}

pub(crate) fn convert(wanted: &NginxArgs, streams: &mut Streams<'_>) -> Result<bool, Error> {
    let path = Path::new(&wanted.file);
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut reader = Reader::new(folder.to_owned());
    let tree = reader.read(path)?;
    let mut scope = Scope {
        prefix: &wanted.resource_prefix,
        upstreams: BTreeMap::new(),
        folder,
        pipelines: Vec::new(),
        warnings: reader.warnings,
    };
    let objects = objects(&tree, &mut scope);
    for warning in &scope.warnings {
        writeln!(streams.err, "Warning: {warning}")?;
    }
    if objects.is_empty() {
        return Err(Error::Local(format!("{}: there is no server in it", wanted.file)));
    }
    let mut text = Vec::new();
    print::write_documents(&mut text, &objects)?;
    match &wanted.output {
        Some(file) => create_private(Path::new(file))
            .and_then(|mut out| out.write_all(&text))
            .map_err(|error| Error::Local(format!("{file}: {error}")))?,
        None => streams.out.write_all(&text)?,
    }
    Ok(true)
}

fn objects(tree: &[Directive], scope: &mut Scope<'_>) -> Vec<Value> {
    let mut servers = Vec::new();
    for directive in tree {
        match &*directive.name {
            "http" => {}
            // A file that is made to be included in an `http` block.
            "server" | "upstream" => {}
            "events" => {}
            _ => scope.not_converted(directive),
        }
    }
    let blocks = || tree.iter().filter(|directive| directive.name == "http");
    let none = Directive { name: String::new(), args: Vec::new(), children: Vec::new(), place: String::new() };
    let loose = tree.iter().filter(|directive| directive.name != "http").map(|directive| (&none, directive));
    let all: Vec<_> =
        blocks().flat_map(|http| http.children.iter().map(move |child| (http, child))).chain(loose).collect();
    for (_, directive) in all.iter().filter(|(_, directive)| directive.name == "upstream") {
        let upstream = Upstream::read(directive, scope);
        scope.upstreams.insert(directive.arg(0).to_owned(), upstream);
    }
    for (http, directive) in all {
        match &*directive.name {
            "server" => servers.push(server::read(http, directive, scope)),
            "upstream" => {}
            name if server::INHERITED.contains(&name) => {}
            _ if http.name.is_empty() => {}
            _ => scope.not_converted(directive),
        }
    }
    let mut objects = server::listeners(&servers, scope);
    let mut reached = BTreeSet::new();
    for rule in objects.iter().flat_map(|object| object["rules"].as_array().into_iter().flatten()) {
        let paths = rule["paths"].as_array().into_iter().flatten();
        reached.extend(paths.map(|path| print::text(path, "backend").to_owned()));
    }
    // A server that was left out leaves its pipelines behind.
    scope.pipelines.retain(|pipeline| reached.contains(print::text(pipeline, "name")));
    objects.append(&mut scope.pipelines);
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "http { upstream u { server 10.0.0.1 weight=2; server b:80 down; hash $http_x; }
        server { listen [::1]:443 ssl default_server; server_name .a.b ~^x$ *.c d.* \"q\\\"x\"; ssl_certificate c; ssl_certificate_key k;
        location ~* \\.png$ { proxy_pass http://u; } location = /e { proxy_pass https://h:1/${x}; proxy_set_header Host h; }
        location ^~ /f { client_max_body_size 1g; proxy_pass http://u/v; location /f/g { proxy_pass http://w; } } } } # end\n";

    fn converted(text: &str) -> Vec<Value> {
        let mut reader = Reader::new(Path::new("/nonexistent").to_owned());
        let Ok(tree) = reader.parse(text, Path::new("n.conf")) else { return Vec::new() };
        let mut scope = Scope {
            prefix: "n",
            upstreams: BTreeMap::new(),
            folder: Path::new("/nonexistent"),
            pipelines: Vec::new(),
            warnings: Vec::new(),
        };
        objects(&tree, &mut scope)
    }

    /// Files that broke off, lost a character or got one too many.
    #[test]
    fn no_file_ends_the_process() {
        assert_eq!(converted(SAMPLE).len(), 4);
        for (at, c) in SAMPLE.char_indices() {
            converted(&SAMPLE[..at]);
            converted(&[&SAMPLE[..at], &SAMPLE[at + c.len_utf8()..]].concat());
            for more in ["{", "}", ";", "\"", "\\", "$", " ", "é", "~", "*", ":", "99999999999999999999"] {
                converted(&[&SAMPLE[..at], more, &SAMPLE[at..]].concat());
            }
        }
    }
}
