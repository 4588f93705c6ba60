//! Texts with variables, as `setHeaders` has them: `$name`, `${name}` and `${name:default}`.

mod plain;

use std::{net::IpAddr, time::Duration};

use tidegate_http::{
    h1::Exchange,
    message::{Headers, Known, RequestHead},
};

use super::conditions::parameter;
pub(crate) use plain::uri;
use plain::{PLAIN, Plain};

/// A text, taken apart once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable { variable: Variable, default: String },
}

/// What a variable stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Variable {
    Plain(Plain),
    Header(String),
    Argument(String),
    Cookie(String),
    /// A placeholder or a group of the path, by number.
    Capture(usize),
    Unknown,
}

/// What variables are read from.
pub(crate) struct Source<'a> {
    pub(crate) exchange: &'a Exchange,
    pub(crate) client: Option<IpAddr>,
    /// With its escapes decoded.
    pub(crate) path: &'a [u8],
    /// Values of the captures by number; empty where one has none.
    pub(crate) captures: &'a [Vec<u8>],
    /// Time since 1970.
    pub(crate) wall: Duration,
}

impl Template {
    /// `captures`: names that the path gives; they win over variables of the same name. Names that stand for nothing are
    /// given to `unknown`. A `$` that begins no variable stands for itself.
    pub(crate) fn new(text: &str, captures: &[String], mut unknown: impl FnMut(&str)) -> Self {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, tail)) = rest.split_once('$') {
            plain.push_str(before);
            let Some((name, default, behind)) = split(tail) else {
                plain.push('$');
                rest = tail;
                continue;
            };
            let variable = Variable::new(name, captures);
            if variable == Variable::Unknown {
                unknown(name);
            }
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Variable { variable, default: default.to_owned() });
            rest = behind;
        }
        pieces.push(Piece::Text(plain + rest));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Self(pieces)
    }

    pub(crate) fn has_captures(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Variable { variable: Variable::Capture(_), .. }))
    }

    pub(crate) fn fill(&self, source: &Source<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &self.0 {
            // No header may be longer.
            if out.len() > Headers::BYTES_MAX {
                break;
            }
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Variable { variable, default } => {
                    let before = out.len();
                    variable.fill(source, &mut out);
                    if out.len() == before {
                        out.extend_from_slice(default.as_bytes());
                    }
                }
            }
        }
        out
    }
}

/// Name, default, and what follows, of a text that begins behind a `$`.
fn split(tail: &str) -> Option<(&str, &str, &str)> {
    let end = |text: &str| text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let Some(inner) = tail.strip_prefix('{') else {
        let (name, behind) = tail.split_at(end(tail));
        return (!name.is_empty()).then_some((name, "", behind));
    };
    let (inner, behind) = inner.split_once('}')?;
    let (name, default) = inner.split_once(':').unwrap_or((inner, ""));
    (!name.is_empty() && end(name) == name.len()).then_some((name, default, behind))
}

impl Variable {
    fn new(name: &str, captures: &[String]) -> Self {
        if let Some(number) = captures.iter().position(|capture| capture == name) {
            return Self::Capture(number);
        }
        if let Some((_, plain)) = PLAIN.iter().find(|(known, _)| *known == name) {
            return Self::Plain(*plain);
        }
        match name.split_once('_') {
            Some(("http", rest)) => Self::Header(rest.replace('_', "-")),
            Some(("arg", rest)) => Self::Argument(rest.to_owned()),
            Some(("cookie", rest)) => Self::Cookie(rest.to_owned()),
            _ => Self::Unknown,
        }
    }

    fn fill(&self, source: &Source<'_>, out: &mut Vec<u8>) {
        let head = source.exchange.head();
        match self {
            Self::Unknown => {}
            Self::Plain(plain) => plain.fill(source, out),
            Self::Header(name) => out.extend_from_slice(head.headers.find(name).unwrap_or_default()),
            Self::Argument(name) => out.extend_from_slice(&parameter(head.query(), name).unwrap_or_default()),
            Self::Cookie(name) => out.extend_from_slice(cookie(head, name)),
            Self::Capture(number) => out.extend_from_slice(source.captures.get(*number).map_or(&[][..], Vec::as_slice)),
        }
    }
}

fn cookie<'a>(head: &'a RequestHead, name: &str) -> &'a [u8] {
    let pairs = head.headers.all(Known::Cookie).flat_map(|list| list.split(|byte| *byte == b';'));
    let value = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")).next();
    let value = value.unwrap_or_default();
    value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_taken_apart() {
        let check = |text: &str, expected: &str, expected_unknown: &[&str]| {
            let mut unknown = Vec::new();
            let template =
                Template::new(text, &["id".to_owned(), "host".to_owned()], |name| unknown.push(name.to_owned()));
            let piece = |piece: &Piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Variable { variable, default } => format!("<{variable:?}|{default}>"),
            };
            assert_eq!(template.0.iter().map(piece).collect::<String>(), expected, "{text}");
            assert_eq!(unknown, expected_unknown, "{text}");
        };
        check("", "", &[]);
        check("plain", "plain", &[]);
        check("a-$scheme-b", "a-<Plain(Scheme)|>-b", &[]);
        check("${scheme}x", "<Plain(Scheme)|>x", &[]);
        check("$id/$host", "<Capture(0)|>/<Capture(1)|>", &[]);
        check("${arg_a:no: b}", "<Argument(\"a\")|no: b>", &[]);
        check("$http_x_a$cookie_c_d", "<Header(\"x-a\")|><Cookie(\"c_d\")|>", &[]);
        check("$none ${other:x}", "<Unknown|> <Unknown|x>", &["none", "other"]);
        check("$ $$ ${ ${} ${a b} 5$", "$ $$ ${ ${} ${a b} 5$", &[]);
    }
}
