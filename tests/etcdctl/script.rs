//! Scripts: commands with their input and output.
//!
//! ```text
//! # text for people
//! $ put a 1          a command of etcdctl; `$[6] watch a` ends it after six lines of output
//! < input            a line of its input
//! > OK               a line of its output
//! 2> Error: no       a line of what it complains
//! ! 1                its exit code, when not 0
//! ```

use std::{fmt, path::Path};

/// A command and what it printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) args: Vec<String>,
    /// The command does not end by itself: it is ended after so many lines.
    pub(crate) lines: Option<usize>,
    pub(crate) input: Vec<String>,
    pub(crate) output: Vec<String>,
    pub(crate) complaints: Vec<String>,
    pub(crate) code: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    /// A comment or an empty line.
    Text(String),
    Command(Command),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script(Vec<Item>);

impl Script {
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut items = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let rest = |mark: &str| {
                let rest = line.strip_prefix(mark)?;
                rest.strip_prefix(' ').or(rest.is_empty().then_some("")).map(str::to_owned)
            };
            if line.is_empty() || line.starts_with('#') {
                items.push(Item::Text(line.to_owned()));
            } else if let Some(command) = line.strip_prefix('$') {
                items.push(Item::Command(Command::parse(command)));
            } else {
                let Some(Item::Command(command)) = items.last_mut() else {
                    panic!("{}:{}: no command before this line", path.display(), number + 1)
                };
                if let Some(text) = rest("<") {
                    command.input.push(text);
                } else if let Some(text) = rest(">") {
                    command.output.push(text);
                } else if let Some(text) = rest("2>") {
                    command.complaints.push(text);
                } else if let Some(code) = rest("!") {
                    command.code = code.parse().unwrap();
                } else {
                    panic!("{}:{}: what is {line:?}?", path.display(), number + 1);
                }
            }
        }
        Self(items)
    }

    pub(crate) fn map(&self, mut run: impl FnMut(&Command) -> Command) -> Self {
        let items = self.0.iter().map(|item| match item {
            Item::Text(text) => Item::Text(text.clone()),
            Item::Command(command) => Item::Command(run(command)),
        });
        Self(items.collect())
    }
}

impl Command {
    /// Words, divided by blanks; double quotes keep blanks inside a word.
    fn parse(text: &str) -> Self {
        let (lines, text) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
            Some((lines, text)) => (Some(lines.parse().unwrap()), text),
            None => (None, text),
        };
        let mut args = Vec::new();
        for (part, quoted) in text.split('"').zip([false, true].into_iter().cycle()) {
            if quoted {
                args.push(part.to_owned());
            } else {
                args.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        Self { args, lines, ..Self::default() }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in &self.0 {
            match item {
                Item::Text(text) => writeln!(f, "{text}")?,
                Item::Command(command) => command.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        if let Some(lines) = self.lines {
            write!(f, "[{lines}]")?;
        }
        for arg in &self.args {
            match arg.is_empty() || arg.contains(' ') {
                true => write!(f, " \"{arg}\"")?,
                false => write!(f, " {arg}")?,
            }
        }
        writeln!(f)?;
        for (mark, lines) in [("<", &self.input), (">", &self.output), ("2>", &self.complaints)] {
            for line in lines {
                match line.is_empty() {
                    true => writeln!(f, "{mark}")?,
                    false => writeln!(f, "{mark} {line}")?,
                }
            }
        }
        if self.code != 0 {
            writeln!(f, "! {}", self.code)?;
        }
        Ok(())
    }
}

/// Fails with every command that printed something else.
pub(crate) fn compare(expected: &Script, seen: &Script, what: &str) {
    let mut differences = String::new();
    for (expected, seen) in expected.0.iter().zip(&seen.0) {
        if let (Item::Command(expected), Item::Command(seen)) = (expected, seen)
            && expected != seen
        {
            differences.push_str(&format!("--- expected\n{expected}--- printed\n{seen}\n"));
        }
    }
    assert!(differences.is_empty(), "{what}:\n{differences}");
}
