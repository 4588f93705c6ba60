//! Answers that are read while they are made, such as a log that goes on.

use bytes::{Buf, Bytes, BytesMut};
use tokio::time;

use super::{
    Answer, Client, ClientError,
    client::{io, question, read, write},
};
use crate::{
    h1::{Decoder, HeadLimits, Scanned, Scanner, Socket, parse_response},
    message::{BodyError, Headers, Method},
};

impl Client {
    /// Hands the body of a success to `each` as it comes, a piece at a time, and returns the answer without it. Any other answer
    /// is returned whole. The timeout is for the head only: a body may go on for days.
    ///
    /// # Errors
    /// [`ClientError`], also for an error of `each`.
    pub async fn follow(
        &self,
        base: &str,
        target: &str,
        headers: &[(&str, &str)],
        mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<Answer, ClientError> {
        let (endpoint, head) = question(Method::Get, base, target, headers)?;
        let begin = async {
            let (mut socket, tx) = self.dial(&endpoint, &head, &Bytes::new()).await?;
            write(&mut socket, tx, Bytes::new()).await.map_err(io("send the request"))?;
            let mut rx = BytesMut::new();
            let (answer, decoder) = answer(&mut socket, &mut rx).await?;
            Ok::<_, ClientError>((socket, rx, answer, decoder))
        };
        let begun = time::timeout(self.timeout, begin).await.map_err(|_| ClientError::Timeout(self.timeout))?;
        let (mut socket, mut rx, mut answer, mut decoder) = begun?;
        let success = (200..300).contains(&answer.status);
        let mut kept = BytesMut::new();
        loop {
            let piece = decoder.next(&rx)?;
            rx.advance(piece.skip);
            let data = rx.get(..piece.data).unwrap_or_default();
            if success && !data.is_empty() {
                each(data).map_err(io("hand the answer on"))?;
            } else if kept.len() + data.len() > self.answer_bytes_max {
                return Err(BodyError::TooLarge.into());
            } else {
                kept.extend_from_slice(data);
            }
            rx.advance(piece.data);
            if piece.end {
                break;
            }
            if piece.data == 0 && read(&mut socket, &mut rx).await? == 0 {
                decoder.closed()?;
                break;
            }
        }
        answer.body = kept.freeze();
        Ok(answer)
    }
}

/// The head of the final answer, and how its body ends.
async fn answer(socket: &mut Socket, rx: &mut BytesMut) -> Result<(Answer, Decoder), ClientError> {
    let (mut scanner, mut headers) = (Scanner::default(), Headers::new());
    loop {
        if let Scanned::Head { start, end } = scanner.scan(rx, HeadLimits::default())? {
            let told = parse_response(rx.get(start..end).unwrap_or_default(), Method::Get, &mut headers)?;
            rx.advance(end);
            if told.status >= 200 {
                return Ok((Answer { status: told.status, headers, body: Bytes::new() }, told.decoder));
            }
            scanner = Scanner::default();
        } else if read(socket, rx).await? == 0 {
            return Err(ClientError::NoAnswer);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncWriteExt,
        net::TcpListener,
        sync::mpsc::{Receiver, channel},
    };

    use super::*;
    use crate::h1::tests::{read_until, run};

    /// Answers one request with a head and a piece, and with each further piece once it is asked for.
    async fn serve(server: TcpListener, head: &'static str, pieces: &'static [&'static str], mut next: Receiver<()>) {
        let (mut stream, _) = server.accept().await.unwrap();
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(head.as_bytes()).await.unwrap();
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                next.recv().await.unwrap();
            }
            stream.write_all(piece.as_bytes()).await.unwrap();
        }
    }

    fn check(head: &'static str, pieces: &'static [&'static str], expected: (u16, &str, &[&str])) {
        run(move |_| async move {
            let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let base = format!("http://{}", server.local_addr().unwrap());
            let (more, next) = channel(8);
            tokio::task::spawn_local(serve(server, head, pieces, next));
            let mut seen = Vec::new();
            let each = |piece: &[u8]| {
                seen.push(String::from_utf8(piece.to_vec()).unwrap());
                // The server sends no further piece before this one was seen; behind the last it is gone.
                more.try_send(()).ok();
                Ok(())
            };
            let answer = Client::default().follow(&base, "/logs", &[], each).await.unwrap();
            let (status, body, expected_seen) = expected;
            assert_eq!((answer.status, &answer.body[..]), (status, body.as_bytes()));
            assert_eq!(seen, expected_seen);
        });
    }

    #[test]
    fn pieces_are_handed_on_while_the_answer_goes_on() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(chunked, &["2\r\nab\r\n", "3\r\ncde\r\n0\r\n\r\n"], (200, "", &["ab", "cde"]));
        check("HTTP/1.1 200 OK\r\n\r\n", &["ab", "cd"], (200, "", &["ab", "cd"]));
    }

    #[test]
    fn what_is_no_success_is_read_whole() {
        check("HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nabcd", &[], (500, "abcd", &[]));
    }
}
