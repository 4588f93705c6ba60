//! Tables, YAML and JSON.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use serde_json::Value;

use crate::{Error, Output};

/// Columns as wide as their widest text; the last one ends where its text does.
pub(crate) fn write_table<R: AsRef<[String]>>(out: &mut dyn Write, heads: &[&str], rows: &[R]) -> Result<(), Error> {
    let rows: Vec<Vec<Cow<'_, str>>> =
        rows.iter().map(|row| row.as_ref().iter().map(|text| escaped(text)).collect()).collect();
    let cells = |row: &Vec<Cow<'_, str>>, column: usize| row.get(column).map_or(0, |text| text.chars().count());
    let width = |(column, head): (usize, &&str)| rows.iter().map(|row| cells(row, column)).fold(head.len(), usize::max);
    let widths: Vec<usize> = heads.iter().enumerate().map(width).collect();
    let mut line = |texts: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in texts.zip(&widths) {
            text += &format!("{cell:width$}   ");
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(&mut heads.iter().copied())?;
    for row in &rows {
        line(&mut row.iter().map(AsRef::as_ref))?;
    }
    Ok(())
}

pub(crate) fn write_json(out: &mut dyn Write, value: &Value) -> Result<(), Error> {
    writeln!(out, "{value:#}")?;
    Ok(())
}

pub(crate) fn yaml_text(value: &Value) -> Result<String, Error> {
    serde_yaml_ng::to_string(value).map_err(|error| Error::Local(error.to_string()))
}

/// A list becomes a document for each of its values, so that it can be applied again.
pub(crate) fn write_documents(out: &mut dyn Write, values: &[Value]) -> Result<(), Error> {
    for (index, value) in values.iter().enumerate() {
        write!(out, "{}{}", if index == 0 { "" } else { "---\n" }, yaml_text(value)?)?;
    }
    Ok(())
}

/// `value` as JSON where that is asked for, else as YAML.
pub(crate) fn write_value(out: &mut dyn Write, output: Output, value: &Value) -> Result<(), Error> {
    match output {
        Output::Json => write_json(out, value),
        Output::Default | Output::Table | Output::Yaml => Ok(write!(out, "{}", yaml_text(value)?)?),
    }
}

/// The text under `key`, or none.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

pub(crate) fn list(value: Value) -> Vec<Value> {
    if let Value::Array(values) = value { values } else { Vec::new() }
}

/// A value inside a line: texts without their quotes.
pub(crate) fn inline(value: &Value) -> String {
    value.as_str().map_or_else(|| escaped(&value.to_string()).into_owned(), |text| escaped(text).into_owned())
}

/// A text that others wrote, inside a line. Control characters move a terminal's cursor, change what stands there already, or
/// begin a line that looks like ours: they become escapes as in JSON.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Lets through text, ends of lines and tabs. What is no text becomes U+FFFD.
pub(crate) struct Plain<'a> {
    out: &'a mut dyn Write,
    /// Bytes of a character that has only begun: three at most.
    begun: Vec<u8>,
}

impl<'a> Plain<'a> {
    pub(crate) const fn new(out: &'a mut dyn Write) -> Self {
        Self { out, begun: Vec::new() }
    }
}

impl Write for Plain<'_> {
    fn write(&mut self, given: &[u8]) -> io::Result<usize> {
        let mut bytes = std::mem::take(&mut self.begun);
        bytes.extend_from_slice(given);
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            for part in chunk.valid().split_inclusive(['\n', '\t']) {
                let end = part.trim_end_matches(['\n', '\t']);
                text.push_str(&escaped(end));
                text.push_str(&part[end.len()..]);
            }
            let invalid = chunk.invalid();
            if std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none()) && bytes.ends_with(invalid)
            {
                self.begun = invalid.to_vec();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.out.write_all(text.as_bytes())?;
        Ok(given.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_reach_no_terminal() {
        assert_eq!(escaped("a\u{1b}[2J\n\t\r\u{7f}\u{9b}é"), "a\\u001b[2J\\n\\t\\u000d\\u007f\\u009bé");
        assert_eq!(inline(&serde_json::json!(["\u{9b}\u{1b}"])), "[\"\\u009b\\u001b\"]");
        let mut out = Vec::new();
        write_table(&mut out, &["A"], &[["x\ny\u{1b}".to_owned()]]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A\nx\\ny\\u001b\n");
    }

    #[test]
    fn streams_are_plain_wherever_they_are_cut() {
        let given = b"a\x1b[2J\tb\r\n\xc2\x9b\xe2\x82\xac\x9b\xe2\x82(\n\n\xc3\xa9";
        let expected = "a\\u001b[2J\tb\\u000d\n\\u009b€\u{fffd}\u{fffd}(\n\né";
        for cut in 0..=given.len() {
            let mut out = Vec::new();
            let mut plain = Plain::new(&mut out);
            plain.write_all(&given[..cut]).unwrap();
            plain.write_all(&given[cut..]).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "cut at {cut}");
        }
    }

    #[test]
    fn columns_fit_their_widest_cell() {
        let mut out = Vec::new();
        let row = |texts: [&str; 3]| texts.map(str::to_owned);
        write_table(&mut out, &["A", "LONG", "C"], &[row(["wide", "é", ""]), row(["x", "y", "z"])]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A      LONG   C\nwide   é\nx      y      z\n");
    }
}
