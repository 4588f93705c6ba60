//! A server on one I/O thread: from a request's head to its answer.

use std::{
    cell::{OnceCell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use arc_swap::{ArcSwap, Cache};
use tidegate_base::{Budget, clock};
use tidegate_http::{
    h1::{Exchange, Service, Shared},
    message::{BodyError, Headers, Known, Response},
};
use tidegate_pipeline::{
    Context, Locals, regexp,
    stats::{Sample, Traffic},
};
use tidegate_telemetry::{Incoming, RequestSpan, Tracer};

use super::{
    access::Entry,
    address::real_ip,
    conditions::Asked,
    server::{Routes, Server, Target},
    stats::{Own, PathText},
    variables::{Source, Template},
};
use crate::router::{Captures, Found, decode, encode};

thread_local! {
    static LOCALS: Rc<Locals> = Rc::default();
}

/// Sweeps what filters keep on this thread, once a second, for the life of the thread.
pub(crate) async fn sweep() {
    let locals = LOCALS.with(Rc::clone);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        locals.sweep(clock::now());
    }
}

/// One server on one thread.
pub(crate) struct Worker {
    pub(crate) server: Arc<Server>,
    locals: Rc<Locals>,
    own: Own,
    current: RefCell<Current>,
}

/// A state as one thread holds it.
pub(crate) struct Held {
    pub(crate) routes: Arc<Routes>,
    /// What this thread counts of each backend.
    backends: OnceCell<Box<[OnceCell<Arc<Traffic>>]>>,
}

impl Held {
    fn new(routes: &Arc<Routes>) -> Rc<Self> {
        Rc::new(Self { routes: Arc::clone(routes), backends: OnceCell::new() })
    }

    fn backend(&self, number: usize, budget: &Budget) -> Option<&Arc<Traffic>> {
        let all = &self.routes.counted;
        let own = self.backends.get_or_init(|| all.iter().map(|_| OnceCell::new()).collect());
        all.get(number)?.own(own.get(number)?, budget)
    }
}

/// The newest state this thread has seen. Requests share it by a count that no other thread touches.
struct Current {
    cache: Cache<Arc<ArcSwap<Routes>>, Arc<Routes>>,
    held: Rc<Held>,
    /// What connections of these settings share, and those of earlier ones that still have connections.
    shared: Vec<Rc<Shared>>,
}

impl Worker {
    pub(crate) fn new(server: Arc<Server>) -> Rc<Self> {
        let mut cache = Cache::new(Arc::clone(&server.routes));
        let held = Held::new(cache.load());
        let shared = Shared::new(held.routes.settings.connection, server.budget.clone());
        server.add_stats(shared.stats());
        let current = RefCell::new(Current { cache, held, shared: vec![shared] });
        Rc::new(Self { server, locals: LOCALS.with(Rc::clone), own: Own::default(), current })
    }

    /// The newest state, and what new connections share.
    pub(crate) fn current(&self) -> (Rc<Held>, Rc<Shared>) {
        let held = self.held();
        let settings = &held.routes.settings;
        let mut current = self.current.borrow_mut();
        let newest = current.shared.last().map(|shared| *shared.config());
        let shared = match current.shared.last() {
            Some(shared) if newest == Some(settings.connection) => Rc::clone(shared),
            _ => {
                current.shared.retain(|shared| Rc::strong_count(shared) > 1);
                let shared = Shared::new(settings.connection, self.server.budget.clone());
                self.server.add_stats(shared.stats());
                current.shared.push(Rc::clone(&shared));
                shared
            }
        };
        drop(current);
        (held, shared)
    }

    fn held(&self) -> Rc<Held> {
        let mut current = self.current.borrow_mut();
        let Current { cache, held, .. } = &mut *current;
        let newest = cache.load();
        if !Arc::ptr_eq(newest, &held.routes) {
            *held = Held::new(newest);
        }
        Rc::clone(held)
    }

    /// Ends idle connections now and the others after their request.
    pub(crate) fn drain(&self) {
        for shared in &self.current.borrow().shared {
            shared.drain();
        }
    }
}

impl Service for Worker {
    async fn handle(&self, exchange: Exchange) -> Exchange {
        let start = clock::now();
        let held = self.held();
        let path = PathText::new(exchange.head().path());
        let mut entry = held.routes.access.as_ref().map(|access| access.begin(&exchange, &self.server.budget));
        let span = held.routes.tracer.as_ref().map(|tracer| begin(tracer, &exchange));
        let (mut exchange, response, backend) =
            self.answer(&held.routes, exchange, entry.as_deref_mut(), span.as_ref()).await;
        if let Some(entry) = &mut entry {
            entry.answered(&response);
        }
        let status = response.status;
        // A client that went away needs no answer.
        exchange.respond(response).await.ok();
        if let Some(span) = span {
            span.end(status);
        }
        let now = clock::now();
        let took = now.saturating_duration_since(start);
        if let Some(entry) = entry {
            entry.finish(&exchange, took);
        }
        // How long a WebSocket lived says nothing of how fast the server answers.
        let took = if status == 101 { Duration::ZERO } else { took };
        let sample = Sample { status, took, received: exchange.received_bytes(), sent: exchange.sent_bytes() };
        let Server { counted, budget, .. } = &*self.server;
        self.own.record(counted, budget, path.text(), now, &sample);
        if let Some(backend) = backend.and_then(|number| held.backend(number, budget)) {
            backend.record(&sample);
        }
        exchange
    }
}

impl Worker {
    /// Gives the answer, and the number of the backend that was asked for it.
    async fn answer(
        &self,
        routes: &Routes,
        mut exchange: Exchange,
        entry: Option<&mut Entry<'_>>,
        span: Option<&Rc<RequestSpan>>,
    ) -> (Exchange, Response, Option<usize>) {
        if let Some(response) = self.server.book.answer(exchange.head()) {
            return (exchange, response, None);
        }
        let (number, change) = match choose(routes, &exchange) {
            Ok(chosen) => chosen,
            Err(status) => return (exchange, Response::new(status), None),
        };
        let backend = routes.targets.get(number).map(|target| target.number);
        let (Some(target), Some(Some(pipeline))) = (routes.targets.get(number), routes.pipelines.get(number)) else {
            return (exchange, Response::new(503), backend);
        };
        if let Err(BodyError::TooLarge) = exchange.limit_body(target.body_bytes_max) {
            return (exchange, Response::new(413), backend);
        }
        if let Some(change) = change {
            change.make(&mut exchange);
        }
        let mut cx = Context::new(exchange, Rc::clone(&self.locals));
        if let Some(span) = span {
            cx.set_span(Rc::<RequestSpan>::clone(span));
        }
        if entry.as_ref().is_some_and(|entry| entry.wants_tags()) {
            cx.record_tags();
        }
        match &routes.global {
            None => {
                cx.set_sends(pipeline.sends());
                pipeline.run(&mut cx).await;
            }
            Some(global) => {
                cx.set_sends(pipeline.sends() + global.sends());
                // Boxed, so that a request without one does not hold the room of its futures.
                Box::pin(global.run(pipeline, &mut cx)).await;
            }
        }
        if let Some(entry) = entry {
            entry.set_tags(cx.take_tags());
        }
        let (exchange, response) = cx.into_parts();
        (exchange, response.unwrap_or_else(|| Response::new(503)), backend)
    }
}

/// Begins the span of a request.
fn begin(tracer: &Tracer, exchange: &Exchange) -> Rc<RequestSpan> {
    let (head, peer) = (exchange.head(), exchange.peer());
    let client = real_ip(&head.headers, peer.map(|peer| peer.ip().to_canonical()));
    tracer.begin(&Incoming { head, client, peer, secure: exchange.tls().is_some() })
}

/// The number of the path that a request takes and what changes on the way, or the status that refuses it.
fn choose(routes: &Routes, exchange: &Exchange) -> Result<(usize, Option<Change>), u16> {
    let (head, settings) = (exchange.head(), &routes.settings);
    let known = OnceCell::new();
    let peer = || exchange.peer().map(|peer| peer.ip().to_canonical());
    let client = || *known.get_or_init(|| real_ip(&head.headers, peer()));
    if settings.ip_filter.as_ref().is_some_and(|filter| !filter.allows(client())) {
        return Err(403);
    }
    let path = decode(head.path());
    let mut asked = Asked { all: &routes.conditions, head, client: &client };
    let (number, how, captures) = match routes.router.find(head.host(), &path, head.method, &mut asked) {
        Found::Route { path, how, captures } => (path, how, captures),
        Found::Nothing(misses) => return Err(misses.status()),
    };
    let Some(target) = routes.targets.get(number) else { return Err(404) };
    if target.rewrite.is_none() && target.set_headers.is_empty() && !settings.forwarded_for {
        return Ok((number, None));
    }
    let mut change = Change::default();
    if !target.set_headers.is_empty() {
        let captures = values(target, &path, &captures);
        let source = Source { exchange, client: client(), path: &path, captures: &captures, wall: clock::wall() };
        let fill = |(name, template): &(String, Template)| (name.clone(), template.fill(&source));
        change.headers = target.set_headers.iter().map(fill).collect();
    }
    if let Some(rewrite) = &target.rewrite {
        change.path = Some(encode(&rewrite.apply(&path, how, &captures).ok_or(414u16)?));
    }
    // Nobody whose address is not known is named.
    change.forwarded_for = if settings.forwarded_for { client() } else { None };
    Ok((number, Some(change)))
}

/// What the placeholders of the path, or the groups of its expression, stand for.
fn values(target: &Target, path: &[u8], captures: &Captures) -> Vec<Vec<u8>> {
    let text = regexp::Text::new(path);
    match target.groups.as_ref().and_then(|regexp| regexp.captures(&text)) {
        Some(groups) => {
            groups.iter().map(|group| group.map(|group| group.as_bytes().to_vec()).unwrap_or_default()).collect()
        }
        None => captures.iter().map(|(start, end)| path.get(*start..*end).unwrap_or_default().to_vec()).collect(),
    }
}

/// What changes of a request before its pipeline sees it.
#[derive(Default)]
struct Change {
    headers: Vec<(String, Vec<u8>)>,
    path: Option<Vec<u8>>,
    forwarded_for: Option<IpAddr>,
}

impl Change {
    fn make(self, exchange: &mut Exchange) {
        let head = exchange.head_mut();
        for (name, value) in &self.headers {
            if value.is_empty() {
                head.headers.remove(name);
            } else {
                head.headers.set(name, value);
            }
        }
        if let Some(path) = self.path {
            head.set_path(&path);
        }
        if let Some(address) = self.forwarded_for {
            forwarded_for(&mut head.headers, address);
        }
    }
}

/// Adds the client to the list of those whom the request came through, unless it is in it.
fn forwarded_for(headers: &mut Headers, address: IpAddr) {
    let address = address.to_string();
    match headers.text(Known::XForwardedFor) {
        Some(list) if list.split(',').any(|member| member.trim() == address) => {}
        Some(list) if !list.is_empty() => {
            let list = format!("{list},{address}");
            headers.set_known(Known::XForwardedFor, list.as_bytes());
        }
        // None, or one that is no text.
        _ => headers.set_known(Known::XForwardedFor, address.as_bytes()),
    }
}
