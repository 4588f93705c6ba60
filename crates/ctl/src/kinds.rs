//! What a word on the command line stands for.

use serde_json::Value;

use crate::{Error, print::list, server::Server};

/// What verbs work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resource {
    Objects(String),
    Members,
    DataKinds,
    Data,
}

/// Kind, name, aliases and verbs of what is no object.
pub(crate) const OTHERS: [(&str, &str, &[&str], &str); 3] = [
    ("CustomData", "customdata", &["cd", "customdatas"], "create,apply,edit,delete,get,describe"),
    ("CustomDataKind", "customdatakind", &["cdk", "customdatakinds"], "create,apply,edit,delete,get,describe"),
    ("Member", "member", &["m", "mem", "members"], "delete,get,describe"),
];

impl Resource {
    pub(crate) fn new(kind: &str) -> Self {
        match kind {
            "CustomData" => Self::Data,
            "CustomDataKind" => Self::DataKinds,
            "Member" => Self::Members,
            kind => Self::Objects(kind.to_owned()),
        }
    }

    pub(crate) fn kind(&self) -> &str {
        match self {
            Self::Objects(kind) => kind,
            Self::Members => "Member",
            Self::DataKinds => "CustomDataKind",
            Self::Data => "CustomData",
        }
    }
}

/// What `word` stands for: a name or alias in any case, or the start of one. `None` where nothing begins so.
pub(crate) async fn find(server: &Server, word: &str) -> Result<Option<Resource>, Error> {
    let told = list(server.get("/object-api-resources").await?);
    let words = |resource: &Value| {
        let one = |key: &str| resource[key].as_str().map(ToOwned::to_owned);
        let aliases = resource["Aliases"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let kind = one("Kind")?;
        Some((
            kind.clone(),
            [Some(kind), one("Name")].into_iter().flatten().chain(aliases.map(ToOwned::to_owned)).collect(),
        ))
    };
    let mut known: Vec<(String, Vec<String>)> = told.iter().filter_map(words).collect();
    known.extend(OTHERS.iter().map(|(kind, name, aliases, _)| {
        let words = [*name].into_iter().chain(aliases.iter().copied()).map(ToOwned::to_owned);
        ((*kind).to_owned(), words.collect())
    }));
    choose(&known, word)
}

fn choose(known: &[(String, Vec<String>)], word: &str) -> Result<Option<Resource>, Error> {
    let of = |fits: &dyn Fn(&str) -> bool| -> Vec<&str> {
        known.iter().filter(|(_, words)| words.iter().any(|word| fits(word))).map(|(kind, _)| &**kind).collect()
    };
    let exact = of(&|known| known.eq_ignore_ascii_case(word));
    let begins = |known: &str| known.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let found = if exact.is_empty() && !word.is_empty() { of(&begins) } else { exact };
    match *found {
        [] => Ok(None),
        [kind] => Ok(Some(Resource::new(kind))),
        _ => Err(Error::Local(format!("\"{word}\" may stand for {}", found.join(", ")))),
    }
}

/// As [`find`], where a kind is needed.
pub(crate) async fn need(server: &Server, word: &str) -> Result<Resource, Error> {
    let found = find(server, word).await?;
    found.ok_or_else(|| Error::Local(format!("{word} is not a kind that the server has")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_names_aliases_or_their_starts() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let known = [
            ("HTTPServer".to_owned(), words(&["HTTPServer", "httpserver", "httpservers", "hs"])),
            ("Pipeline".to_owned(), words(&["Pipeline", "pipeline", "pipelines", "pl"])),
            ("CustomDataKind".to_owned(), words(&["customdatakind", "cdk"])),
            ("CustomData".to_owned(), words(&["customdata", "cd"])),
        ];
        let check = |word: &str, expected: Option<Resource>| assert_eq!(choose(&known, word).unwrap(), expected);
        check("HS", Some(Resource::Objects("HTTPServer".to_owned())));
        check("httpserv", Some(Resource::Objects("HTTPServer".to_owned())));
        check("p", Some(Resource::Objects("Pipeline".to_owned())));
        check("customdata", Some(Resource::Data));
        check("cd", Some(Resource::Data));
        check("cdk", Some(Resource::DataKinds));
        check("x", None);
        check("é", None);
        check("", None);
        let told = choose(&known, "cust").unwrap_err().to_string();
        assert_eq!(told, "\"cust\" may stand for CustomDataKind, CustomData");
    }
}
