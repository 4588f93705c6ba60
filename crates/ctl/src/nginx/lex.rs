//! nginx.conf as a tree of directives. Nothing in a file may panic: it is read with limits of depth, files and bytes.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use crate::{Error, documents::FILE_BYTES_MAX};

/// Blocks inside blocks, and files inside files.
const DEPTH_MAX: usize = 32;
/// Files in all.
const FILES_MAX: usize = 256;

/// One directive, with what its block holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) children: Vec<Directive>,
    /// `FILE:LINE`.
    pub(super) place: String,
}

impl Directive {
    pub(super) fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    /// Children of that name.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Directive> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

/// Reads files, those that they include in their places.
pub(super) struct Reader {
    /// What relative paths start from, in all files.
    folder: PathBuf,
    files: usize,
    /// What was not read, and where it was asked for.
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Open,
    Close,
    End,
}

impl Reader {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder, files: 0, warnings: Vec::new() }
    }

    pub(super) fn read(&mut self, path: &Path) -> Result<Vec<Directive>, Error> {
        let wrong = |told: String| Error::Local(format!("{}: {told}", path.display()));
        let mut text = String::new();
        let file = fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
        let read = file.take(FILE_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|error| wrong(error.to_string()))?;
        self.files += 1;
        self.parse(&text, path)
    }

    pub(super) fn parse(&mut self, text: &str, path: &Path) -> Result<Vec<Directive>, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let wrong = |line: usize, told: &str| Error::Local(format!("{name}:{line}: {told}"));
        // The blocks that are open: the directive that each belongs to, and what it holds so far.
        let mut open: Vec<(Directive, Vec<Directive>)> = Vec::new();
        let mut level: Vec<Directive> = Vec::new();
        let mut words: Vec<String> = Vec::new();
        for (token, line) in tokens(text).map_err(|(line, told)| wrong(line, told))? {
            match token {
                Token::Word(word) => words.push(word),
                Token::End | Token::Open if words.is_empty() => return Err(wrong(line, "a directive has no name")),
                Token::Close if !words.is_empty() => return Err(wrong(line, "a directive does not end with ;")),
                Token::Open if open.len() == DEPTH_MAX => return Err(wrong(line, "too many blocks in one another")),
                Token::End | Token::Open => {
                    let args = words.split_off(1);
                    let name = words.remove(0);
                    let place = format!("{}:{line}", path.file_name().unwrap_or_default().to_string_lossy());
                    let directive = Directive { name, args, children: Vec::new(), place };
                    match token {
                        Token::Open => open.push((directive, std::mem::take(&mut level))),
                        _ if directive.name == "include" => level.extend(self.include(&directive)?),
                        _ => level.push(directive),
                    }
                }
                Token::Close => {
                    let (mut directive, outer) = open.pop().ok_or_else(|| wrong(line, "} closes nothing"))?;
                    directive.children = std::mem::replace(&mut level, outer);
                    level.push(directive);
                }
            }
        }
        match (open.last(), words.first()) {
            (Some((directive, _)), _) => {
                Err(wrong(text.lines().count(), &format!("the block at {} does not end", directive.place)))
            }
            (None, Some(word)) => Err(wrong(text.lines().count(), &format!("{word} at the end does not end with ;"))),
            (None, None) => Ok(level),
        }
    }

    /// One file, or all that fit a `*` in the last part of the path.
    fn include(&mut self, directive: &Directive) -> Result<Vec<Directive>, Error> {
        let pattern = self.folder.join(directive.arg(0));
        let folder = pattern.parent().unwrap_or(Path::new("")).to_owned();
        let last = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut paths = vec![pattern.clone()];
        if let Some((start, end)) = last.split_once('*') {
            let entries = fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
            let fits = |path: &PathBuf| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
            };
            paths = entries.filter(fits).collect();
            paths.sort();
        } else if !pattern.exists() {
            self.warnings.push(format!("{}: {} is not there to include", directive.place, directive.arg(0)));
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for path in paths {
            if self.files >= FILES_MAX {
                return Err(Error::Local(format!("{}: more than {FILES_MAX} files are included", directive.place)));
            }
            all.extend(self.read(&path)?);
        }
        Ok(all)
    }
}

/// Words and marks with their lines. Quotes and backslashes are taken out; `${name}` stays one word.
fn tokens(text: &str) -> Result<Vec<(Token, usize)>, (usize, &'static str)> {
    let mut out = Vec::new();
    let (mut line, mut chars) = (1, text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '\n' => line += 1,
            c if c.is_whitespace() => {}
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            '{' => out.push((Token::Open, line)),
            '}' => out.push((Token::Close, line)),
            ';' => out.push((Token::End, line)),
            quote @ ('"' | '\'') => {
                let (start, mut word) = (line, String::new());
                loop {
                    match chars.next().ok_or((start, "a quote does not end"))? {
                        c if c == quote => break,
                        // Other escapes are for regular expressions, and stay.
                        '\\' => match chars.next().ok_or((start, "a quote does not end"))? {
                            c @ ('"' | '\'' | '\\') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => {
                            line += usize::from(c == '\n');
                            word.push(c);
                        }
                    }
                }
                out.push((Token::Word(word), start));
            }
            first => {
                let mut word = String::from(first);
                let mut variable = false;
                let goes_on =
                    |c: char, word: &str| !(c.is_whitespace() || c == ';' || c == '{' && !word.ends_with('$'));
                while let Some(c) = chars.next_if(|c| variable || goes_on(*c, &word)) {
                    variable = c == '{' || variable && c != '}';
                    line += usize::from(c == '\n');
                    word.push(c);
                    if c == '\\' {
                        word.extend(chars.next());
                    }
                }
                out.push((Token::Word(word), line));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Directive>, String> {
        Reader::new(PathBuf::new()).parse(text, Path::new("a.conf")).map_err(|error| error.to_string())
    }

    #[test]
    fn directives_have_words_and_blocks() {
        let tree = parse("a 1 \"b c\" 'd\\'e'; # no\nf ${x}y {\n  g ~ \\.php$ {}\n}\n").unwrap();
        assert_eq!((&*tree[0].name, &tree[0].args[..]), ("a", &["1", "b c", "d'e"].map(str::to_owned)[..]));
        assert_eq!((&*tree[1].name, tree[1].arg(0), &*tree[1].place), ("f", "${x}y", "a.conf:2"));
        assert_eq!(tree[1].children[0].args, ["~", "\\.php$"]);
        assert_eq!(tree[1].children[0].place, "a.conf:3");
    }

    #[test]
    fn what_is_no_configuration_is_told() {
        let check = |text: &str, expected: &str| assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        check("a", "a.conf:1: a at the end does not end with ;");
        check("a {", "a.conf:1: the block at a.conf:1 does not end");
        check("\n}", "a.conf:2: } closes nothing");
        check("a { b }", "a.conf:1: a directive does not end with ;");
        check("{", "a.conf:1: a directive has no name");
        check("a 'b", "a.conf:1: a quote does not end");
        check(&"a {".repeat(100), "a.conf:1: too many blocks in one another");
    }
}
