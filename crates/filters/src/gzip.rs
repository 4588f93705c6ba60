//! Bodies packed and unpacked (gzip, RFC 1952) on their way, without holding them.

use std::{
    io::Write,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use flate2::{
    Compression,
    write::{GzDecoder, GzEncoder},
};
use futures_util::{Stream, StreamExt};
use tidegate_base::{Budget, Holder, Lease};
use tidegate_http::message::{Body, BodyError, Headers, Known, Pieces};

/// What a packer holds: window, chains and buffers of `miniz_oxide` are 320 KiB, and what it writes at a time.
const PACK_BYTES: u64 = 448 << 10;
/// What an unpacker holds: a window, what 64 bytes may become, at most 1032 times as much, and the header of a member: name, comment
/// and extra field of up to 64 KiB each, of which one grows at a time.
const UNPACK_BYTES: u64 = (192 + 3 * 64 + 64) << 10;
/// Members of a body, 4 GiB of what `bgzip` writes: each costs an allocation, and an empty one is 20 bytes.
const MEMBERS_MAX: u32 = 1 << 16;
/// Parts and members taken in before other work of the thread has its turn: 16 KiB to unpack, about a millisecond.
const TURN: u32 = 256;
/// What a part to be packed counts for: a turn is 1 MiB of them.
const PACK_TURN: u32 = TURN / 16;
/// Taken in at a time.
const PACK_PART: usize = 64 << 10;
const UNPACK_PART: usize = 64;
/// Given on at a time, where there is as much.
const PIECE: usize = 16 << 10;

enum Coder {
    Pack(GzEncoder<Vec<u8>>),
    Unpack(Members),
}

impl Coder {
    /// Takes a part in: what it counts for in a turn.
    fn write(&mut self, part: &[u8]) -> std::io::Result<u32> {
        match self {
            Coder::Pack(coder) => coder.write_all(part).map(|()| PACK_TURN),
            Coder::Unpack(members) => members.write(part),
        }
    }

    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Coder::Pack(coder) => coder.get_mut(),
            Coder::Unpack(members) => members.decoder.get_mut(),
        }
    }

    fn finish(&mut self) -> std::io::Result<()> {
        match self {
            Coder::Pack(coder) => coder.try_finish(),
            Coder::Unpack(members) => members.decoder.try_finish(),
        }
    }

    /// Has what was taken in come out.
    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Coder::Pack(coder) => coder.flush(),
            Coder::Unpack(_) => Ok(()),
        }
    }

    const fn part(&self) -> usize {
        match self {
            Coder::Pack(_) => PACK_PART,
            Coder::Unpack(_) => UNPACK_PART,
        }
    }
}

/// Members of a body, one behind the other (RFC 1952, 2.2). Not the decoder of `flate2` for several: that one counts none.
struct Members {
    decoder: GzDecoder<Vec<u8>>,
    begun: u32,
}

impl Members {
    fn new() -> Self {
        Self { decoder: GzDecoder::new(Vec::new()), begun: 1 }
    }

    fn write(&mut self, mut part: &[u8]) -> std::io::Result<u32> {
        let before = self.begun;
        while !part.is_empty() {
            let mut taken = self.decoder.write(part)?;
            if taken == 0 {
                // The member is at its end: what follows is another.
                self.decoder.try_finish()?;
                if self.begun >= MEMBERS_MAX {
                    return Err(std::io::Error::other("has too many members"));
                }
                self.begun += 1;
                let out = std::mem::take(self.decoder.get_mut());
                self.decoder = GzDecoder::new(out);
                taken = self.decoder.write(part)?;
                if taken == 0 {
                    return Err(std::io::ErrorKind::WriteZero.into());
                }
            }
            part = part.get(taken..).unwrap_or_default();
        }
        Ok(1 + self.begun - before)
    }
}

/// A body in another coding.
pub(crate) struct Coded {
    inner: Pieces,
    /// Of the last piece, what is still to be coded.
    rest: Bytes,
    /// None once all has come out.
    coder: Option<Coder>,
    /// Something was taken in since the last flush.
    dirty: bool,
    /// Bytes taken in; a body of none stays one of none when it is unpacked.
    taken: u64,
    _lease: Lease,
}

impl Coded {
    pub(crate) fn pack(inner: Pieces, budget: &Budget) -> Result<Self, BodyError> {
        let lease = budget.try_lease(Holder::Gateway, PACK_BYTES).ok_or(BodyError::NoMemory)?;
        let coder = Coder::Pack(GzEncoder::new(Vec::new(), Compression::default()));
        Ok(Self { inner, rest: Bytes::new(), coder: Some(coder), dirty: false, taken: 0, _lease: lease })
    }

    pub(crate) fn unpack(inner: Pieces, budget: &Budget) -> Result<Self, BodyError> {
        let lease = budget.try_lease(Holder::Gateway, UNPACK_BYTES).ok_or(BodyError::NoMemory)?;
        let coder = Coder::Unpack(Members::new());
        Ok(Self { inner, rest: Bytes::new(), coder: Some(coder), dirty: false, taken: 0, _lease: lease })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let malformed = |_| BodyError::Malformed;
        let Some(coder) = &mut self.coder else { return Poll::Ready(Ok(None)) };
        let mut done = 0;
        loop {
            while !self.rest.is_empty() {
                let part = self.rest.split_to(coder.part().min(self.rest.len()));
                self.taken += part.len() as u64;
                self.dirty = true;
                done += coder.write(&part).map_err(malformed)?;
                if coder.out().len() >= PIECE {
                    return Poll::Ready(Ok(Some(take(coder))));
                }
                if done >= TURN {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            match self.inner.poll_next_unpin(cx) {
                Poll::Ready(Some(piece)) => self.rest = piece?,
                Poll::Ready(None) => {
                    if self.taken > 0 || matches!(coder, Coder::Pack(_)) {
                        coder.finish().map_err(malformed)?;
                    }
                    let last = take(coder);
                    self.coder = None;
                    return Poll::Ready(Ok(Some(last).filter(|last| !last.is_empty())));
                }
                // Who waits for more shall have what there is.
                Poll::Pending if self.dirty => {
                    self.dirty = false;
                    coder.flush().map_err(malformed)?;
                    if !coder.out().is_empty() {
                        return Poll::Ready(Ok(Some(take(coder))));
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

fn take(coder: &mut Coder) -> Bytes {
    std::mem::take(coder.out()).into()
}

impl Stream for Coded {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = ready!(self.poll(cx));
        if polled.is_err() {
            self.coder = None;
        }
        Poll::Ready(polled.transpose())
    }
}

/// Packs the body of an answer. The body comes back as it was where there is no room or it cannot be taken in pieces.
pub(crate) fn pack_answer(body: Body, budget: &Budget) -> Result<Body, Body> {
    // Asked for first: a body in pieces has no length any more.
    let lease = budget.try_lease(Holder::Gateway, PACK_BYTES);
    if lease.is_none() {
        return Err(body);
    }
    drop(lease);
    let pieces = body.into_pieces(budget, Holder::Gateway)?;
    match Coded::pack(pieces, budget) {
        Ok(coded) => Ok(Body::chunks(coded)),
        // The room was there a moment ago and another thread took it.
        Err(_) => Ok(Body::chunks(futures_util::stream::iter([Err(BodyError::NoMemory)]))),
    }
}

/// Reads a body to its end, with its lease, of at most `most` bytes. Other work of the thread goes on in between.
pub(crate) async fn whole(mut coded: Coded, most: u64, budget: &Budget) -> Result<(Vec<u8>, Lease), BodyError> {
    let (mut out, mut lease) = (Vec::new(), budget.empty(Holder::Gateway));
    while let Some(piece) = coded.next().await {
        let piece = piece?;
        let needed = out.len() + piece.len();
        if needed as u64 > most {
            return Err(BodyError::TooLarge);
        }
        if needed > out.capacity() {
            let target = needed.max(out.capacity() * 2);
            if !lease.try_grow((target - out.capacity()) as u64) {
                return Err(BodyError::NoMemory);
            }
            out.reserve_exact(target - out.len());
        }
        out.extend_from_slice(&piece);
        tokio::task::yield_now().await;
    }
    Ok((out, lease))
}

/// Whether a body may be coded anew: not where `Cache-Control` has `no-transform`.
pub(crate) fn may_code(headers: &Headers) -> bool {
    let mut words = headers.all(Known::CacheControl).flat_map(|line| line.split(|byte| *byte == b','));
    !words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// Whether this is the only coding of the body.
pub(crate) fn is_gzip(headers: &Headers) -> bool {
    headers.get(Known::ContentEncoding).is_some_and(|coding| coding.eq_ignore_ascii_case(b"gzip"))
}

/// Puts right what headers say of a body that was coded anew.
pub(crate) fn recoded(headers: &mut Headers, coding: Option<&[u8]>) {
    headers.remove_known(Known::ContentLength);
    // Parts of the old body are no parts of this one, and the same to the byte is neither.
    headers.remove_known(Known::AcceptRanges);
    if let Some(tag) = headers.get(Known::ETag).filter(|tag| tag.starts_with(b"\"")) {
        let weak = [b"W/", tag].concat();
        headers.set_known(Known::ETag, &weak);
    }
    match coding {
        Some(coding) => headers.set_known(Known::ContentEncoding, coding),
        None => headers.remove_known(Known::ContentEncoding),
    }
}

#[cfg(test)]
mod tests {
    use flate2::write::MultiGzDecoder;
    use futures_util::{FutureExt, stream};
    use tidegate_base::{ByteSize, Limits, Profile};

    use super::*;

    fn budget() -> Budget {
        Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap())
    }

    fn pieces(parts: &[&[u8]]) -> Pieces {
        Box::pin(stream::iter(parts.iter().map(|part| Ok(Bytes::copy_from_slice(part))).collect::<Vec<_>>()))
    }

    /// Yields to nobody but itself, so that it is ready at the latest when it was polled as often as it has pieces.
    fn read(coded: Coded, most: u64, budget: &Budget) -> Result<Vec<u8>, BodyError> {
        let mut work = Box::pin(whole(coded, most, budget));
        loop {
            if let Some(done) = work.as_mut().now_or_never() {
                return done.map(|(bytes, _)| bytes);
            }
        }
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut coder = GzEncoder::new(Vec::new(), Compression::default());
        coder.write_all(text).unwrap();
        coder.finish().unwrap()
    }

    #[test]
    fn what_is_packed_is_unpacked_whatever_its_pieces() {
        let budget = budget();
        let text: Vec<u8> = (0..200_000u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        for size in [1000, 65_536, text.len()] {
            let parts: Vec<&[u8]> = text.chunks(size).collect();
            let coded = Coded::pack(pieces(&parts), &budget).unwrap();
            let packed = read(coded, u64::MAX, &budget).unwrap();
            assert!(packed.len() < text.len() / 2);
            let parts: Vec<&[u8]> = packed.chunks(size).collect();
            let coded = Coded::unpack(pieces(&parts), &budget).unwrap();
            assert!(read(coded, u64::MAX, &budget).unwrap() == text, "pieces of {size}");
        }
        let two = [packed(b"one "), packed(b"two")].concat();
        let coded = Coded::unpack(pieces(&[&two]), &budget).unwrap();
        assert_eq!(read(coded, u64::MAX, &budget).unwrap(), b"one two", "members follow each other");
        assert_eq!(budget.used(Holder::Gateway), 0);
    }

    #[test]
    fn a_bomb_ends_at_the_limit_and_holds_little_on_its_way() {
        let budget = budget();
        let bomb = packed(&vec![0; 64 << 20]);
        let coded = Coded::unpack(pieces(&[&bomb]), &budget).unwrap();
        assert_eq!(read(coded, 1 << 20, &budget), Err(BodyError::TooLarge));
        let coded = Coded::unpack(pieces(&[&bomb]), &budget).unwrap();
        let largest = stream::iter(std::iter::from_fn({
            let mut coded = coded;
            move || coded.next().now_or_never().flatten()
        }))
        .fold(0, |most: usize, piece| async move { most.max(piece.unwrap().len()) })
        .now_or_never()
        .unwrap();
        assert!(largest as u64 <= UNPACK_BYTES / 2, "{largest}");
    }

    #[test]
    fn empty_members_leave_others_their_turn_and_come_to_an_end() {
        let budget = budget();
        let empty = packed(b"");
        for (count, end) in [(5000, Ok(Vec::new())), (MEMBERS_MAX as usize + 1, Err(BodyError::Malformed))] {
            let body = empty.repeat(count);
            let mut coded = Coded::unpack(pieces(&[&body]), &budget).unwrap();
            assert!(coded.next().now_or_never().is_none(), "all {count} in one turn");
            assert_eq!(read(coded, u64::MAX, &budget), end, "{count}");
        }
    }

    #[test]
    fn what_is_no_gzip_or_cut_short_is_malformed() {
        let budget = budget();
        let good = packed(b"hello, hello, hello");
        for wrong in [&b"plain text"[..], &good[..good.len() - 1], &good[..12], &[&good[..], b"x"].concat()] {
            let coded = Coded::unpack(pieces(&[wrong]), &budget).unwrap();
            assert_eq!(read(coded, u64::MAX, &budget), Err(BodyError::Malformed), "{wrong:?}");
        }
        let empty = Coded::unpack(pieces(&[]), &budget).unwrap();
        assert_eq!(read(empty, u64::MAX, &budget).unwrap(), b"");
    }

    #[test]
    fn who_waits_has_what_there_is() {
        let budget = budget();
        let parts = stream::iter([Ok(Bytes::from_static(b"first"))]).chain(stream::pending());
        let mut coded = Coded::pack(Box::pin(parts), &budget).unwrap();
        let mut told = Vec::new();
        while let Some(piece) = coded.next().now_or_never() {
            told.extend_from_slice(&piece.unwrap().unwrap());
        }
        let mut decoder = MultiGzDecoder::new(Vec::new());
        decoder.write_all(&told).unwrap();
        decoder.flush().unwrap();
        assert_eq!(decoder.get_ref(), b"first");
    }

    #[test]
    fn headers_tell_of_the_new_body() {
        let mut headers = Headers::new();
        for (name, value) in [("Content-Length", "5"), ("ETag", "\"a\""), ("Accept-Ranges", "bytes")] {
            headers.append(name, value.as_bytes());
        }
        recoded(&mut headers, Some(b"gzip"));
        assert!(is_gzip(&headers) && headers.len() == 2);
        assert_eq!(headers.get(Known::ETag), Some(&b"W/\"a\""[..]));
        recoded(&mut headers, None);
        assert_eq!((headers.get(Known::ETag), headers.len()), (Some(&b"W/\"a\""[..]), 1));
    }
}
