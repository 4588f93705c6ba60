//! Answers kept in memory, so that a server is not asked again for what it said a moment ago.
//!
//! Shared by the node's threads, one for each pool. Bounded in bytes: what was used longest ago makes room.

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
    /// Most bytes of one answer's body.
    max_entry_bytes: u32,
    /// Statuses that are kept.
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
    all: BTreeMap<Vec<u8>, Entry>,
    bytes: u64,
    /// Counts uses: the entry with the least was used longest ago.
    uses: u64,
}

struct Entry {
    status: u16,
    headers: Headers,
    body: Bytes,
    until: Instant,
    used: u64,
    lease: Lease,
}

/// What an answer to this request would be kept under.
pub(super) struct Ticket {
    key: Vec<u8>,
    read: bool,
    store: bool,
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
            entry_bytes_max: self.max_entry_bytes.into(),
            codes: self.codes,
            methods,
            budget: budget.clone(),
            entries: Mutex::default(),
        })
    }
}

impl Cache {
    /// `None`: nothing is kept of such a request. One with a body or with credentials, and one for a part of something.
    pub(super) fn ticket(&self, head: &RequestHead, body: Length) -> Option<Ticket> {
        let own = [Known::Authorization, Known::Range].into_iter().any(|name| head.headers.get(name).is_some());
        if own || body != Length::Known(0) || !self.methods.contains(&head.method) {
            return None;
        }
        let coding = head.headers.get(Known::AcceptEncoding).unwrap_or_default();
        let host = head.authority().to_ascii_lowercase();
        let scheme = head.scheme().unwrap_or_default();
        let key = [head.method_text(), scheme.as_bytes(), &host, head.path(), head.query(), coding].join(&b"\n"[..]);
        let no_cache = says(&head.headers, &["no-cache"]);
        let store = !no_cache && !says(&head.headers, &["no-store"]);
        (key.len() <= KEY_BYTES_MAX).then_some(Ticket { key, read: !no_cache, store })
    }

    /// An answer that is still good.
    pub(super) fn find(&self, ticket: &Ticket) -> Option<Response> {
        if !ticket.read {
            return None;
        }
        let now = clock::now();
        let mut entries = self.lock();
        entries.uses += 1;
        let uses = entries.uses;
        let entry = entries.all.get_mut(&ticket.key)?;
        if entry.until <= now {
            entries.remove(&ticket.key);
            return None;
        }
        // The entry may go before the client has taken all of it.
        let lease = self.budget.try_lease(Holder::Gateway, entry.body.len() as u64)?;
        entry.used = uses;
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
        if !ticket.store || !fits || !self.codes.contains(&answer.status) || !may_keep(&answer.headers) {
            return Ok(answer);
        }
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
        let kept = Kept { cache, key: ticket.key, status, headers, body: Vec::new(), lease, full: false };
        let mut tee = Tee { pieces, kept: Some(kept) };
        let Length::Known(bytes) = length else {
            answer.body = Body::chunks(tee);
            return Ok(answer);
        };
        let lease = self.budget.try_lease(Holder::Gateway, bytes).ok_or(BodyError::NoMemory)?;
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
        let Kept { key, status, headers, body, mut lease, .. } = kept;
        // Its own copy, of the size that it has.
        let body = Bytes::from(body.into_boxed_slice());
        let bytes = (2 * key.len() + headers.allocated() + body.len() + ENTRY_BYTES) as u64;
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
        entries.all.insert(key, Entry { status, headers, body, until, used, lease });
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
            self.bytes -= entry.lease.bytes();
        }
    }

    fn remove_oldest(&mut self) -> bool {
        let oldest = self.all.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
        let found = oldest.is_some();
        oldest.into_iter().for_each(|key| self.remove(&key));
        found
    }
}

/// Whether `Cache-Control` has one of these words.
fn says(headers: &Headers, words: &[&str]) -> bool {
    let lines = headers.all(Known::CacheControl).flat_map(|line| line.split(|byte| *byte == b','));
    lines
        .map(|word| word.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii())
        .any(|word| words.iter().any(|wanted| word.eq_ignore_ascii_case(wanted.as_bytes())))
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
    body: Vec<u8>,
    lease: Lease,
    /// It is too large, or there is no room.
    full: bool,
}

impl Kept {
    fn take(&mut self, piece: &[u8]) {
        let needed = self.body.len() + piece.len();
        if self.full || needed as u64 > self.cache.entry_bytes_max {
            self.full = true;
            return;
        }
        if needed > self.body.capacity() {
            let target = needed.max(2 * self.body.capacity());
            if !grow_to(&mut self.lease, target as u64) {
                self.full = true;
                return;
            }
            self.body.reserve_exact(target - self.body.len());
        }
        self.body.extend_from_slice(piece);
    }
}

/// Pieces on their way, which are kept as well.
struct Tee {
    pieces: Pieces,
    kept: Option<Kept>,
}

impl Stream for Tee {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = ready!(self.pieces.poll_next_unpin(cx));
        match (&piece, &mut self.kept) {
            (Some(Ok(piece)), Some(kept)) => kept.take(piece),
            (Some(Err(_)), _) => self.kept = None,
            (None, kept) => {
                if let Some(kept) = kept.take().filter(|kept| !kept.full) {
                    let cache = Arc::clone(&kept.cache);
                    cache.insert(kept);
                }
            }
            (Some(Ok(_)), None) => {}
        }
        Poll::Ready(piece)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};
    use serde_json::{Value, json};
    use tidegate_base::{ByteSize, Limits, Profile};

    use super::*;

    fn cache(budget: &Budget) -> Arc<Cache> {
        let config: CacheConfig = serde_json::from_value(
            json!({"expiration": "1h", "maxEntryBytes": 100_000, "codes": [200, 404], "methods": ["GET"]}),
        )
        .unwrap();
        let mut problems = Problems::default();
        let cache = config.build("c", budget, &mut problems);
        assert!(problems.is_empty(), "{problems}");
        cache
    }

    fn budget() -> Budget {
        Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap())
    }

    fn request(query: &str, headers: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::default();
        head.set_path(b"/a");
        head.set_query(query.as_bytes());
        for (name, value) in headers {
            head.headers.append(name, value.as_bytes());
        }
        head
    }

    fn body(response: Response) -> Vec<u8> {
        let pieces = response.body.into_pieces(&budget(), Holder::Gateway).unwrap();
        let parts = pieces.map(Result::unwrap).collect::<Vec<Bytes>>().now_or_never().unwrap();
        parts.concat()
    }

    /// Asks as this request, and has the answer kept that is given to it.
    fn ask(cache: &Arc<Cache>, head: &RequestHead, answer: Response) -> Vec<u8> {
        let Some(ticket) = cache.ticket(head, Length::Known(0)) else { return body(answer) };
        match cache.find(&ticket) {
            Some(found) => body(found),
            None => body(cache.keep(ticket, answer).now_or_never().unwrap().unwrap()),
        }
    }

    fn answer(text: &str) -> Response {
        Response::new(200).with_body(Body::Full(text.to_owned().into()))
    }

    #[test]
    fn what_may_be_kept_is_and_nothing_else() {
        let get = request("", &[]);
        for (first, request_headers, answer_headers, kept) in [
            (answer("1"), &[][..], &[][..], true),
            (
                Response { status: 404, ..answer("1") },
                &[],
                &[("Vary", "accept-encoding"), ("Access-Control-Allow-Origin", "*")],
                true,
            ),
            (Response { status: 201, ..answer("1") }, &[], &[], false),
            (answer(&"x".repeat(100_001)), &[], &[], false),
            (answer("1"), &[("Cache-Control", "max-age=0, No-Store")], &[], false),
            (answer("1"), &[("Cache-Control", "no-cache")], &[], false),
            (answer("1"), &[], &[("Cache-Control", "no-store")], false),
            (answer("1"), &[], &[("Cache-Control", "private, max-age=1")], false),
            (answer("1"), &[], &[("Cache-Control", "must-revalidate")], false),
            (answer("1"), &[], &[("Access-Control-Allow-Origin", "http://a")], false),
            (answer("1"), &[], &[("Set-Cookie", "a=b")], false),
            (answer("1"), &[], &[("Vary", "Accept-Encoding, Cookie")], false),
            (answer("1"), &[("Authorization", "x")], &[], false),
            (answer("1"), &[("Range", "bytes=0-1")], &[], false),
        ] {
            let (cache, mut first) = (cache(&budget()), first);
            for (name, value) in answer_headers {
                first.headers.append(name, value.as_bytes());
            }
            let text = body(Response::default().with_body(match &first.body {
                Body::Full(bytes) => Body::Full(bytes.clone()),
                _ => Body::Empty,
            }));
            assert_eq!(ask(&cache, &request("", request_headers), first), text, "it goes on as it is");
            let second = ask(&cache, &get, answer("2"));
            let wanted = if kept { &text[..] } else { b"2" };
            assert_eq!(second, wanted, "{request_headers:?} {answer_headers:?}");
        }
        let cache = cache(&budget());
        assert!(cache.ticket(&get, Length::Known(1)).is_none() && cache.ticket(&get, Length::Unknown).is_none());
    }

    #[test]
    fn the_key_has_the_query_and_the_coding() {
        let cache = cache(&budget());
        let gzip = [("Accept-Encoding", "gzip")];
        for (query, headers, text) in
            [("", &[][..], "1"), ("a=1", &[], "2"), ("a=1", &gzip, "3"), ("", &[("Host", "h")], "4")]
        {
            for _ in 0..2 {
                let given = ask(&cache, &request(query, headers), answer(text));
                assert_eq!(given, text.as_bytes(), "{query} {headers:?}");
            }
        }
        let refreshed = ask(&cache, &request("", &[("Cache-Control", "no-cache")]), answer("5"));
        assert_eq!((refreshed, ask(&cache, &request("", &[]), answer("6"))), (b"5".to_vec(), b"1".to_vec()));
    }

    #[test]
    fn a_body_without_a_length_is_kept_as_it_goes_by_or_not_at_all() {
        let cache = cache(&budget());
        let stream =
            |parts: Vec<Result<Bytes, BodyError>>| Response::new(200).with_body(Body::chunks(stream::iter(parts)));
        let piece = |text: &str| Ok(Bytes::copy_from_slice(text.as_bytes()));
        let first = ask(&cache, &request("a", &[]), stream(vec![piece("one "), piece("two")]));
        assert_eq!((first, ask(&cache, &request("a", &[]), answer("2"))), (b"one two".to_vec(), b"one two".to_vec()));
        let large = "x".repeat(60_000);
        ask(&cache, &request("b", &[]), stream(vec![piece(&large), piece(&large)]));
        assert_eq!(ask(&cache, &request("b", &[]), answer("2")), b"2");
        let head = request("c", &[]);
        let ticket = cache.ticket(&head, Length::Known(0)).unwrap();
        let broken =
            cache.keep(ticket, stream(vec![piece("part"), Err(BodyError::Lost)])).now_or_never().unwrap().unwrap();
        let pieces = broken.body.into_pieces(&budget(), Holder::Gateway).unwrap();
        assert!(pieces.collect::<Vec<_>>().now_or_never().unwrap()[1].is_err());
        assert_eq!(ask(&cache, &head, answer("2")), b"2", "what broke off is not kept");
    }

    #[test]
    fn what_was_used_longest_ago_makes_room_and_all_is_given_back() {
        let budget = budget();
        let cache = cache(&budget);
        let large = "x".repeat(99_000);
        for number in 0..100 {
            ask(&cache, &request(&number.to_string(), &[]), answer(&large));
            ask(&cache, &request("0", &[]), answer("again"));
            assert!(budget.used(Holder::Gateway) <= BYTES_MAX, "at {number}");
        }
        assert!(budget.used(Holder::Gateway) > BYTES_MAX / 2);
        assert_eq!(ask(&cache, &request("0", &[]), answer("again")).len(), large.len());
        assert_eq!(ask(&cache, &request("1", &[]), answer("again")), b"again");
        // Others need the room: the cache gives way, and still answers.
        let rest = budget.try_lease(Holder::Gateway, budget.room(Holder::Gateway)).unwrap();
        assert!(cache.find(&cache.ticket(&request("0", &[]), Length::Known(0)).unwrap()).is_none());
        drop((rest, cache));
        assert_eq!(budget.used(Holder::Gateway), 0);
    }

    #[test]
    fn every_problem_is_named() {
        let config = json!({"expiration": "0s", "maxEntryBytes": 0, "codes": [99], "methods": ["get"]});
        let mut problems = Problems::default();
        serde_json::from_value::<CacheConfig>(config).unwrap().build("c", &budget(), &mut problems);
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, ["c.expiration", "c.maxEntryBytes", "c.codes[0]", "c.methods[0]"]);
        let missing: Result<CacheConfig, _> = serde_json::from_value::<CacheConfig>(Value::Null);
        assert!(missing.is_err());
    }
}
