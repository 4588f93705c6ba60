use bytes::{Buf, BytesMut};

use crate::{
    h1::{Announce, Decoder, HeadError, HeadLimits, Scanned, Scanner, encode_response, parse_request, parse_response},
    message::{BodyError, Headers, Known, Method, RequestHead, Response},
};

const LIMITS: HeadLimits = HeadLimits { bytes_max: 2 << 10, headers_max: 20 };

/// A length, then a stream that begins with the head of a request and comes in pieces of that length.
///
/// # Panics
/// When the head depends on where the pieces end, or written again says something else: then whoever it is passed on to
/// would see another request.
pub fn h1_request(data: &[u8]) {
    let Some(head) = head(data) else { return };
    let mut read = RequestHead::default();
    let Ok(framing) = parse_request(head, &mut read) else { return };
    let mut written = [read.method_text(), b" ", target(&read).as_slice()].concat();
    written.extend_from_slice(if framing.keep_alive {
        b" HTTP/1.1\r\n"
    } else {
        b" HTTP/1.1\r\nConnection: close\r\n"
    });
    if read.headers.get(Known::Host).is_none() {
        written.extend_from_slice(b"Host: none\r\n");
    }
    read.headers.write(&mut written, |known, _| known != Known::Connection);
    written.extend_from_slice(b"\r\n");
    let mut again = RequestHead::default();
    let same = parse_request(&written, &mut again).map(|again| (again.decoder, again.keep_alive));
    assert_eq!(same, Ok((framing.decoder, framing.keep_alive)), "{:?}", String::from_utf8_lossy(&written));
    assert_eq!((again.method_text(), again.path(), again.query()), (read.method_text(), read.path(), read.query()));
    let pairs = |head: &RequestHead| -> Vec<(Vec<u8>, Vec<u8>)> {
        let others =
            head.headers.iter().filter(|(name, _)| !matches!(Known::of(name), Known::Connection | Known::Host));
        others.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    };
    assert_eq!(pairs(&again), pairs(&read));
}

/// The target as it is passed on: without the host of an absolute one.
fn target(read: &RequestHead) -> Vec<u8> {
    let mut target = read.path().to_vec();
    if read.query_at.len > 0 || !read.query().is_empty() {
        target.push(b'?');
        target.extend_from_slice(read.query());
    }
    target
}

/// A byte for the method of the request, a length, then a stream that begins with the head of a response and comes in
/// pieces of that length.
///
/// # Panics
/// When the head depends on where the pieces end, or written again says something else.
pub fn h1_response(data: &[u8]) {
    let Some((method, rest)) = data.split_first() else { return };
    let method = if method % 2 == 0 { Method::Get } else { Method::Head };
    let Some(head) = head(rest) else { return };
    let mut headers = Headers::new();
    let Ok(read) = parse_response(head, method, &mut headers) else { return };
    let mut response = Response::new(read.status);
    response.headers = headers;
    let announce = match (read.length, read.decoder) {
        (Some(length), _) => Announce::Length(length),
        (None, Decoder::Size) => Announce::Chunked,
        (None, _) => Announce::Nothing,
    };
    let mut written = BytesMut::new();
    encode_response(&mut written, &response, announce, (!read.keep_alive).then_some("close"));
    let again = parse_response(&written, method, &mut Headers::new());
    assert_eq!(again, Ok(read), "{:?}", String::from_utf8_lossy(&written));
}

/// The first head of a stream that comes in pieces, if it has one.
fn head(data: &[u8]) -> Option<&[u8]> {
    let (step, stream) = data.split_first()?;
    let in_pieces = scan(stream, usize::from(*step).max(1));
    let whole = scan(stream, stream.len().max(1));
    assert_eq!(in_pieces.is_err(), whole.is_err(), "{in_pieces:?} {whole:?}");
    match in_pieces {
        Ok(Scanned::Head { start, end }) => {
            assert_eq!(whole, in_pieces);
            stream.get(start..end)
        }
        _ => None,
    }
}

fn scan(stream: &[u8], step: usize) -> Result<Scanned, HeadError> {
    let mut scanner = Scanner::default();
    let mut end = 0;
    while end < stream.len() {
        end = (end + step).min(stream.len());
        match scanner.scan(&stream[..end], LIMITS)? {
            Scanned::More => {}
            found => return Ok(found),
        }
    }
    Ok(Scanned::More)
}

/// A length, then a body in chunks and what follows it, which come in pieces of that length.
///
/// # Panics
/// When the body depends on where the pieces end.
pub fn h1_body(data: &[u8]) {
    let Some((step, stream)) = data.split_first() else { return };
    assert_eq!(body(stream, usize::from(*step).max(1)), body(stream, stream.len().max(1)));
}

/// The body and what is behind it.
fn body(stream: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), BodyError> {
    let (mut decoder, mut buffer, mut body) = (Decoder::chunked(), BytesMut::new(), Vec::new());
    let mut pieces = stream.chunks(step);
    loop {
        let piece = decoder.next(&buffer)?;
        buffer.advance(piece.skip);
        body.extend_from_slice(&buffer.split_to(piece.data));
        if piece.end {
            pieces.for_each(|rest| buffer.extend_from_slice(rest));
            return Ok((body, buffer.to_vec()));
        }
        if piece.data > 0 {
            continue;
        }
        match pieces.next() {
            Some(more) => buffer.extend_from_slice(more),
            None => return decoder.closed().map(|()| (body, Vec::new())),
        }
    }
}
