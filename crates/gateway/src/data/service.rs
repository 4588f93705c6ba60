//! A server on one I/O thread: from a request's head to its answer.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, Cache};
use tidegate_base::clock;
use tidegate_http::{
    h1::{Exchange, Service, Shared},
    message::{BodyError, Known, RequestHead, Response},
};
use tidegate_pipeline::{Context, Locals};

use super::server::{Routes, Server, Target};
use crate::router::{Found, decode, encode};

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
    current: RefCell<Current>,
}

/// A state as one thread holds it.
pub(crate) struct Held {
    pub(crate) routes: Arc<Routes>,
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
        let held = Rc::new(Held { routes: Arc::clone(cache.load()) });
        let shared = Shared::new(held.routes.settings.connection, server.budget.clone());
        server.add_stats(shared.stats());
        let current = RefCell::new(Current { cache, held, shared: vec![shared] });
        Rc::new(Self { server, locals: LOCALS.with(Rc::clone), current })
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
            *held = Rc::new(Held { routes: Arc::clone(newest) });
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
    async fn handle(&self, mut exchange: Exchange) -> Exchange {
        let held = self.held();
        let routes = &*held.routes;
        let (number, exact) = match route(routes, exchange.head()) {
            Ok(found) => found,
            Err(status) => return answer(exchange, Response::new(status)).await,
        };
        let (Some(target), Some(pipeline)) = (routes.targets.get(number), routes.pipelines.get(number)) else {
            return answer(exchange, Response::new(404)).await;
        };
        let Some(pipeline) = pipeline else { return answer(exchange, Response::new(503)).await };
        if let Err(BodyError::TooLarge) = exchange.limit_body(target.body_bytes_max) {
            return answer(exchange, Response::new(413)).await;
        }
        prepare(&mut exchange, target, exact, routes.settings.forwarded_for);
        let mut cx = Context::new(exchange, Rc::clone(&self.locals));
        pipeline.run(&mut cx).await;
        let (exchange, response) = cx.into_parts();
        answer(exchange, response.unwrap_or_else(|| Response::new(503))).await
    }
}

async fn answer(mut exchange: Exchange, response: Response) -> Exchange {
    // A client that went away needs no answer.
    exchange.respond(response).await.ok();
    exchange
}

fn route(routes: &Routes, head: &RequestHead) -> Result<(usize, bool), u16> {
    match routes.router.find(head.host(), &decode(head.path()), head.method) {
        Found::Route { path, exact } => Ok((path, exact)),
        Found::OtherMethods => Err(405),
        Found::Nothing => Err(404),
    }
}

/// Rewrites what the route says.
fn prepare(exchange: &mut Exchange, target: &Target, exact: bool, forwarded_for: bool) {
    if !target.rewrite.is_empty() {
        let decoded = decode(exchange.head().path());
        let rest = if exact { &[][..] } else { decoded.get(target.prefix.len()..).unwrap_or_default() };
        let path = encode(&[target.rewrite.as_bytes(), rest].concat());
        exchange.head_mut().set_path(&path);
    }
    if forwarded_for && exchange.peer().is_some() {
        let ip = exchange.peer_text().to_owned();
        let headers = &mut exchange.head_mut().headers;
        match headers.text(Known::XForwardedFor) {
            Some(list) if list.contains(&ip) => {}
            Some(list) => {
                let list = format!("{list},{ip}");
                headers.set_known(Known::XForwardedFor, list.as_bytes());
            }
            // None, or one that is no text.
            None => headers.set_known(Known::XForwardedFor, ip.as_bytes()),
        }
    }
}
