use serde_json::json;
use tidegate_base::{Limits, Profile};

use super::*;

fn budget() -> Budget {
    Budget::new(Limits::new(Limits::DEFAULT, Profile::Server).unwrap())
}

fn read(text: &str) -> Result<Value, ReadError> {
    read_text(text.as_bytes(), false, &mut Meter::new(&budget(), ByteSize::mib(1)))
}

#[test]
fn yaml_and_json_give_the_same_values() {
    let check = |text: &str, expected: Value| assert_eq!(read(text), Ok(expected), "{text}");
    check("a: 1\nb: [x, 2.5, true, null]\n", json!({"a": 1, "b": ["x", 2.5, true, null]}));
    check(r#" {"a": -1, "b": {"c": "d"}}"#, json!({"a": -1, "b": {"c": "d"}}));
    check("{a: 1, b: two}", json!({"a": 1, "b": "two"}));
    check("{}", json!({}));
    check("", json!(null));
    check("codes:\n  200: ok\n  true: t\n", json!({"codes": {"200": "ok", "true": "t"}}));
    check("---\na: |\n  two\n  lines\n", json!({"a": "two\nlines\n"}));
    check("x: &x {p: 1, q: 2}\ny: {<<: *x, q: 3}\n", json!({"x": {"p": 1, "q": 2}, "y": {"p": 1, "q": 3}}));
    check(
        "a: &a {p: 1}\nb: &b {p: 2, q: 2}\nc: {<<: [*a, *b]}\n",
        json!({"a": {"p": 1}, "b": {"p": 2, "q": 2}, "c": {"p": 1, "q": 2}}),
    );
}

#[test]
fn what_no_spec_can_be_is_refused() {
    let check = |text: &str, part: &str| match read(text) {
        Err(ReadError::Syntax(told)) => assert!(told.contains(part), "{text}: {told}"),
        other => panic!("{text}: {other:?}"),
    };
    check("a: 1\na: 2\n", "stands twice");
    check(r#"{"a": 1, "a": 2}"#, "stands twice");
    check("a: .nan\n", "finite");
    check("a: !thing x\n", "invalid type");
    check("a: 1\n---\nb: 2\n", "more than one document");
    check("a: b: c\n", "mapping values");
    check("[a]: 1\n", "a key");
    check("a: {<<: 3}\n", "<<");
    check("a: {<<: [[{b: 1}]]}\n", "<<");
    check("a: *unknown\n", "unknown anchor");
    check(&"[".repeat(100_000)[..4000], "recursion");
    check("\u{0}", "control characters");
}

#[test]
fn broken_json_is_reported_as_json_when_it_was_called_so() {
    let mut meter = Meter::new(&budget(), ByteSize::mib(1));
    let told = read_text(b"{\"a\": ", true, &mut meter).unwrap_err().to_string();
    assert!(told.contains("EOF while parsing"), "{told}");
}

#[test]
fn expansion_is_paid_for_before_it_happens() {
    let budget = budget();
    let limited = |text: &str| {
        let mut meter = Meter::new(&budget, ByteSize::kib(256));
        let read = read_text(text.as_bytes(), false, &mut meter);
        assert!(meter.bytes() <= 256 << 10);
        assert!(budget.used(Holder::Gateway) <= 256 << 10);
        read
    };
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x]\n");
    for level in 1..8 {
        let list = vec![format!("*a{}", level - 1); 8].join(", ");
        laughs += &format!("a{level}: &a{level} [{list}]\n");
    }
    assert!(matches!(limited(&laughs), Err(ReadError::TooLarge(..))));
    let ones = format!("{{\"a\": [{}1]}}", "1,".repeat(4000));
    assert!(matches!(limited(&ones), Err(ReadError::TooLarge(..))));
    assert!(limited("a: 1").is_ok());
    let dashes = "- ".repeat(2000);
    let told = limited(&dashes).unwrap_err().to_string();
    assert_eq!(told, "the text expands to more than 256KiB as YAML; JSON needs less");
    assert_eq!(budget.used(Holder::Gateway), 0, "everything was given back");
}

#[test]
fn a_full_node_refuses_and_reads_later() {
    let budget = budget();
    let rest = budget.force_lease(Holder::Gateway, budget.room(Holder::Gateway));
    let mut meter = Meter::new(&budget, ByteSize::mib(1));
    assert_eq!(read_json(b"{\"a\": 1}", &mut meter), Err(ReadError::NoRoom));
    drop(rest);
    assert_eq!(read_json(b"{\"a\": 1}", &mut meter), Ok(json!({"a": 1})));
}
