//! All objects as one answer, written page by page: what is held at a time is a page, whatever there is in all.

use std::borrow::Cow;

use bytes::Bytes;
use tidegate_api::{BoxFuture, Error};
use tidegate_base::{Budget, ByteSize, Holder};

use super::{
    AdminResponse, Body, Chunk, Chunks,
    answer::{JSON, YAML},
    error::AdminError,
    service::VERSION_HEADER,
};
use crate::custom::{CustomStore, Kind};
use crate::objects::{Listed, Meter, Page, ReadError, SYSTEM_KINDS, Store, read_json, system_spec};

/// Values of one object, while it becomes YAML.
const STORED_LIMIT: ByteSize = ByteSize::mib(24);
/// Longest text of an object that is always there.
const SYSTEM_BYTES_MAX: usize = 512;

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Objects,
    /// Wrapped in an object of namespaces.
    Namespaces,
    /// Items of custom data.
    Items,
    /// Kinds of custom data, each with the number of its items.
    Kinds,
}

pub(super) struct List {
    prefix: String,
    /// Objects that are always there and were not written yet.
    system: &'static [&'static str],
    store: Store,
    budget: Budget,
    format: Format,
    /// The page at hand, or what is needed to get it.
    state: State,
    /// Whether an object was written yet: pages may hold nothing that can be read.
    empty: bool,
}

enum State {
    Page(Box<Listed>),
    Next(Page),
    Ended,
}

#[derive(Clone, Copy)]
struct Format {
    yaml: bool,
    /// Wrapped in an object of namespaces.
    namespaces: bool,
    kinds: bool,
}

impl List {
    /// Reads the first page, so that a store that fails gives an error and not a broken answer.
    pub(super) async fn open(
        store: Store,
        budget: Budget,
        prefix: String,
        what: What,
        yaml: bool,
    ) -> Result<AdminResponse, AdminError> {
        let listed = store.list_below(&prefix, Page::default()).await.map_err(AdminError::Store)?;
        let version = listed.version.unwrap_or_default();
        let format = Format { yaml, namespaces: what == What::Namespaces, kinds: what == What::Kinds };
        let system: &[_] = if matches!(what, What::Items | What::Kinds) { &[] } else { &SYSTEM_KINDS };
        let list = Self { prefix, system, store, budget, format, state: State::Page(Box::new(listed)), empty: true };
        Ok(AdminResponse {
            status: 200,
            content_type: Some(if yaml { YAML } else { JSON }),
            headers: vec![(VERSION_HEADER, version.to_string())],
            body: Body::Chunks(Box::new(list)),
        })
    }

    async fn chunk(&mut self) -> Result<Option<Chunk>, Error> {
        let listed = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => return Ok(None),
            State::Page(listed) => *listed,
            State::Next(page) => self.store.list_below(&self.prefix, page).await?,
        };
        let system = self.system.len() * SYSTEM_BYTES_MAX;
        let bytes = listed.objects.iter().map(|(_, text)| text.len() + 4).sum::<usize>() + system;
        // YAML puts each value on a line of its own, indented: rarely more than twice the text, and corrected below.
        let estimate = if self.format.yaml { bytes * 2 } else { bytes };
        let lease = self.budget.try_lease(Holder::Gateway, estimate as u64 + 64);
        let mut lease = lease.ok_or(Error::TooManyRequests)?;
        let mut out = String::with_capacity(estimate + 64);
        for (name, text) in &listed.objects {
            self.put_system(&mut out, Some(name))?;
            let count = if self.format.kinds { CustomStore(&self.store).count(name).await? } else { 0 };
            self.put(&mut out, text, count)?;
        }
        match listed.next {
            Some(page) => self.state = State::Next(page),
            None => {
                self.put_system(&mut out, None)?;
                out.push_str(self.format.close(self.empty));
            }
        }
        let missing = (out.len() as u64).saturating_sub(lease.bytes());
        if missing > 0 && !lease.try_grow(missing) {
            return Err(Error::TooManyRequests);
        }
        Ok(Some(Chunk { bytes: Bytes::from(out), lease: Some(lease) }))
    }

    /// Writes what is always there and stands before `name`; one of that name was changed, and is in the store.
    fn put_system(&mut self, out: &mut String, name: Option<&str>) -> Result<(), Error> {
        while let Some((kind, rest)) = self.system.split_first()
            && name.is_none_or(|name| *kind <= name)
        {
            self.system = rest;
            if name != Some(*kind) {
                self.put(out, &Bytes::from(system_spec(kind).to_string()), 0)?;
            }
        }
        Ok(())
    }

    /// Writes only what can be read: one damaged spec must not make the whole list unreadable. `count` is the items of a kind.
    fn put(&mut self, out: &mut String, text: &Bytes, count: i64) -> Result<(), Error> {
        let mut meter = Meter::new(&self.budget, STORED_LIMIT);
        let value = match read_json(text, &mut meter) {
            Ok(value) => value,
            // Neither will be read later.
            Err(ReadError::Syntax(_) | ReadError::TooLarge(..)) => return Ok(()),
            // An object that is left out of a list looks as if it were gone.
            Err(ReadError::NoRoom) => return Err(Error::TooManyRequests),
        };
        let value = if self.format.kinds { Kind::listed(value, count) } else { Some(value) };
        let (Some(value), Ok(text)) = (value, std::str::from_utf8(text)) else { return Ok(()) };
        out.push_str(self.format.before(std::mem::take(&mut self.empty)));
        if !self.format.yaml {
            out.push_str(&if self.format.kinds { value.to_string().into() } else { Cow::from(text) });
            return Ok(());
        }
        let yaml = serde_yaml_ng::to_string(&value).map_err(Error::undecodable)?;
        for (number, line) in yaml.lines().enumerate() {
            out.push_str(if self.format.namespaces { "  " } else { "" });
            out.push_str(if number == 0 { "- " } else { "  " });
            out.push_str(line);
            out.push('\n');
        }
        Ok(())
    }
}

impl Format {
    /// What stands before an object.
    const fn before(self, first: bool) -> &'static str {
        match (self.yaml, self.namespaces, first) {
            (false, false, true) => "[",
            (false, true, true) => "{\"default\":[",
            (false, _, false) => ",",
            (true, true, true) => "default:\n",
            (true, ..) => "",
        }
    }

    const fn close(self, empty: bool) -> &'static str {
        match (self.yaml, self.namespaces, empty) {
            (false, false, false) => "]",
            (false, true, false) => "]}",
            (false, false, true) => "[]",
            (false, true, true) => "{\"default\":[]}",
            (true, _, false) => "",
            (true, false, true) => "[]\n",
            (true, true, true) => "default: []\n",
        }
    }
}

impl Chunks for List {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Chunk, Error>>> {
        Box::pin(async move { self.chunk().await.transpose() })
    }
}
