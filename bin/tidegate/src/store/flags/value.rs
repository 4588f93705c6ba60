//! Values as Go's `flag` package and etcd read them, and what they say about those that they cannot read.

use crate::store::url;

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Kind {
    Bool,
    Text,
    /// Texts with commas between; a list in the configuration file.
    Texts,
    Int,
    Int64,
    Uint,
    Uint32,
    Uint64,
    /// Go syntax: `5s`, `1m30s`, `100ms`; nanoseconds in the configuration file.
    Duration,
    OneOf(&'static [&'static str]),
    /// URLs with commas between. Nothing leaves the default.
    Urls,
    /// As [`Kind::Urls`], or a star.
    Cors,
    /// `Name=true,Other=false`.
    Gates,
}

impl Kind {
    /// For `--help`.
    pub(in crate::store) const fn shown(self) -> &'static str {
        match self {
            Kind::Bool => "true|false",
            Kind::Text | Kind::OneOf(_) => "text",
            Kind::Texts => "list",
            Kind::Int | Kind::Int64 | Kind::Uint | Kind::Uint32 | Kind::Uint64 => "number",
            Kind::Duration => "duration",
            Kind::Urls | Kind::Cors => "URLs",
            Kind::Gates => "gates",
        }
    }
}

const SYNTAX: &str = "parse error";
const RANGE: &str = "value out of range";

/// The value in its plain form: numbers in decimal, booleans as words.
///
/// # Errors
/// What etcd says behind `invalid value "…" for flag -…:`.
pub(super) fn checked(kind: Kind, value: &str) -> Result<String, String> {
    let range = |fits: bool, number: i128| if fits { Ok(number.to_string()) } else { Err(RANGE.to_owned()) };
    match kind {
        Kind::Text | Kind::Texts => Ok(value.to_owned()),
        Kind::Bool => parse_bool(value).map(|value| value.to_string()).ok_or_else(|| SYNTAX.to_owned()),
        Kind::Int | Kind::Int64 => {
            let number = parse_int(value, true).ok_or(SYNTAX)?;
            range(i64::try_from(number).is_ok(), number)
        }
        Kind::Uint | Kind::Uint64 => {
            let number = parse_int(value, false).ok_or(SYNTAX)?;
            range(u64::try_from(number).is_ok(), number)
        }
        // etcd hands this one's errors out as they are.
        Kind::Uint32 => {
            let wrong = |why| format!("strconv.ParseUint: parsing \"{value}\": {why}");
            let number = parse_int(value, false).ok_or_else(|| wrong("invalid syntax"))?;
            range(u32::try_from(number).is_ok(), number).map_err(wrong_range(&wrong))
        }
        Kind::Duration => parse_duration(value).map(|_| value.to_owned()).ok_or_else(|| SYNTAX.to_owned()),
        Kind::OneOf(allowed) if allowed.contains(&value) => Ok(value.to_owned()),
        Kind::OneOf(_) => Err("invalid value".to_owned()),
        Kind::Cors if value == "*" => Ok(value.to_owned()),
        Kind::Urls | Kind::Cors if value.is_empty() => Ok(String::new()),
        Kind::Urls | Kind::Cors => url::parse_list(value).map(|_| value.to_owned()),
        Kind::Gates => gates(value).map(|_| value.to_owned()),
    }
}

fn wrong_range<'a>(wrong: &'a impl Fn(&'static str) -> String) -> impl Fn(String) -> String + 'a {
    |_| wrong(RANGE)
}

pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Go's syntax of integers in any base: `10`, `0x1f`, `0b1`, `0o17` and `017`, with `_` between digits of those that have a
/// prefix. Far too large a number is the largest, which is in no type's range.
fn parse_int(text: &str, signed: bool) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' if signed => (true, &text[1..]),
        b'+' if signed => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, &lower[..])
    };
    let plain = if base == 10 { digits.to_owned() } else { digits.replace('_', "") };
    let lone = digits.ends_with('_') || digits.contains("__");
    if lone || plain.is_empty() || !plain.chars().all(|digit| digit.is_digit(base)) {
        return None;
    }
    let number = i128::from_str_radix(&plain, base).unwrap_or(i128::MAX);
    Some(if negative { -number } else { number })
}

/// Go's syntax of durations, in nanoseconds: numbers with a unit each, a sign in front, or a bare 0.
pub(in crate::store) fn parse_duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return None,
        };
        rest = &rest[letters..];
        total += number * unit;
    }
    if total > i64::MAX as f64 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "within 64 bits, and fractions of a nanosecond do not matter")]
    let nanoseconds = total as i128;
    Some(if negative { -nanoseconds } else { nanoseconds })
}

/// The gates of etcd 3.7, and the two that stand for many.
const KNOWN_GATES: &[&str] = &[
    "AllAlpha",
    "AllBeta",
    "CompactHashCheck",
    "FastLeaseKeepAlive",
    "InitialCorruptCheck",
    "LeaseCheckpoint",
    "LeaseCheckpointPersist",
    "PriorityRequest",
    "SetMemberLocalAddr",
    "StopGRPCServiceOnDefrag",
    "TxnModeWriteWithSharedBuffer",
];

/// Names and values of feature gates; of one that comes twice the last counts.
pub(in crate::store) fn gates(text: &str) -> Result<Vec<(&str, bool)>, String> {
    let mut gates: Vec<(&str, bool)> = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("missing bool value for {}", part.trim()))?;
        let (name, value) = (name.trim(), value.trim());
        let on = parse_bool(value).ok_or_else(|| {
            format!("invalid value of {name}={value}, err: strconv.ParseBool: parsing \"{value}\": invalid syntax")
        })?;
        gates.retain(|(other, _)| *other != name);
        gates.push((name, on));
    }
    match gates.iter().find(|(name, _)| !KNOWN_GATES.contains(name)) {
        Some((name, _)) => Err(format!("unrecognized feature gate: {name}")),
        None => Ok(gates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, seconds) in [
            ("5s", Some(5.0)),
            ("1m30s", Some(90.0)),
            ("100ms", Some(0.1)),
            ("1.5h", Some(5400.0)),
            ("0", Some(0.0)),
            ("-2s", Some(-2.0)),
            ("5", None),
            ("", None),
            ("s", None),
            ("-", None),
            ("+", None),
        ] {
            assert_eq!(parse_duration(text).map(|ns| ns as f64 / 1e9), seconds, "{text}");
        }
    }

    #[test]
    fn integers_are_those_of_go() {
        let check = |kind, text: &str, expected: Result<&str, &str>| {
            assert_eq!(checked(kind, text).as_deref().map_err(String::as_str), expected, "{text}");
        };
        check(Kind::Uint, "128", Ok("128"));
        check(Kind::Uint, "0x10", Ok("16"));
        check(Kind::Uint, "010", Ok("8"));
        check(Kind::Uint, "0b1_01", Ok("5"));
        check(Kind::Uint, "1_0", Err("parse error"));
        check(Kind::Uint, "09", Err("parse error"));
        check(Kind::Uint, "-1", Err("parse error"));
        check(Kind::Uint, "", Err("parse error"));
        check(Kind::Uint, "99999999999999999999999999999999999999999", Err("value out of range"));
        check(Kind::Uint, "18446744073709551616", Err("value out of range"));
        check(Kind::Int, "-1", Ok("-1"));
        check(Kind::Int64, "9223372036854775808", Err("value out of range"));
        check(Kind::Uint32, "x", Err("strconv.ParseUint: parsing \"x\": invalid syntax"));
        check(Kind::Uint32, "4294967296", Err("strconv.ParseUint: parsing \"4294967296\": value out of range"));
    }

    #[test]
    fn gates_are_known_by_name() {
        assert_eq!(
            gates("AllBeta=false, InitialCorruptCheck=T,,"),
            Ok(vec![("AllBeta", false), ("InitialCorruptCheck", true)])
        );
        for (text, why) in [
            ("Bogus=true", "unrecognized feature gate: Bogus"),
            ("AllBeta", "missing bool value for AllBeta"),
            ("AllBeta=x", "invalid value of AllBeta=x, err: strconv.ParseBool: parsing \"x\": invalid syntax"),
        ] {
            assert_eq!(gates(text), Err(why.to_owned()));
        }
    }
}
