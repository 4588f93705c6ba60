//! What this member knows of certificates and tokens, as the store tells it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_base::{Budget, Holder, Lease, Moment};
use tidegate_http::{
    message::{RequestHead, Response},
    tls::{Identity, Lookup},
};
use tidegate_pipeline::Follower;
use tokio::sync::watch;

use super::{
    CHALLENGE_PATH, Settings,
    rows::{self, Certificate, PATH_BYTES_MAX, Row, TOKEN_BYTES_MAX},
    schedule::Life,
    view::{Held, Token, View},
};

/// What a certificate with its key takes beside its text.
const IDENTITY_BYTES: u64 = 8 << 10;
/// What a token takes beside its texts.
const TOKEN_BYTES: u64 = 128;
/// Tokens of a name: one an order, and those that were not cleared away.
const TOKENS_MAX: usize = 8;
/// Longest text of an error that is kept.
const ERROR_BYTES_MAX: usize = 256;

/// Certificates and tokens of the names of the AutoCertManager. Readers wait for nobody.
pub(crate) struct Book {
    budget: Budget,
    view: ArcSwap<View>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// Raised with every feed: what an earlier one still tells is not for this one.
    generation: u64,
    /// What the store has not told of again since it was listed anew.
    unseen: BTreeSet<String>,
    /// Whether the feed has told of everything.
    synced: bool,
    /// Whether something found no memory.
    short: bool,
}

/// Who is asked in handshakes. Made once, so that the settings of servers can be compared.
pub(crate) struct Lookups {
    pub(crate) found: Lookup,
    pub(crate) challenges: Lookup,
}

/// Hands on what the store tells. Whoever drops it hears no more.
pub(super) struct Feed {
    book: Arc<Book>,
    generation: u64,
}

/// Where the book stands as to what it has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Not all of it.
    Partly,
    /// All, but for what found no memory.
    Short,
    Whole,
}

impl Book {
    pub(crate) fn new(budget: Budget) -> Arc<Self> {
        let changed = watch::Sender::new(());
        Arc::new(Self { budget, view: ArcSwap::default(), state: Mutex::default(), changed })
    }

    pub(crate) fn lookups(self: &Arc<Self>) -> Lookups {
        let (found, challenges) = (Arc::clone(self), Arc::clone(self));
        Lookups {
            found: Lookup::new(move |name| found.certificate(name)),
            challenges: Lookup::new(move |name| challenges.challenge(name)),
        }
    }

    /// Forgets what is of names that the settings do not have; with `None` everything.
    pub(super) fn set(&self, settings: Option<Arc<Settings>>) {
        let mut state = self.state();
        *state = State { generation: state.generation + 1, ..State::default() };
        let mut view = View::clone(&self.view.load());
        let has = |name: &String| settings.as_ref().is_some_and(|settings| settings.has(name));
        view.certs.retain(|name, _| has(name));
        view.challenges.retain(|name, _| has(name));
        view.tokens.retain(|name, _| has(name));
        view.errors.clear();
        view.settings = settings;
        self.show(view);
    }

    /// Begins to be told anew. What is known stays until all has been told.
    pub(super) fn feed(self: &Arc<Self>) -> Arc<Feed> {
        let mut state = self.state();
        let generation = state.generation + 1;
        *state = State { generation, ..State::default() };
        Arc::new(Feed { book: Arc::clone(self), generation })
    }

    pub(super) fn told(&self) -> Told {
        match *self.state() {
            State { synced: false, .. } => Told::Partly,
            State { short: true, .. } => Told::Short,
            _ => Told::Whole,
        }
    }

    /// Wakes after every change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn life(&self, domain: &str) -> Option<Life> {
        self.view.load().certs.get(domain).map(|held| held.life)
    }

    /// Notes why the last order of a name has failed; `None`: it has not.
    pub(super) fn note(&self, domain: &str, error: Option<&str>) {
        let _state = self.state();
        let mut view = View::clone(&self.view.load());
        match error {
            Some(error) => {
                let short = error.get(..error.floor_char_boundary(ERROR_BYTES_MAX)).unwrap_or(error);
                view.errors.insert(domain.to_owned(), short.into());
            }
            None => drop(view.errors.remove(domain)),
        }
        self.show(view);
    }

    pub(super) fn certificate(&self, name: &str) -> Option<Identity> {
        self.view.load().certs.get(name).map(|held| held.identity.clone())
    }

    pub(super) fn challenge(&self, name: &str) -> Option<Identity> {
        let view = self.view.load();
        let enabled = view.settings.as_ref().is_some_and(|settings| settings.tls_alpn01);
        view.challenges.get(name).filter(|_| enabled).map(|held| held.identity.clone())
    }

    pub(super) fn token(&self, domain: &str, path: &str) -> Option<Bytes> {
        self.view.load().tokens.get(domain)?.get(path).map(|token| token.text.clone())
    }

    /// The answer to a request below [`CHALLENGE_PATH`]; `None` for another.
    pub(crate) fn answer(&self, head: &RequestHead) -> Option<Response> {
        if !head.path().starts_with(CHALLENGE_PATH.as_bytes()) {
            return None;
        }
        let view = self.view.load();
        let Some(settings) = &view.settings else { return Some(Response::new(503)) };
        let token = || {
            let (host, path) = (std::str::from_utf8(head.host()).ok()?, std::str::from_utf8(head.path()).ok()?);
            self.token(&host.trim_end_matches('.').to_ascii_lowercase(), path)
        };
        let token = settings.http01.then(token).flatten();
        Some(token.map_or_else(|| Response::new(404), |token| Response::text(200, token)))
    }

    /// Name of the object, and its status as the reference has it; `error` is ours, and there only after a failure.
    pub(crate) fn status(&self, name: &str) -> Option<Value> {
        let view = self.view.load();
        let settings = view.settings.as_ref().filter(|settings| settings.name == name)?;
        let domain = |domain: &String| {
            let until = view.certs.get(domain).map(|held| Moment::new(held.life.until).date_time());
            // Where there is none: the zero of Go.
            let until = until.unwrap_or_else(|| "0001-01-01T00:00:00".to_owned());
            let mut told = json!({"name": domain, "expireTime": until + "Z"});
            if let Some(error) = view.errors.get(domain) {
                told["error"] = (&**error).into();
            }
            told
        };
        Some(settings.domains.iter().map(domain).collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only ever under the lock of the state, so that no change is lost.
    fn show(&self, view: View) {
        self.view.store(Arc::new(view));
        self.changed.send_replace(());
    }

    fn pay(&self, state: &mut State, key: &str, bytes: u64) -> Option<Lease> {
        let lease = self.budget.try_lease(Holder::Gateway, bytes);
        if lease.is_none() {
            state.short = true;
            tracing::warn!(key, "no memory is free for what the store has of it: it is tried again");
        }
        lease
    }

    /// Takes a row into `view`.
    fn take(&self, state: &mut State, view: &mut View, key: &str, text: Bytes) {
        let Some(settings) = view.settings.clone() else { return };
        let refused = |why: String| tracing::warn!(key, why, "what the store has cannot be used");
        match Row::of(key) {
            Some(Row::Cert(domain)) if settings.has(domain) => match Certificate::read(domain, &text) {
                Ok(Certificate { identity, life }) => {
                    let Some(lease) = self.pay(state, key, text.len() as u64 + IDENTITY_BYTES) else { return };
                    view.certs.insert(domain.to_owned(), Arc::new(Held { identity, life, _lease: lease }));
                }
                Err(error) => refused(error.to_string()),
            },
            Some(Row::Challenge(domain)) if settings.has(domain) => match rows::challenge(domain, &text) {
                Ok(Certificate { identity, life }) => {
                    let Some(lease) = self.pay(state, key, text.len() as u64 + IDENTITY_BYTES) else { return };
                    view.challenges.insert(domain.to_owned(), Arc::new(Held { identity, life, _lease: lease }));
                }
                Err(error) => refused(error.to_string()),
            },
            Some(Row::Token { domain, path }) if settings.has(domain) => {
                let tokens = view.tokens.entry(domain.to_owned()).or_default();
                if text.len() > TOKEN_BYTES_MAX || path.len() > PATH_BYTES_MAX {
                    return refused("it is too long".to_owned());
                }
                if tokens.len() >= TOKENS_MAX && !tokens.contains_key(path) {
                    return refused(format!("the name has {TOKENS_MAX} tokens already"));
                }
                let bytes = (text.len() + path.len() + domain.len()) as u64 + TOKEN_BYTES;
                let Some(lease) = self.pay(state, key, bytes) else { return };
                tokens.insert(path.to_owned(), Arc::new(Token { text, _lease: lease }));
            }
            _ => {}
        }
    }
}

impl Feed {
    fn change(&self, change: impl FnOnce(&Book, &mut State, &mut View)) {
        let mut state = self.book.state();
        if state.generation == self.generation {
            let mut view = View::clone(&self.book.view.load());
            change(&self.book, &mut state, &mut view);
            self.book.show(view);
        }
    }
}

impl Follower for Feed {
    fn reset(&self) {
        self.change(|_, state, view| {
            (state.synced, state.short, state.unseen) = (false, false, view.keys());
        });
    }

    fn put(&self, key: &str, value: Bytes) {
        self.change(|book, state, view| {
            state.unseen.remove(key);
            book.take(state, view, key, value);
        });
    }

    fn delete(&self, key: &str) {
        self.change(|_, state, view| {
            state.unseen.remove(key);
            view.remove(key);
        });
    }

    fn synced(&self) {
        self.change(|_, state, view| {
            state.unseen.iter().for_each(|key| view.remove(key));
            (state.synced, state.unseen) = (true, BTreeSet::new());
        });
    }
}
