//! What filters see of a request.

use std::{collections::BTreeMap, net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use serde_json::Value;
use tidegate_http::{
    h1::Exchange,
    message::{Headers, RequestHead, Response},
};

use crate::{Locals, TraceSpan, namespaces::Namespaces, tags::Tags};

/// One request on its way through a pipeline. Stays on its thread.
///
/// Requests and responses have namespaces: a filter sees those of its node's, and the client gets the response of `DEFAULT`.
pub struct Context {
    exchange: Exchange,
    /// The active namespace's response. When the flow ends, the client gets that of `DEFAULT`; without one it gets a 503.
    pub response: Option<Response>,
    /// States of filters on this thread.
    pub local: Rc<Locals>,
    /// Made when a flow first leaves `DEFAULT`.
    namespaces: Option<Box<Namespaces>>,
    data: BTreeMap<Box<str>, Arc<Value>>,
    tags: Option<Box<Tags>>,
    sends: usize,
    traced: Option<Traced>,
}

/// The request's trace, and the filter that runs.
struct Traced {
    span: Rc<dyn TraceSpan>,
    filter: Arc<str>,
}

impl Context {
    pub fn new(exchange: Exchange, local: Rc<Locals>) -> Self {
        Self {
            exchange,
            response: None,
            local,
            namespaces: None,
            data: BTreeMap::new(),
            tags: None,
            sends: 1,
            traced: None,
        }
    }

    /// The active namespace's request. Namespaces share that of the client: a change is seen by all.
    pub fn request(&self) -> &RequestHead {
        self.exchange.head()
    }

    pub fn request_mut(&mut self) -> &mut RequestHead {
        self.exchange.head_mut()
    }

    /// The request with its body and the client behind it.
    pub fn exchange(&mut self) -> &mut Exchange {
        &mut self.exchange
    }

    /// Address of the client's connection.
    pub fn peer(&self) -> Option<IpAddr> {
        self.exchange.peer().map(|peer| peer.ip().to_canonical())
    }

    /// Answers with `status` and no body, over headers that filters have set already.
    pub fn reject(&mut self, status: u16) -> &mut Headers {
        let headers = self.response.take().map(|response| response.headers).unwrap_or_default();
        let mut rejected = Response::new(status);
        rejected.headers = headers;
        &mut self.response.insert(rejected).headers
    }

    /// Name of the active namespace.
    pub fn namespace(&self) -> &str {
        self.namespaces.as_ref().map_or(crate::DEFAULT, |namespaces| namespaces.active())
    }

    /// Makes `namespace` the active one.
    pub(crate) fn enter(&mut self, namespace: &str) {
        if self.namespaces.is_some() || namespace != crate::DEFAULT {
            self.namespaces.get_or_insert_default().enter(namespace, &mut self.response);
        }
    }

    /// Whether the active namespace has a request. `DEFAULT` always has the client's.
    pub fn has_request(&self) -> bool {
        self.namespaces.as_ref().is_none_or(|namespaces| namespaces.has_request())
    }

    /// Gives the active namespace the request of `source`. Whether that has one.
    pub fn share_request(&mut self, source: &str) -> bool {
        match &mut self.namespaces {
            Some(namespaces) => namespaces.share_request(source),
            None => source == crate::DEFAULT,
        }
    }

    /// Gives the active namespace the response of `source`: from now on it is one and the same. Whether there is one.
    pub fn share_response(&mut self, source: &str) -> bool {
        match &mut self.namespaces {
            Some(namespaces) => namespaces.share_response(source, &mut self.response),
            None => source == crate::DEFAULT && self.response.is_some(),
        }
    }

    /// What stands under `key`; under `PIPELINE` the `data` of the pipeline that runs.
    pub fn data(&self, key: &str) -> Option<&Value> {
        self.data.get(key).map(|value| &**value)
    }

    /// Keeps `value` for the filters that follow; what it takes is for the caller to lease.
    pub fn set_data(&mut self, key: &str, value: Arc<Value>) {
        self.data.insert(key.into(), value);
    }

    pub fn remove_data(&mut self, key: &str) {
        self.data.remove(key);
    }

    /// How often the pipelines of this request may send its body on: one that leaves more than once must be read whole.
    pub const fn sends(&self) -> usize {
        self.sends
    }

    pub const fn set_sends(&mut self, sends: usize) {
        self.sends = sends;
    }

    /// Has calls to servers traced below `span`.
    pub fn set_span(&mut self, span: Rc<dyn TraceSpan>) {
        self.traced = Some(Traced { span, filter: "".into() });
    }

    /// The span that calls are traced below, and the name of the filter that runs; `None` where the request is not traced.
    pub fn span(&self) -> Option<(Rc<dyn TraceSpan>, &str)> {
        self.traced.as_ref().map(|traced| (Rc::clone(&traced.span), &*traced.filter))
    }

    pub(crate) fn begin_filter(&mut self, name: &Arc<str>) {
        if let Some(traced) = &mut self.traced {
            traced.filter = Arc::clone(name);
        }
    }

    /// Has filters and their times written down, for the access log.
    pub fn record_tags(&mut self) {
        self.tags.get_or_insert_default();
    }

    /// Adds a remark to the line of the access log, where tags are recorded.
    pub fn tag(&mut self, text: &str) {
        if let Some(tags) = &mut self.tags {
            tags.begin(text);
        }
    }

    pub(crate) const fn records_tags(&self) -> bool {
        self.tags.is_some()
    }

    pub(crate) fn tag_step(&mut self, first: bool, node: &str, result: &str, took: Duration) {
        if let Some(tags) = &mut self.tags {
            tags.step(first, node, result, took);
        }
    }

    /// The recorded tags; empty where none were.
    pub fn take_tags(&mut self) -> String {
        self.tags.take().map(|tags| tags.into_text()).unwrap_or_default()
    }

    /// The exchange, and what the client gets.
    pub fn into_parts(mut self) -> (Exchange, Option<Response>) {
        self.enter(crate::DEFAULT);
        (self.exchange, self.response)
    }
}
