use std::task::{Context, Poll, Waker, ready};

use h2::{Reason, SendStream, server::SendResponse};

use crate::grpc::{Chunk, Code, Gone, PREFIX_LEN, Status, answer_head, refusal, trailers};

/// The answering half of a stream.
pub(super) struct Outbox {
    side: Side,
    /// Whether what was sent ends with a whole message.
    boundary: Boundary,
    outcome: Option<Code>,
    /// Who waits for room in a future of its own inside of the call's future.
    pub(super) waiter: Option<Waker>,
}

enum Side {
    /// Nothing was sent.
    Silent(SendResponse<Chunk>),
    Open(SendStream<Chunk>),
    Closed,
}

impl Outbox {
    pub(super) fn new(respond: SendResponse<Chunk>) -> Self {
        Self { side: Side::Silent(respond), boundary: Boundary::default(), outcome: None, waiter: None }
    }

    /// How the call ended, once it has.
    pub(super) fn outcome(&self) -> Option<Code> {
        self.outcome
    }

    fn close(&mut self, code: Code) -> Side {
        self.outcome.get_or_insert(code);
        self.waiter = None;
        std::mem::replace(&mut self.side, Side::Closed)
    }

    fn open(&mut self) -> Result<&mut SendStream<Chunk>, Gone> {
        if let Side::Silent(respond) = &mut self.side {
            match respond.send_response(answer_head(), false) {
                Ok(stream) => self.side = Side::Open(stream),
                Err(_) => drop(self.close(Code::Cancelled)),
            }
        }
        match &mut self.side {
            Side::Open(stream) => Ok(stream),
            Side::Silent(_) | Side::Closed => Err(Gone),
        }
    }

    /// Room for up to `want` bytes in the client's windows and in the send buffer.
    pub(super) fn poll_room(&mut self, want: usize, cx: &mut Context<'_>) -> Poll<Result<usize, Gone>> {
        let stream = self.open()?;
        // One chunk, not the message: window that is assigned here and not used is missing to the others.
        stream.reserve_capacity(want);
        loop {
            // `poll_capacity` tells of increases only, so look first at what is there.
            let room = stream.capacity().min(want);
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    drop(self.close(Code::Cancelled));
                    return Poll::Ready(Err(Gone));
                }
            }
        }
    }

    /// Whether the client's windows take `len` bytes at once.
    pub(super) fn has_room(&mut self, len: usize) -> Result<bool, Gone> {
        let stream = self.open()?;
        stream.reserve_capacity(len);
        Ok(stream.capacity() >= len)
    }

    /// Gives back the window that is assigned and not used, and says how much it was.
    pub(super) fn give_room_back(&mut self) -> usize {
        let Side::Open(stream) = &mut self.side else { return 0 };
        let room = stream.capacity();
        stream.reserve_capacity(0);
        room
    }

    pub(super) fn send(&mut self, chunk: Chunk) -> Result<(), Gone> {
        let boundary = self.boundary.after(&chunk);
        match self.open()?.send_data(chunk, false) {
            Ok(()) => {
                self.boundary = boundary;
                Ok(())
            }
            Err(_) => {
                drop(self.close(Code::Cancelled));
                Err(Gone)
            }
        }
    }

    /// Ends the answer. An error in the middle of a message becomes a reset.
    pub(super) fn finish(&mut self, status: &Status) {
        let whole = self.boundary.is_whole();
        let code = if whole || status.code != Code::Ok { status.code } else { Code::Internal };
        let sent = match self.close(code) {
            Side::Silent(mut respond) => respond.send_response(refusal(status), true).map(drop),
            Side::Open(mut stream) if whole => stream.send_trailers(trailers(status)),
            Side::Open(mut stream) => {
                stream.send_reset(if code == Code::Cancelled { Reason::CANCEL } else { Reason::INTERNAL_ERROR });
                Ok(())
            }
            Side::Closed => Ok(()),
        };
        if sent.is_err() {
            self.outcome = Some(Code::Cancelled); // the stream was reset meanwhile: nobody reads it
        }
    }

    pub(super) fn reset(&mut self, reason: Reason, code: Code) {
        match self.close(code) {
            Side::Silent(mut respond) => respond.send_reset(reason),
            Side::Open(mut stream) => stream.send_reset(reason),
            Side::Closed => {}
        }
    }

    /// Ready when the client has reset the stream. Registers for it, and for room.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.side {
            Side::Silent(respond) => respond.poll_reset(cx).map(drop),
            Side::Open(stream) => stream.poll_reset(cx).map(drop),
            Side::Closed => Poll::Pending,
        }
    }
}

/// Follows the messages inside of what is sent.
#[derive(Clone, Copy, Default)]
struct Boundary {
    prefix: [u8; PREFIX_LEN],
    prefix_have: usize,
    /// Bytes of the message behind the prefix that are still to come.
    left: usize,
}

impl Boundary {
    fn is_whole(self) -> bool {
        self.left == 0 && self.prefix_have == 0
    }

    fn after(mut self, chunk: &Chunk) -> Self {
        let mut bytes = bytes::Buf::chunk(chunk);
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let copied = (PREFIX_LEN - self.prefix_have).min(bytes.len());
            self.prefix[self.prefix_have..self.prefix_have + copied].copy_from_slice(&bytes[..copied]);
            bytes = &bytes[copied..];
            self.prefix_have += copied;
            if self.prefix_have == PREFIX_LEN {
                let [_, a, b, c, d] = self.prefix;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.prefix_have = 0;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::grpc::framed;

    #[test]
    fn boundary_is_whole_exactly_between_messages() {
        let mut sent = Vec::new();
        let mut ends = vec![0];
        for len in [0usize, 1, 300, 0, 7] {
            sent.extend_from_slice(&framed(len, |out| out.resize(5 + len, 9)));
            ends.push(sent.len());
        }
        for step in 1..=sent.len() {
            let mut boundary = Boundary::default();
            let mut at = 0;
            for piece in sent.chunks(step) {
                boundary = boundary.after(&Chunk::shared(Bytes::copy_from_slice(piece)));
                at += piece.len();
                assert_eq!(boundary.is_whole(), ends.contains(&at), "at {at} in steps of {step}");
            }
        }
    }
}
