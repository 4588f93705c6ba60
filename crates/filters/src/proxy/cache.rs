//! Answers kept in memory, so that a server is not asked again for what it said a moment ago.
//!
//! Shared by the node's threads, one for each pool. Bounded in bytes: what was used longest ago makes room.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_base::{Budget, Holder, Lease, clock};
use tidegate_http::message::{Body, BodyError, Headers, Known, Length, Method, Pieces, RequestHead, Response};
use tidegate_pipeline::{GoDuration, Problems};

/// Most bytes of all answers of a pool.
const BYTES_MAX: u64 = 4 << 20;
/// Most bytes of one answer's body, whatever the settings say: no answer drives all others out.
const ENTRY_BYTES_MAX: u64 = BYTES_MAX / 4;
/// Statuses that answer a condition, a part or an upgrade: what they say is not for the next who asks.
const NEVER_KEPT: [u16; 5] = [101, 206, 304, 412, 416];
/// What an answer takes beside its key, headers and body.
const ENTRY_BYTES: usize = 512;
/// Longest key that is kept.
const KEY_BYTES_MAX: usize = 4 << 10;

/// Settings of a pool's cache.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CacheConfig {
    /// How long an answer is kept.
    expiration: GoDuration,
    /// Most bytes of one answer's body; 1 MiB where it is more.
    max_entry_bytes: u32,
    /// Statuses that are kept; 101, 206, 304, 412 and 416 cannot be.
    codes: Vec<u16>,
    /// Methods whose answers are kept.
    methods: Vec<String>,
}

pub(super) struct Cache {
    lifetime: Duration,
    entry_bytes_max: u64,
    codes: Vec<u16>,
    methods: Vec<Method>,
    budget: Budget,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    all: BTreeMap<Arc<[u8]>, Entry>,
    /// Keys by their last use: the first was used longest ago.
    order: BTreeMap<u64, Arc<[u8]>>,
    bytes: u64,
    /// Counts uses.
    uses: u64,
}

struct Entry {
    status: u16,
    headers: Headers,
    body: Bytes,
    until: Instant,
    used: u64,
    /// It says itself that it is for everybody.
    shared: bool,
    lease: Lease,
}

/// What an answer to this request would be kept under.
pub(super) struct Ticket {
    key: Vec<u8>,
    read: bool,
    store: bool,
    /// The request has cookies: only what is for everybody is kept of it, or given to it.
    cookie: bool,
}

impl CacheConfig {
    pub(super) fn build(self, at: &str, budget: &Budget, problems: &mut Problems) -> Arc<Cache> {
        problems.require(!self.expiration.0.is_zero(), format!("{at}.expiration"), "must be longer than zero");
        problems.require(self.max_entry_bytes > 0, format!("{at}.maxEntryBytes"), "must be 1 or more");
        problems.require(!self.codes.is_empty(), format!("{at}.codes"), "must have at least one");
        problems.require(!self.methods.is_empty(), format!("{at}.methods"), "must have at least one");
        for (index, code) in self.codes.iter().enumerate() {
            let good = (100..=599).contains(code);
            problems.require(good, format!("{at}.codes[{index}]"), "must be 100 to 599");
            let kept = !NEVER_KEPT.contains(code);
            problems.require(kept, format!("{at}.codes[{index}]"), "is no status that can be kept");
        }
        let methods: Vec<Method> = self.methods.iter().map(|method| Method::of(method.as_bytes())).collect();
        for (index, method) in methods.iter().enumerate() {
            let good = *method != Method::Other;
            problems.require(
                good,
                format!("{at}.methods[{index}]"),
                "must be one of the standard methods, in upper case",
            );
        }
        Arc::new(Cache {
            lifetime: self.expiration.0,
            entry_bytes_max: ENTRY_BYTES_MAX.min(self.max_entry_bytes.into()),
            codes: self.codes,
            methods,
            budget: budget.clone(),
            entries: Mutex::default(),
        })
    }
}

impl Cache {
    /// `None`: nothing is kept of such a request. One with a body, with credentials or with a condition, and one for a part of
    /// something.
    pub(super) fn ticket(&self, head: &RequestHead, secure: bool, body: Length) -> Option<Ticket> {
        let own = [Known::Authorization, Known::Range].into_iter().any(|name| head.headers.get(name).is_some());
        let condition = |name: &[u8]| name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"If-"));
        let own = own || head.headers.iter().any(|(name, _)| condition(name));
        if own || body != Length::Known(0) || !self.methods.contains(&head.method) {
            return None;
        }
        let coding = head.headers.get(Known::AcceptEncoding).unwrap_or_default();
        let host = head.authority().to_ascii_lowercase();
        let scheme = if secure { "https" } else { "http" };
        let key = [head.method_text(), scheme.as_bytes(), &host, head.path(), head.query(), coding].join(&b"\n"[..]);
        let no_cache = says(&head.headers, &["no-cache"]);
        let store = !no_cache && !says(&head.headers, &["no-store"]);
        let cookie = head.headers.get(Known::Cookie).is_some();
        (key.len() <= KEY_BYTES_MAX).then_some(Ticket { key, read: !no_cache, store, cookie })
    }

    /// An answer that is still good.
    pub(super) fn find(&self, ticket: &Ticket) -> Option<Response> {
        if !ticket.read {
            return None;
        }
        let now = clock::now();
        let mut entries = self.lock();
        let entry = entries.all.get(&ticket.key[..])?;
        if entry.until <= now {
            entries.remove(&ticket.key);
            return None;
        }
        if ticket.cookie && !entry.shared {
            return None;
        }
        // The entry may go before the client has taken all of it.
        let lease = self.budget.try_lease(Holder::Gateway, entry.body.len() as u64)?;
        let entry = entries.use_now(&ticket.key)?;
        let mut response = Response::new(entry.status);
        response.headers = entry.headers.clone();
        if !entry.body.is_empty() {
            response.body = Body::Leased(entry.body.clone(), lease);
        }
        Some(response)
    }

    /// Keeps the answer if it is one to be kept: at once where its length is known, else as it goes by.
    ///
    /// # Errors
    /// The server's answer breaks off.
    pub(super) async fn keep(self: &Arc<Self>, ticket: Ticket, mut answer: Response) -> Result<Response, BodyError> {
        let length = answer.body.length();
        let fits = !matches!(length, Length::Known(bytes) if bytes > self.entry_bytes_max);
        let shared = is_shared(&answer.headers);
        let own = ticket.cookie && !shared;
        if !ticket.store || own || !fits || !self.codes.contains(&answer.status) || !may_keep(&answer.headers) {
            return Ok(answer);
        }
        // Asked for first: a body in pieces has no length any more, and without room the answer goes on as it is.
        let held = match length {
            Length::Known(bytes) => self.budget.try_lease(Holder::Gateway, bytes).map(|lease| Some((bytes, lease))),
            Length::Unknown => Some(None),
        };
        let Some(held) = held else { return Ok(answer) };
        let taken = std::mem::take(&mut answer.body).into_pieces(&self.budget, Holder::Gateway);
        let pieces = match taken {
            Ok(pieces) => pieces,
            Err(body) => {
                answer.body = body;
                return Ok(answer);
            }
        };
        let (headers, lease) = (answer.headers.clone(), self.budget.empty(Holder::Gateway));
        let (cache, status) = (Arc::clone(self), answer.status);
        let kept = Kept { cache, key: ticket.key, status, headers, shared, body: Vec::new(), lease };
        let mut tee = Tee { pieces, kept: Some(kept) };
        let Some((bytes, lease)) = held else {
            answer.body = Body::chunks(tee);
            return Ok(answer);
        };
        let mut body = Vec::with_capacity(usize::try_from(bytes).map_err(|_| BodyError::TooLarge)?);
        while let Some(piece) = tee.next().await {
            body.extend_from_slice(&piece?);
        }
        if !body.is_empty() {
            answer.body = Body::Leased(body.into(), lease);
        }
        Ok(answer)
    }

    fn insert(&self, kept: Kept) {
        let Kept { key, status, headers, shared, body, mut lease, .. } = kept;
        // Its own copy, of the size that it has.
        let body = Bytes::from(body.into_boxed_slice());
        let bytes = (key.len() + headers.allocated() + body.len() + ENTRY_BYTES) as u64;
        if bytes > BYTES_MAX {
            return;
        }
        let mut entries = self.lock();
        entries.remove(&key);
        while entries.bytes + bytes > BYTES_MAX || !grow_to(&mut lease, bytes) {
            if !entries.remove_oldest() {
                return;
            }
        }
        lease.shrink_to(bytes);
        entries.uses += 1;
        entries.bytes += bytes;
        let (until, used) = (clock::now() + self.lifetime, entries.uses);
        let key: Arc<[u8]> = key.into();
        entries.order.insert(used, Arc::clone(&key));
        entries.all.insert(key, Entry { status, headers, body, until, used, shared, lease });
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn grow_to(lease: &mut Lease, bytes: u64) -> bool {
    bytes <= lease.bytes() || lease.try_grow(bytes - lease.bytes())
}

impl Entries {
    fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.all.remove(key) {
            self.order.remove(&entry.used);
            self.bytes -= entry.lease.bytes();
        }
    }

    fn remove_oldest(&mut self) -> bool {
        let oldest = self.order.pop_first().map(|(_, key)| key);
        oldest.is_some_and(|key| {
            self.remove(&key);
            true
        })
    }

    /// The entry, which is now the one used last.
    fn use_now(&mut self, key: &[u8]) -> Option<&Entry> {
        let entry = self.all.get_mut(key)?;
        self.uses += 1;
        let key = self.order.remove(&entry.used)?;
        entry.used = self.uses;
        self.order.insert(self.uses, key);
        Some(entry)
    }
}

/// Whether `Cache-Control` has one of these words.
fn says(headers: &Headers, words: &[&str]) -> bool {
    let lines = headers.all(Known::CacheControl).flat_map(|line| line.split(|byte| *byte == b','));
    lines
        .map(|word| word.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii())
        .any(|word| words.iter().any(|wanted| word.eq_ignore_ascii_case(wanted.as_bytes())))
}

/// Whether an answer says that it is for everybody, whatever cookies came with the request.
fn is_shared(headers: &Headers) -> bool {
    says(headers, &["public", "s-maxage"])
}

/// Whether others may have this answer, too.
fn may_keep(headers: &Headers) -> bool {
    let origin = headers.all(Known::AcaOrigin).all(|origin| origin == b"*");
    // The coding that was asked for is part of the key; what else an answer depends on is not.
    let vary = headers.all(Known::Vary).flat_map(|line| line.split(|byte| *byte == b','));
    let vary = vary.map(<[u8]>::trim_ascii).all(|name| name.eq_ignore_ascii_case(b"Accept-Encoding"));
    let events = headers.get(Known::ContentType).is_some_and(|kind| kind.starts_with(b"text/event-stream"));
    let private = headers.get(Known::SetCookie).is_some() || headers.get(Known::ContentRange).is_some();
    let control = says(headers, &["no-store", "no-cache", "must-revalidate", "private"]);
    origin && vary && !events && !private && !control
}

/// An answer that is being read, to be kept once all of it has come.
struct Kept {
    cache: Arc<Cache>,
    key: Vec<u8>,
    status: u16,
    headers: Headers,
    shared: bool,
    body: Vec<u8>,
    lease: Lease,
}

impl Kept {
    /// `false`: it is too large, or there is no room.
    fn take(&mut self, piece: &[u8]) -> bool {
        let needed = self.body.len() + piece.len();
        if needed as u64 > self.cache.entry_bytes_max {
            return false;
        }
        if needed > self.body.capacity() {
            let target = needed.max(2 * self.body.capacity());
            if !grow_to(&mut self.lease, target as u64) {
                return false;
            }
            self.body.reserve_exact(target - self.body.len());
        }
        self.body.extend_from_slice(piece);
        true
    }
}

/// Pieces on their way, which are kept as well.
struct Tee {
    pieces: Pieces,
    /// None once it is not to be kept: what it had is given back at once.
    kept: Option<Kept>,
}

impl Stream for Tee {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = ready!(self.pieces.poll_next_unpin(cx));
        let kept = self.kept.take();
        self.kept = match &piece {
            Some(Ok(piece)) => kept.and_then(|mut kept| kept.take(piece).then_some(kept)),
            Some(Err(_)) => None,
            None => {
                if let Some(kept) = kept {
                    let cache = Arc::clone(&kept.cache);
                    cache.insert(kept);
                }
                None
            }
        };
        Poll::Ready(piece)
    }
}
