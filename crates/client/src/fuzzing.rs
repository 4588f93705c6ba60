//! What any bytes may be handed to. For the targets in `fuzz/`, and for the tests, which replay what those have found.

use bytes::Bytes;
use tidegate_api::Error;

use crate::frame::Decoder;

const MESSAGE_MAX: usize = 4 << 10;

/// A length, then the bytes of a stream of answers, which come in pieces of that length.
///
/// # Panics
/// When the messages depend on where the pieces end.
pub fn answers(data: &[u8]) {
    let Some((step, stream)) = data.split_first() else { return };
    assert_eq!(messages(stream, usize::from(*step).max(1)), messages(stream, stream.len().max(1)));
}

/// Messages, whether another has begun, and the error that ended them.
fn messages(stream: &[u8], step: usize) -> (Vec<Bytes>, bool, Option<Error>) {
    let mut decoder = Decoder::new(MESSAGE_MAX);
    let mut messages = Vec::new();
    for piece in stream.chunks(step) {
        decoder.feed(Bytes::copy_from_slice(piece));
        loop {
            match decoder.message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, true, Some(error)),
            }
        }
    }
    (messages, decoder.inside(), None)
}

#[cfg(test)]
mod tests {
    #[test]
    fn answers_are_those_of_any_pieces() {
        tidegate_testkit::corpus::replay("answers", super::answers);
    }
}
