//! Messages of gRPC: one byte that says whether it is compressed, four of length, then the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tidegate_api::{Code, Error, Message};

const PREFIX: usize = 5;

/// Room that is made before the bytes are there: a length alone allocates no more than this.
const RESERVE_MAX: usize = 256 << 10;

/// `message` with its prefix.
///
/// # Errors
/// When it is longer than the prefix can say.
pub(crate) fn encode(message: &impl Message) -> Result<Bytes, Error> {
    let length = message.encoded_len();
    let announced = u32::try_from(length).map_err(|_| Error::other(Code::ResourceExhausted, "message above 4 GiB"))?;
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(announced);
    message.encode_raw(&mut bytes);
    Ok(bytes.freeze())
}

/// Cuts messages out of the data that arrives.
pub(crate) struct Decoder {
    message_max: usize,
    /// Bytes of a message that came in pieces, its prefix included.
    partial: BytesMut,
    /// The rest of a frame that held more than one message.
    rest: Bytes,
}

impl Decoder {
    pub(crate) fn new(message_max: usize) -> Self {
        Self { message_max, partial: BytesMut::new(), rest: Bytes::new() }
    }

    /// Takes one frame. Call [`Decoder::message`] until it has no more before the next.
    pub(crate) fn feed(&mut self, frame: Bytes) {
        debug_assert!(self.rest.is_empty(), "the last frame is used up");
        self.rest = frame;
    }

    /// Whether a message has begun and is not whole.
    pub(crate) fn inside(&self) -> bool {
        !self.partial.is_empty() || !self.rest.is_empty()
    }

    /// The next whole message. One that lies in a single frame is not copied.
    pub(crate) fn message(&mut self) -> Result<Option<Bytes>, Error> {
        if self.partial.is_empty() && self.rest.len() >= PREFIX {
            let length = self.length(&self.rest)?;
            if self.rest.len() - PREFIX >= length {
                self.rest.advance(PREFIX);
                return Ok(Some(self.rest.split_to(length)));
            }
        }
        self.gather(PREFIX);
        if self.partial.len() < PREFIX {
            return Ok(None);
        }
        let whole = PREFIX + self.length(&self.partial)?;
        self.gather(whole);
        if self.partial.len() < whole {
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.partial).freeze();
        message.advance(PREFIX);
        Ok(Some(message))
    }

    /// Moves bytes until the partial message is `length` long or no more are here.
    fn gather(&mut self, length: usize) {
        let missing = length.saturating_sub(self.partial.len());
        if missing > self.partial.capacity() - self.partial.len() {
            self.partial.reserve(missing.min(RESERVE_MAX.max(self.partial.len())));
        }
        self.partial.extend_from_slice(&self.rest.split_to(missing.min(self.rest.len())));
    }

    fn length(&self, bytes: &[u8]) -> Result<usize, Error> {
        let [compressed, a, b, c, d, ..] = *bytes else { return Ok(0) };
        if compressed != 0 {
            return Err(Error::other(Code::Internal, "compressed message without an agreed encoding"));
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.message_max {
            let text = format!("grpc: received message larger than max ({length} vs. {})", self.message_max);
            return Err(Error::other(Code::ResourceExhausted, text));
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_api::pb::PutRequest;

    use super::*;

    fn messages() -> Vec<PutRequest> {
        [0usize, 1, 300, 70_000]
            .map(|n| PutRequest { key: "k".into(), value: vec![7; n].into(), ..Default::default() })
            .to_vec()
    }

    #[test]
    fn messages_survive_any_division_into_frames() {
        let sent = messages();
        let mut stream = BytesMut::new();
        for message in &sent {
            stream.extend_from_slice(&encode(message).unwrap());
        }
        for frame in [1, 2, 4, 5, 6, 7, 311, 16_384, 1 << 20] {
            let mut decoder = Decoder::new(1 << 20);
            let mut received = Vec::new();
            for piece in stream.chunks(frame) {
                decoder.feed(Bytes::copy_from_slice(piece));
                while let Some(message) = decoder.message().unwrap() {
                    received.push(PutRequest::decode(message).unwrap());
                }
            }
            assert_eq!(received, sent, "frames of {frame}");
            assert!(!decoder.inside());
        }
    }

    #[test]
    fn a_message_in_one_frame_is_not_copied() {
        let frame = encode(&messages()[2]).unwrap();
        let mut decoder = Decoder::new(1 << 20);
        decoder.feed(frame.clone());
        let message = decoder.message().unwrap().unwrap();
        assert_eq!(message.as_ptr(), frame[PREFIX..].as_ptr());
    }

    #[test]
    fn a_length_alone_makes_little_room() {
        let mut decoder = Decoder::new(1 << 31);
        decoder.feed(Bytes::from_static(&[0, 0x7f, 0xff, 0xff, 0xff, 1]));
        assert_eq!(decoder.message(), Ok(None));
        assert!(decoder.inside());
        assert!(decoder.partial.capacity() <= 2 * RESERVE_MAX);
    }

    #[test]
    fn bad_prefixes_are_errors() {
        for (prefix, code) in [([1, 0, 0, 0, 0], Code::Internal), ([0, 0, 0, 1, 1], Code::ResourceExhausted)] {
            let mut decoder = Decoder::new(256);
            decoder.feed(Bytes::copy_from_slice(&prefix));
            assert_eq!(decoder.message().unwrap_err().code(), code);
        }
    }
}
