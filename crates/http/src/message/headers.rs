//! The header list.

use super::{Known, text};

/// Where a name or a value stands in the list's bytes. A head is at most 16 KiB and what filters add is bounded too
/// ([`Headers::BYTES_MAX`]), so 32 bits are enough.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    start: u32,
    len: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    name: Place,
    value: Place,
    known: Known,
    /// Name to line end stand in the bytes as they are written on the wire.
    whole: bool,
}

/// Headers in the order they came, names in any case and more than once.
///
/// Nothing here fails: an unprintable byte of a value becomes a blank and one of a name a `-`, so that no caller can
/// split a message (RFC 9110, 5.5); beyond [`Headers::BYTES_MAX`] an addition is dropped.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Headers {
    /// Most bytes of a list, what was removed included: a head of 16 KiB and as much again from filters.
    pub const BYTES_MAX: usize = 64 << 10;

    pub const fn new() -> Self {
        Self { bytes: Vec::new(), entries: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// First value of a known name.
    pub fn get(&self, name: Known) -> Option<&[u8]> {
        self.entries.iter().find(|entry| entry.known == name).map(|entry| self.at(entry.value))
    }

    /// First value of a known name, when it is text.
    pub fn text(&self, name: Known) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// First value of any name, in any case.
    pub fn find(&self, name: &str) -> Option<&[u8]> {
        let known = Known::of(name.as_bytes());
        self.entries.iter().find(|entry| self.is(entry, known, name.as_bytes())).map(|entry| self.at(entry.value))
    }

    /// Values of any name, in any case, in order.
    pub fn matching<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let known = Known::of(name.as_bytes());
        self.entries
            .iter()
            .filter(move |entry| self.is(entry, known, name.as_bytes()))
            .map(|entry| self.at(entry.value))
    }

    /// Values of a known name, in order.
    pub fn all(&self, name: Known) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter(move |entry| entry.known == name).map(|entry| self.at(entry.value))
    }

    pub fn iter(&self) -> HeadersIter<'_> {
        HeadersIter { headers: self, at: 0 }
    }

    pub fn append(&mut self, name: &str, value: &[u8]) {
        self.add(Known::of(name.as_bytes()), name.as_bytes(), value);
    }

    pub fn append_known(&mut self, name: Known, value: &[u8]) {
        self.add(name, name.as_str().as_bytes(), value);
    }

    /// Replaces every value of `name` by this one.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.append(name, value);
    }

    pub fn set_known(&mut self, name: Known, value: &[u8]) {
        self.remove_known(name);
        self.append_known(name, value);
    }

    pub fn remove(&mut self, name: &str) {
        let known = Known::of(name.as_bytes());
        let (bytes, name) = (&self.bytes, name.as_bytes());
        self.entries.retain(|entry| !is(bytes, entry, known, name));
    }

    pub fn remove_known(&mut self, name: Known) {
        self.entries.retain(|entry| entry.known != name);
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// Bytes that the list keeps allocated.
    pub fn allocated(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Takes the bytes of a received head, to which [`Headers::push_place`] then refers.
    pub(crate) fn receive(&mut self, head: &[u8]) {
        self.clear();
        self.bytes.extend_from_slice(head);
    }

    /// Begins a list with these bytes, to which places may refer.
    pub(crate) fn begin(&mut self, parts: &[&[u8]]) {
        self.clear();
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
    }

    /// Adds a header that was checked: a token, and a value without blanks around it.
    pub(crate) fn push(&mut self, known: Known, name: &[u8], value: &[u8]) {
        let name_start = self.bytes.len();
        let value_start = name_start + name.len() + 2;
        self.bytes.reserve(name.len() + value.len() + 4);
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
        self.push_place((name_start, name.len()), (value_start, value.len()), known, true);
    }

    /// Each header with the number of its name, and where its value begins in [`Headers::raw`].
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Known, &[u8], &[u8], usize)> {
        self.entries
            .iter()
            .map(|entry| (entry.known, self.at(entry.name), self.at(entry.value), entry.value.start as usize))
    }

    pub(crate) fn raw(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a header that stands in the received bytes. `whole`: value and line end follow each other there.
    pub(crate) fn push_place(&mut self, name: (usize, usize), value: (usize, usize), known: Known, whole: bool) {
        self.entries.push(Entry { name: place(name.0, name.1), value: place(value.0, value.1), known, whole });
    }

    /// Writes the headers whose names `keep` says yes to, each with its line end.
    pub(crate) fn write(&self, out: &mut impl bytes::BufMut, mut keep: impl FnMut(Known, &[u8]) -> bool) {
        for entry in &self.entries {
            let name = self.at(entry.name);
            if !keep(entry.known, name) {
                continue;
            }
            if entry.whole {
                let start = entry.name.start as usize;
                let end = (entry.value.start + entry.value.len) as usize + 2;
                out.put_slice(self.bytes.get(start..end).unwrap_or_default());
            } else {
                out.put_slice(name);
                out.put_slice(b": ");
                out.put_slice(self.at(entry.value));
                out.put_slice(b"\r\n");
            }
        }
    }

    fn add(&mut self, known: Known, name: &[u8], value: &[u8]) {
        if name.is_empty() || self.bytes.len() + name.len() + value.len() + 4 > Self::BYTES_MAX {
            return;
        }
        let name_start = self.bytes.len();
        self.bytes.extend(name.iter().map(|byte| if text::is_token(&[*byte]) { *byte } else { b'-' }));
        self.bytes.extend_from_slice(b": ");
        let value = text::trim(value);
        let value_start = self.bytes.len();
        if text::is_value(value) {
            self.bytes.extend_from_slice(value);
        } else {
            self.bytes.extend(value.iter().map(|byte| if text::bad_in_value(*byte) { b' ' } else { *byte }));
        }
        self.bytes.extend_from_slice(b"\r\n");
        self.push_place((name_start, name.len()), (value_start, value.len()), known, true);
    }

    fn is(&self, entry: &Entry, known: Known, name: &[u8]) -> bool {
        is(&self.bytes, entry, known, name)
    }

    fn at(&self, place: Place) -> &[u8] {
        slice(&self.bytes, place)
    }
}

fn is(bytes: &[u8], entry: &Entry, known: Known, name: &[u8]) -> bool {
    entry.known == known && (known != Known::Other || slice(bytes, entry.name).eq_ignore_ascii_case(name))
}

#[expect(clippy::cast_possible_truncation, reason = "a list has at most BYTES_MAX bytes")]
const fn place(start: usize, len: usize) -> Place {
    Place { start: start as u32, len: len as u32 }
}

fn slice(bytes: &[u8], place: Place) -> &[u8] {
    let start = place.start as usize;
    bytes.get(start..start + place.len as usize).unwrap_or_default()
}

/// Names and values in order.
pub struct HeadersIter<'a> {
    headers: &'a Headers,
    at: usize,
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.headers.entries.get(self.at)?;
        self.at += 1;
        Some((self.headers.at(entry.name), self.headers.at(entry.value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(headers: &Headers) -> String {
        let mut out = Vec::new();
        headers.write(&mut out, |_, _| true);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn names_are_found_in_any_case_and_order_is_kept() {
        let mut headers = Headers::new();
        headers.append("X-A", b"1");
        headers.append("content-type", b"text/plain");
        headers.append("x-a", b"2");
        assert_eq!(headers.matching("X-a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(headers.get(Known::ContentType), Some(&b"text/plain"[..]));
        assert_eq!(written(&headers), "X-A: 1\r\ncontent-type: text/plain\r\nx-a: 2\r\n");
        headers.set("X-A", b"3");
        headers.remove_known(Known::ContentType);
        assert_eq!(written(&headers), "X-A: 3\r\n");
    }

    #[test]
    fn no_value_or_name_can_split_the_message() {
        let mut headers = Headers::new();
        headers.append("Bad\r\nName", b"a\r\nSet-Cookie: x\0");
        headers.append("", b"x");
        assert_eq!(written(&headers), "Bad--Name: a  Set-Cookie: x \r\n");
    }

    #[test]
    fn additions_end_at_the_limit() {
        let mut headers = Headers::new();
        let value = vec![b'x'; 10 << 10];
        for _ in 0..100 {
            headers.append("X-Long", &value);
        }
        assert_eq!(headers.len(), 6);
        assert!(headers.raw().len() <= Headers::BYTES_MAX);
    }
}
