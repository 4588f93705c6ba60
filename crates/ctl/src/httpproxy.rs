//! `create httpproxy`: flags to one HTTPServer and a Pipeline for each rule.

use std::fs;

use serde_json::{Map, Value, json};

use crate::{
    Error, Streams, apply, apply::Mode, args::HttpProxy, base64, documents::Document, get, print::text, server::Server,
};

pub(crate) async fn create(server: &Server, wanted: &HttpProxy, streams: &mut Streams<'_>) -> Result<bool, Error> {
    let rules: Vec<Rule> = wanted.rules.iter().map(|rule| Rule::parse(rule)).collect::<Result<_, _>>()?;
    let mut documents = vec![document(http_server(wanted, &rules)?)];
    documents.extend(
        rules
            .iter()
            .enumerate()
            .map(|(index, rule)| document(pipeline(&format!("{}-{index}", wanted.name), &rule.endpoints))),
    );
    let mut all = true;
    if let (Some(email), Some(domain)) = (&wanted.auto_cert_email, &wanted.auto_cert_domain_name) {
        let manager = manager(server, email, domain, &wanted.dns_provider).await?;
        all = apply::all(server, vec![document(manager)], Mode::Apply { dry_run: false }, streams).await?;
    }
    Ok(apply::all(server, documents, Mode::Create, streams).await? && all)
}

/// `HOST/PATH=ENDPOINT,ENDPOINT`.
#[derive(Debug, PartialEq)]
struct Rule {
    host: String,
    path: String,
    prefix: bool,
    endpoints: Vec<String>,
}

impl Rule {
    fn parse(rule: &str) -> Result<Self, Error> {
        let wrong = |told: &str| Error::Local(format!("--rule {rule}: {told}"));
        let (place, endpoints) = rule.split_once('=').ok_or_else(|| wrong("HOST/PATH=ENDPOINT is wanted"))?;
        let slash = place.find('/').ok_or_else(|| wrong("the path begins with /"))?;
        let (host, path) = place.split_at(slash);
        let endpoints: Vec<String> = endpoints.split(',').map(|text| text.trim().to_owned()).collect();
        if endpoints.iter().any(|endpoint| !endpoint.contains("://")) {
            return Err(wrong("an endpoint is a URL such as http://10.0.0.1:8080"));
        }
        let (path, prefix) = path.strip_suffix('*').map_or((path, false), |path| (path, true));
        Ok(Self { host: host.to_owned(), path: path.to_owned(), prefix, endpoints })
    }
}

fn document(spec: Value) -> Document {
    Document { kind: text(&spec, "kind").to_owned(), name: text(&spec, "name").to_owned(), spec }
}

/// Rules of one host are together, hosts in the order in which they come.
fn http_server(wanted: &HttpProxy, rules: &[Rule]) -> Result<Value, Error> {
    let mut spec = json!({"kind": "HTTPServer", "name": wanted.name, "port": wanted.port, "https": wanted.tls});
    if wanted.auto_cert {
        spec["autoCert"] = true.into();
    }
    if let Some(file) = &wanted.ca_cert_file {
        spec["caCertBase64"] = pem(file)?.into();
    }
    let (certs, keys) = (&wanted.cert_files, &wanted.key_files);
    if certs.len() != keys.len() {
        return Err(Error::Local(format!("{} certificates need as many keys, not {}", certs.len(), keys.len())));
    }
    match (&**certs, &**keys) {
        ([], []) => {}
        ([cert], [key]) => {
            spec["certBase64"] = pem(cert)?.into();
            spec["keyBase64"] = pem(key)?.into();
        }
        _ => {
            for (index, (cert, key)) in certs.iter().zip(keys).enumerate() {
                let name = format!("{}-{index}", wanted.name);
                spec["certs"][&name] = pem(cert)?.into();
                spec["keys"][&name] = pem(key)?.into();
            }
        }
    }
    let mut hosts: Vec<(&str, Vec<Value>)> = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let key = if rule.prefix { "pathPrefix" } else { "path" };
        let path = json!({key: rule.path, "backend": format!("{}-{index}", wanted.name)});
        match hosts.iter_mut().find(|(host, _)| *host == rule.host) {
            Some((_, paths)) => paths.push(path),
            None => hosts.push((&rule.host, vec![path])),
        }
    }
    let rule = |(host, paths): (&str, Vec<Value>)| match host {
        "" => json!({"paths": paths}),
        host => json!({"host": host, "paths": paths}),
    };
    spec["rules"] = hosts.into_iter().map(rule).collect();
    Ok(spec)
}

/// A pipeline that sends everything to `endpoints`, one after the other.
fn pipeline(name: &str, endpoints: &[String]) -> Value {
    let servers: Vec<Value> = endpoints.iter().map(|url| json!({"url": url})).collect();
    let pool = json!({"servers": servers, "loadBalance": {"policy": "roundRobin"}});
    json!({"name": name, "kind": "Pipeline", "filters": [{"name": "proxy", "kind": "Proxy", "pools": [pool]}]})
}

/// The one AutoCertManager of the node with `domain` among its domains.
async fn manager(server: &Server, email: &str, domain: &str, provider: &[String]) -> Result<Value, Error> {
    let mut settings = Map::new();
    for setting in provider {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| Error::Local(format!("--dns-provider {setting}: KEY=VALUE is wanted")))?;
        settings.insert(key.to_owned(), value.into());
    }
    let mut entry = json!({"name": domain});
    if !settings.is_empty() {
        entry["dnsProvider"] = Value::Object(settings);
    }
    let kind = crate::kinds::Resource::Objects("AutoCertManager".to_owned());
    let found = get::objects(server, Some(&kind), None, &crate::args::Namespaces::default()).await?;
    let new = || json!({"kind": "AutoCertManager", "name": "autocertmanager", "domains": []});
    let mut spec = found.into_iter().map(|found| found.spec).find(Value::is_object).unwrap_or_else(new);
    spec["email"] = email.into();
    let domains = spec["domains"].take();
    let mut domains: Vec<Value> = crate::print::list(domains);
    domains.retain(|known| known["name"] != domain);
    domains.push(entry);
    spec["domains"] = Value::Array(domains);
    Ok(spec)
}

/// A file's bytes as specs have them.
pub(crate) fn pem(file: &str) -> Result<String, Error> {
    fs::read(file).map(|bytes| base64::encode(&bytes)).map_err(|error| Error::Local(format!("{file}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_a_place_and_endpoints() {
        let rule = Rule::parse("shop.example/api/*=http://a:1, http://b/x?y=z").unwrap();
        assert_eq!((&*rule.host, &*rule.path, rule.prefix), ("shop.example", "/api/", true));
        assert_eq!(rule.endpoints, ["http://a:1", "http://b/x?y=z"]);
        assert_eq!(Rule::parse("/=http://a").unwrap().host, "");
        for rule in ["", "/a", "a=http://b", "/a=", "/a=b:80"] {
            assert!(Rule::parse(rule).is_err(), "{rule}");
        }
    }
}
