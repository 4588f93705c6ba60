//! What is told, by hand.

use bytes::Bytes;
use serde_json::json;
use tidegate_base::{Budget, Holder, Limits, Profile};
use tidegate_pipeline::{Follower, Report};
use tidegate_testkit::pki::Authority;

use super::super::{Book, Settings, book::Told, rows};

fn settings(domains: &[&str]) -> Settings {
    let domains: Vec<_> = domains.iter().map(|name| json!({ "name": name })).collect();
    let spec = json!({"email": "a@b.test", "domains": domains});
    Settings::read("m", &spec, &mut Report::default()).unwrap()
}

fn budget() -> Budget {
    Budget::new(Limits::new(Limits::DEFAULT, Profile::Server).unwrap())
}

fn row(authority: &Authority, name: &str) -> Bytes {
    let pair = authority.pair(&[name]);
    rows::text(&pair.key, &pair.cert).into()
}

#[test]
fn what_is_known_stays_until_all_has_been_told_again() {
    let (budget, authority) = (budget(), Authority::new());
    let book = Book::new(budget.clone());
    book.set(Some(settings(&["a.test", "b.test"]).into()));
    let feed = book.feed();
    let known = |name: &str| book.certificate(name).is_some();
    assert_eq!(book.told(), Told::Partly);
    feed.put("cert/a.test", row(&authority, "a.test"));
    feed.put("cert/b.test", row(&authority, "b.test"));
    feed.put("cert/c.test", row(&authority, "c.test"));
    feed.synced();
    assert_eq!(book.told(), Told::Whole);
    assert_eq!((known("a.test"), known("b.test"), known("c.test")), (true, true, false));
    let before = budget.used(Holder::Gateway);
    // The store lists anew, and one is gone.
    feed.reset();
    assert_eq!((book.told(), known("a.test"), known("b.test")), (Told::Partly, true, true));
    feed.put("cert/b.test", row(&authority, "b.test"));
    feed.synced();
    assert_eq!((book.told(), known("a.test"), known("b.test")), (Told::Whole, false, true));
    assert!(budget.used(Holder::Gateway) < before);
    // What an earlier feed still says counts no more.
    let newer = book.feed();
    feed.put("cert/a.test", row(&authority, "a.test"));
    feed.delete("cert/b.test");
    assert_eq!((known("a.test"), known("b.test")), (false, true));
    newer.delete("cert/b.test");
    assert!(!known("b.test"));
    // Names that are not wanted any more go at once, and without settings everything does.
    let last = book.feed();
    last.put("cert/a.test", row(&authority, "a.test"));
    book.set(Some(settings(&["b.test"]).into()));
    assert!(!known("a.test"));
    let last = book.feed();
    last.put("cert/b.test", row(&authority, "b.test"));
    book.set(None);
    last.put("cert/b.test", row(&authority, "b.test"));
    assert_eq!(budget.used(Holder::Gateway), 0);
}

#[test]
fn tokens_are_few_and_short() {
    let (budget, token) = (budget(), Bytes::from_static(b"t.x"));
    let book = Book::new(budget.clone());
    book.set(Some(settings(&["a.test"]).into()));
    let feed = book.feed();
    let path = |number: usize| format!("http/a.test//.well-known/acme-challenge/{number}");
    for number in 0..20 {
        feed.put(&path(number), token.clone());
    }
    let kept =
        || (0..20).filter(|number| book.token("a.test", &path(*number)["http/a.test/".len()..]).is_some()).count();
    assert_eq!(kept(), 8);
    feed.delete(&path(0));
    assert_eq!(kept(), 7);
    feed.put(&path(0), vec![b'x'; rows::TOKEN_BYTES_MAX + 1].into());
    feed.put(&path(0).repeat(40), token.clone());
    assert_eq!(kept(), 7);
    let before = budget.used(Holder::Gateway);
    feed.put(&path(1), token.clone());
    assert_eq!(budget.used(Holder::Gateway), before, "a row that comes again takes its own place");
    feed.put("http/b.test//.well-known/acme-challenge/1", token);
    assert_eq!(budget.used(Holder::Gateway), before);
}

#[test]
fn what_finds_no_memory_is_asked_for_again() {
    let (budget, authority) = (budget(), Authority::new());
    let book = Book::new(budget.clone());
    book.set(Some(settings(&["a.test"]).into()));
    let rest = budget.try_lease(Holder::Gateway, budget.room(Holder::Gateway) - 1000).unwrap();
    let feed = book.feed();
    feed.put("cert/a.test", row(&authority, "a.test"));
    feed.synced();
    assert_eq!((book.told(), book.certificate("a.test").is_some()), (Told::Short, false));
    drop(rest);
    let feed = book.feed();
    feed.reset();
    feed.put("cert/a.test", row(&authority, "a.test"));
    feed.synced();
    assert_eq!((book.told(), book.certificate("a.test").is_some()), (Told::Whole, true));
}
