//! `CORSAdaptor` tells browsers which other origins may use a service.

mod policy;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_http::message::{Headers, Known, Method, Response};
use tidegate_pipeline::{Context, Deps, Filter, Outcome, Problems, Step};

use policy::{Origins, Words};

/// Settings of the `CORSAdaptor` filter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Origins that may ask, such as `https://example.com` or, with one `*`, `https://*.example.com`. None, or `*`: all.
    #[serde(default)]
    allowed_origins: Vec<String>,
    /// Methods that they may use; HEAD, GET and POST unless given.
    #[serde(default)]
    allowed_methods: Vec<String>,
    /// Headers that they may send besides `Origin`; `*` for all. Unless given: Accept, Content-Type and X-Requested-With.
    #[serde(default)]
    allowed_headers: Vec<String>,
    /// Whether requests may carry cookies and other credentials.
    #[serde(default)]
    allow_credentials: bool,
    /// Headers of answers that scripts may read.
    #[serde(default)]
    exposed_headers: Vec<String>,
    /// Seconds for which a browser may remember the answer to a preflight; 0 says nothing.
    #[serde(default)]
    max_age: u32,
}

/// Answers preflights, and prepares the headers of other answers: a later Proxy keeps them.
pub struct CorsAdaptor {
    origins: Origins,
    methods: Words,
    headers: Words,
    credentials: bool,
    exposed: String,
    max_age: u32,
}

impl Filter for CorsAdaptor {
    const KIND: &'static str = "CORSAdaptor";
    const RESULTS: &'static [&'static str] = &["preflighted", "rejected"];
    const EXAMPLE: &'static str = "\
name: cors
kind: CORSAdaptor
allowedOrigins:
- https://*.example.com
allowedMethods: [GET, PUT, DELETE]
allowedHeaders: [Content-Type, X-Token]
exposedHeaders: [X-Request-Id]
allowCredentials: true
maxAge: 600
";
    type Config = Config;

    fn new(config: Config, _: &Deps) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        for (index, origin) in config.allowed_origins.iter().enumerate() {
            let stars = origin.matches('*').count();
            problems.require(stars < 2, format!("allowedOrigins[{index}]"), "must have one * at most");
        }
        problems.into_result()?;
        Ok(Self {
            origins: Origins::new(&config.allowed_origins),
            methods: Words::new(&config.allowed_methods, &["HEAD", "GET", "POST"], &["OPTIONS"]),
            headers: Words::new(&config.allowed_headers, &["Accept", "Content-Type", "X-Requested-With"], &["Origin"]),
            credentials: config.allow_credentials,
            exposed: config.exposed_headers.join(", "),
            max_age: config.max_age,
        })
    }

    fn handle<'a>(&'a self, cx: &'a mut Context) -> Step<'a> {
        let request = cx.request();
        let Some(origin) = request.headers.get(Known::Origin).filter(|origin| !origin.is_empty()) else {
            return Step::Done(Outcome::Next);
        };
        let origin = String::from_utf8_lossy(origin).into_owned();
        let asked = request.headers.text(Known::AcrMethod).filter(|_| request.method == Method::Options);
        if let Some(method) = asked.map(str::to_owned) {
            let wanted = request.headers.text(Known::AcrHeaders).unwrap_or_default().to_owned();
            let mut response = cx.response.take().unwrap_or_default();
            response.status = 204;
            self.preflight(&origin, &method, &wanted, &mut response.headers);
            cx.response = Some(response);
            return Step::Done(Outcome::Result("preflighted"));
        }
        let method = String::from_utf8_lossy(request.method_text()).into_owned();
        if !self.origins.allow(&origin) {
            cx.reject(403).append_known(Known::Vary, b"Origin");
            return Step::Done(Outcome::Result("rejected"));
        }
        let headers = &mut cx.response.get_or_insert_with(|| Response::new(200)).headers;
        headers.append_known(Known::Vary, b"Origin");
        if self.methods.allow(&method) {
            self.allow(&origin, headers);
            if !self.exposed.is_empty() {
                headers.set_known(Known::AceHeaders, self.exposed.as_bytes());
            }
        }
        Step::Done(Outcome::Next)
    }
}

impl CorsAdaptor {
    /// A preflight that is not allowed has no headers but `Vary`: the browser then stops.
    fn preflight(&self, origin: &str, method: &str, wanted: &str, headers: &mut Headers) {
        for name in ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"] {
            headers.append_known(Known::Vary, name.as_bytes());
        }
        let mut names = wanted.split(',').map(str::trim).filter(|name| !name.is_empty());
        let good = self.origins.allow(origin) && self.methods.allow(method);
        if !good || !names.clone().all(|name| self.headers.allow(name)) {
            return;
        }
        self.allow(origin, headers);
        headers.set_known(Known::AcaMethods, method.to_ascii_uppercase().as_bytes());
        if let Some(first) = names.next() {
            let list = names.fold(first.to_owned(), |list, name| list + ", " + name);
            headers.set_known(Known::AcaHeaders, list.as_bytes());
        }
        if self.max_age > 0 {
            headers.set_known(Known::AcMaxAge, self.max_age.to_string().as_bytes());
        }
    }

    fn allow(&self, origin: &str, headers: &mut Headers) {
        // With credentials browsers do not take the star.
        let any = self.origins.are_all() && !self.credentials;
        headers.set_known(Known::AcaOrigin, if any { b"*" } else { origin.as_bytes() });
        if self.credentials {
            headers.set_known(Known::AcaCredentials, b"true");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_base::{Budget, ByteSize, Limits, Profile};

    use super::*;

    fn build(config: Value) -> Result<CorsAdaptor, Problems> {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        CorsAdaptor::new(serde_json::from_value(config).unwrap(), &Deps::new(budget, 1))
    }

    fn preflight(cors: &CorsAdaptor, origin: &str, method: &str, wanted: &str) -> Vec<(String, String)> {
        let mut headers = Headers::new();
        cors.preflight(origin, method, wanted, &mut headers);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        headers.iter().map(|(name, value)| (text(name), text(value))).skip(3).collect()
    }

    #[test]
    fn a_preflight_is_told_what_it_asked_for_or_nothing() {
        let cors = build(json!({
            "allowedOrigins": ["https://*.a.test"], "allowedMethods": ["get", "PUT"], "allowedHeaders": ["X-Token"],
            "maxAge": 60,
        }))
        .unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            preflight(&cors, "https://B.A.test", "put", "x-token,origin"),
            [
                pair("Access-Control-Allow-Origin", "https://B.A.test"),
                pair("Access-Control-Allow-Methods", "PUT"),
                pair("Access-Control-Allow-Headers", "x-token, origin"),
                pair("Access-Control-Max-Age", "60"),
            ]
        );
        for (origin, method, wanted) in [
            ("https://a.test", "PUT", ""),
            ("https://b.a.test.evil", "PUT", ""),
            ("https://b.a.test", "POST", ""),
            ("https://b.a.test", "GET", "X-Token, X-Other"),
        ] {
            assert_eq!(preflight(&cors, origin, method, wanted), [], "{origin} {method} {wanted}");
        }
    }

    #[test]
    fn credentials_name_the_origin() {
        let open = build(json!({})).unwrap();
        assert_eq!(preflight(&open, "http://x", "GET", "")[0].1, "*");
        let credentials = build(json!({"allowCredentials": true})).unwrap();
        let headers = preflight(&credentials, "http://x", "GET", "Content-Type");
        assert_eq!((headers[0].1.as_str(), headers[1].1.as_str()), ("http://x", "true"));
        assert!(build(json!({"allowedOrigins": ["http://*.*"]})).is_err());
    }
}
