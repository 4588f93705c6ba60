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
    let Some(ticket) = cache.ticket(head, false, Length::Known(0)) else { return body(answer) };
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
        (answer("1"), &[("if-none-match", "x")], &[], false),
        (answer("1"), &[("If-Match", "x")], &[], false),
        (answer("1"), &[("Cookie", "a=b")], &[], false),
        (answer("1"), &[("Cookie", "a=b")], &[("Cache-Control", "max-age=9, Public")], true),
        (answer("1"), &[("Cookie", "a=b")], &[("Cache-Control", "s-maxage=9")], true),
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
    assert!(
        cache.ticket(&get, false, Length::Known(1)).is_none() && cache.ticket(&get, false, Length::Unknown).is_none()
    );
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
    let stream = |parts: Vec<Result<Bytes, BodyError>>| Response::new(200).with_body(Body::chunks(stream::iter(parts)));
    let piece = |text: &str| Ok(Bytes::copy_from_slice(text.as_bytes()));
    let first = ask(&cache, &request("a", &[]), stream(vec![piece("one "), piece("two")]));
    assert_eq!((first, ask(&cache, &request("a", &[]), answer("2"))), (b"one two".to_vec(), b"one two".to_vec()));
    let large = "x".repeat(60_000);
    ask(&cache, &request("b", &[]), stream(vec![piece(&large), piece(&large)]));
    assert_eq!(ask(&cache, &request("b", &[]), answer("2")), b"2");
    let head = request("c", &[]);
    let ticket = cache.ticket(&head, false, Length::Known(0)).unwrap();
    let broken = cache.keep(ticket, stream(vec![piece("part"), Err(BodyError::Lost)])).now_or_never().unwrap().unwrap();
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
    assert!(cache.find(&cache.ticket(&request("0", &[]), false, Length::Known(0)).unwrap()).is_none());
    drop((rest, cache));
    assert_eq!(budget.used(Holder::Gateway), 0);
}

#[test]
fn who_has_cookies_gets_only_what_is_for_everybody() {
    let cookie = [("Cookie", "a=b")];
    for (control, given) in [("max-age=9", "2"), ("public", "1")] {
        let cache = cache(&budget());
        let mut first = answer("1");
        first.headers.append("Cache-Control", control.as_bytes());
        ask(&cache, &request("", &[]), first);
        assert_eq!(ask(&cache, &request("", &cookie), answer("2")), given.as_bytes(), "{control}");
        assert_eq!(ask(&cache, &request("", &[]), answer("3")), b"1", "{control}");
    }
}

#[test]
fn an_answer_for_which_there_is_no_room_goes_on_unkept() {
    let budget = budget();
    let cache = cache(&budget);
    let rest = budget.try_lease(Holder::Gateway, budget.room(Holder::Gateway)).unwrap();
    assert_eq!(ask(&cache, &request("", &[]), answer("1")), b"1");
    drop(rest);
    assert_eq!(ask(&cache, &request("", &[]), answer("2")), b"2");
}

#[test]
fn what_turns_out_too_large_is_let_go_at_once() {
    let budget = budget();
    let cache = cache(&budget);
    let parts = vec![Ok(Bytes::from(vec![0; 60_000])); 3];
    let ticket = cache.ticket(&request("", &[]), false, Length::Known(0)).unwrap();
    let answer = Response::new(200).with_body(Body::chunks(stream::iter(parts)));
    let kept = cache.keep(ticket, answer).now_or_never().unwrap().unwrap();
    let Body::Chunks(mut pieces) = kept.body else { panic!("it has no length") };
    assert!(pieces.next().now_or_never().is_some() && budget.used(Holder::Gateway) >= 60_000);
    assert!(pieces.next().now_or_never().is_some());
    assert_eq!(budget.used(Holder::Gateway), 0, "and the third is still to come");
}

#[test]
fn a_large_answer_does_not_drive_all_others_out() {
    let config = json!({"expiration": "1h", "maxEntryBytes": 100 << 20, "codes": [200], "methods": ["GET"]});
    let (budget, mut problems) = (budget(), Problems::default());
    let cache = serde_json::from_value::<CacheConfig>(config).unwrap().build("c", &budget, &mut problems);
    ask(&cache, &request("small", &[]), answer("1"));
    ask(&cache, &request("large", &[]), answer(&"x".repeat(5 << 20)));
    ask(&cache, &request("middle", &[]), answer(&"x".repeat(2 << 20)));
    assert_eq!(ask(&cache, &request("small", &[]), answer("2")), b"1");
    assert_eq!(ask(&cache, &request("middle", &[]), answer("2")), b"2");
}

#[test]
fn every_problem_is_named() {
    let never = json!({"expiration": "1s", "maxEntryBytes": 1, "codes": NEVER_KEPT, "methods": ["GET"]});
    let mut problems = Problems::default();
    serde_json::from_value::<CacheConfig>(never).unwrap().build("c", &budget(), &mut problems);
    assert_eq!(problems.iter().count(), NEVER_KEPT.len(), "{problems}");
    let config = json!({"expiration": "0s", "maxEntryBytes": 0, "codes": [99], "methods": ["get"]});
    let mut problems = Problems::default();
    serde_json::from_value::<CacheConfig>(config).unwrap().build("c", &budget(), &mut problems);
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["c.expiration", "c.maxEntryBytes", "c.codes[0]", "c.methods[0]"]);
    let missing: Result<CacheConfig, _> = serde_json::from_value::<CacheConfig>(Value::Null);
    assert!(missing.is_err());
}
