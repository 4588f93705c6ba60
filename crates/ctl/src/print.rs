//! Tables, YAML and JSON.

use std::io::Write;

use serde_json::Value;

use crate::{Error, Output};

/// Columns as wide as their widest text; the last one ends where its text does.
pub(crate) fn write_table<R: AsRef<[String]>>(out: &mut dyn Write, heads: &[&str], rows: &[R]) -> Result<(), Error> {
    let cells = |row: &R, column: usize| row.as_ref().get(column).map_or(0, |text| text.chars().count());
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
    for row in rows {
        line(&mut row.as_ref().iter().map(String::as_str))?;
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
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_their_widest_cell() {
        let mut out = Vec::new();
        let row = |texts: [&str; 3]| texts.map(str::to_owned);
        write_table(&mut out, &["A", "LONG", "C"], &[row(["wide", "é", ""]), row(["x", "y", "z"])]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A      LONG   C\nwide   é\nx      y      z\n");
    }
}
