use super::*;
use crate::ids::{SpanId, TraceId};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn headers(lines: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in lines {
        headers.append(name, value.as_bytes());
    }
    headers
}

fn parent(trace: &str) -> Option<(TraceId, SpanId)> {
    Some((TraceId::parse(trace.as_bytes()).unwrap(), SpanId::parse(SPAN.as_bytes()).unwrap()))
}

fn context(state: Option<&str>, sampled: bool, debug: bool) -> SpanContext {
    let (trace, span) = parent(TRACE).unwrap();
    SpanContext { trace, span, sampled, debug, state: state.map(Into::into) }
}

#[test]
fn traceparents() {
    let check = |text: &str, expected: Option<bool>| {
        let told = extract(HeaderFormat::TraceContext, &headers(&[("Traceparent", text)]));
        let expected = match expected {
            None => Extracted::default(),
            sampled => Extracted { parent: parent(TRACE), sampled, ..Extracted::default() },
        };
        assert_eq!(told, expected, "{text}");
    };
    let with = |version: &str, flags: &str| format!("{version}-{TRACE}-{SPAN}-{flags}");
    check(&with("00", "01"), Some(true));
    check(&with("00", "00"), Some(false));
    check(&with("00", "03"), Some(true));
    check(&with("00", "fe"), Some(false));
    check(&with("01", "01"), Some(true));
    check(&with("cc", "01-what-comes-later"), Some(true));
    check(&with("cc", "01."), None);
    check(&with("ff", "01"), None);
    check(&with("00", "01-more"), None);
    check(&with("00", "0"), None);
    check(&with("00", "0g"), None);
    check(&with("0", "01"), None);
    check("", None);
    check("00", None);
    check(&format!("00-{TRACE}-{SPAN}"), None);
    check(&format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None);
    check(&format!("00-{TRACE}-{}-01", SPAN.to_uppercase()), None);
    check(&format!("00-{}-{SPAN}-01", "0".repeat(32)), None);
    check(&format!("00-{TRACE}-{}-01", "0".repeat(16)), None);
    check(&format!("00_{TRACE}_{SPAN}_01"), None);
    let twice = format!("00-{TRACE}-{SPAN}-01");
    let told = extract(HeaderFormat::TraceContext, &headers(&[("traceparent", &twice), ("traceparent", &twice)]));
    assert_eq!(told, Extracted::default(), "two of them");
}

#[test]
fn tracestates() {
    let check = |lines: &[&str], expected: Option<&str>| {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let mut all = headers(&[("traceparent", &parent)]);
        lines.iter().for_each(|line| all.append("TraceState", line.as_bytes()));
        let told = extract(HeaderFormat::TraceContext, &all);
        assert_eq!(told.state.as_deref(), expected, "{lines:?}");
        assert_eq!(told.sampled, Some(true), "a state does not spoil the parent");
    };
    check(&[], None);
    check(&["rojo=00f067aa0ba902b7, congo=t61rcWkgMzE"], Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"));
    check(&["a=1", "", "b@c=2,"], Some("a=1,b@c=2"));
    check(&["Upper=1"], None);
    check(&["a"], None);
    check(&["a=1=2"], None);
    check(&["a=ü"], None);
    check(&["a=1, ,b="], None);
    let many = |count: usize| (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
    check(&[&many(32)], Some(&many(32)));
    check(&[&many(33)], None);
    // Too long: long members go first, then the last ones.
    let (long, short) = (format!("long={}", "x".repeat(200)), format!("s=1,t={}", "y".repeat(100)));
    check(&[&[&*long, &*short].join(",")], Some(&[&*long, &*short].join(",")));
    let three = format!("u={},v={},w={}", "z".repeat(100), "z".repeat(100), "z".repeat(100));
    check(&[&long, &short, &three], Some(&[&*short, &*three].join(",")));
    let five = (0..5).map(|number| format!("k{number}={}", "z".repeat(120))).collect::<Vec<_>>();
    check(&[&five.join(",")], Some(&five[..4].join(",")));
}

#[test]
fn b3_in_one_header() {
    let check = |text: &str, expected: Extracted| {
        assert_eq!(extract(HeaderFormat::B3, &headers(&[("B3", text)])), expected, "{text}");
    };
    let told = |sampled, debug| Extracted { parent: parent(TRACE), sampled, debug, state: None };
    let alone = |sampled, debug| Extracted { sampled: Some(sampled), debug, ..Extracted::default() };
    check(&format!("{TRACE}-{SPAN}"), told(None, false));
    check(&format!("{TRACE}-{SPAN}-1"), told(Some(true), false));
    check(&format!("{TRACE}-{SPAN}-0"), told(Some(false), false));
    check(&format!("{TRACE}-{SPAN}-d"), told(Some(true), true));
    check(&format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"), told(Some(true), false));
    let short = "a3ce929d0e0e4736";
    let padded = Extracted { parent: parent(&format!("0000000000000000{short}")), ..told(Some(true), false) };
    check(&format!("{short}-{SPAN}-1"), padded);
    check("0", alone(false, false));
    check("1", alone(true, false));
    check("d", alone(true, true));
    for bad in [
        String::new(),
        "2".into(),
        format!("{TRACE}-{SPAN}-x"),
        format!("{TRACE}-{SPAN}-1-"),
        format!("{TRACE}-{SPAN}-1-{SPAN}-1"),
        format!("{}-{SPAN}-1", TRACE.to_uppercase()),
        format!("{}-{SPAN}-1", "0".repeat(32)),
        format!("{TRACE}-{}-1", "0".repeat(16)),
        format!("{TRACE}-1"),
        TRACE.into(),
    ] {
        check(&bad, Extracted::default());
    }
}

#[test]
fn b3_in_several_headers() {
    let check = |lines: &[(&str, &str)], expected: Extracted| {
        assert_eq!(extract(HeaderFormat::B3, &headers(lines)), expected, "{lines:?}");
    };
    let told = |sampled, debug| Extracted { parent: parent(TRACE), sampled, debug, state: None };
    let ids = [("x-b3-traceid", TRACE), ("X-B3-SpanId", SPAN)];
    let with = |more: &[(&'static str, &'static str)]| [&ids[..], more].concat();
    check(&ids, told(None, false));
    check(&with(&[("X-B3-Sampled", "1")]), told(Some(true), false));
    check(&with(&[("X-B3-Sampled", "True"), ("X-B3-ParentSpanId", "05e3ac9a4f6e3b90")]), told(Some(true), false));
    check(&with(&[("X-B3-Sampled", "0")]), told(Some(false), false));
    check(&with(&[("X-B3-Sampled", "false")]), told(Some(false), false));
    check(&with(&[("X-B3-Flags", "1")]), told(Some(true), true));
    check(&with(&[("X-B3-Flags", "0")]), told(None, false));
    check(&with(&[("X-B3-Sampled", "maybe")]), Extracted::default());
    check(&with(&[("X-B3-ParentSpanId", "x")]), Extracted::default());
    check(&ids[..1], Extracted::default());
    check(&ids[1..], Extracted::default());
    check(&[("X-B3-TraceId", &TRACE.to_uppercase()), ids[1]], Extracted::default());
    check(&[("X-B3-Sampled", "0")], Extracted { sampled: Some(false), ..Extracted::default() });
    check(&[], Extracted::default());
    // The one header wins where it is good.
    let other = format!("{TRACE}-{SPAN}-0");
    check(&with(&[("X-B3-Sampled", "1"), ("b3", "nonsense")]), told(Some(true), false));
    check(&[("b3", &other), ids[0], ids[1], ("X-B3-Sampled", "1")], told(Some(false), false));
}

#[test]
fn what_is_written_takes_the_place_of_what_came() {
    let check = |format, context: &SpanContext, before: &[(&str, &str)], after: &[(&str, &str)]| {
        let mut headers = headers(before);
        for _ in 0..2 {
            inject(format, context, &mut headers);
            let mut now: Vec<_> = headers.iter().map(|(a, b)| (a.to_vec(), b.to_vec())).collect();
            now.sort();
            let after: Vec<_> = after.iter().map(|(a, b)| (a.as_bytes().to_vec(), b.as_bytes().to_vec())).collect();
            assert_eq!(now, after);
        }
    };
    let (w3c, b3) = (HeaderFormat::TraceContext, HeaderFormat::B3);
    let sampled = format!("00-{TRACE}-{SPAN}-01");
    check(
        w3c,
        &context(None, true, false),
        &[("Traceparent", "x"), ("tracestate", "a=1")],
        &[("traceparent", &sampled)],
    );
    let unsampled = format!("00-{TRACE}-{SPAN}-00");
    let state = [("traceparent", &*unsampled), ("tracestate", "a=1,b=2")];
    check(w3c, &context(Some("a=1,b=2"), false, false), &[("tracestate", "a=1"), ("tracestate", "b=2")], &state);
    check(w3c, &context(Some("a=1,b=2"), false, false), &[("tracestate", "a=1,b=2")], &state);
    let several =
        [("X-B3-TraceId", "1"), ("x-b3-spanid", "1"), ("X-B3-Sampled", "1"), ("X-B3-Flags", "1"), ("B3", "0")];
    for (sampled, debug, text) in [(true, false, "1"), (false, false, "0"), (true, true, "d")] {
        check(b3, &context(None, sampled, debug), &several, &[("b3", &format!("{TRACE}-{SPAN}-{text}"))]);
    }
    check(
        b3,
        &context(None, true, false),
        &[("traceparent", "t")],
        &[("b3", &format!("{TRACE}-{SPAN}-1")), ("traceparent", "t")],
    );
}
