//! A server with a small service, and a client that says exactly what a test wants said.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use h2::{RecvStream, SendStream, client};
use http::{HeaderMap, Request, StatusCode};
use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};
use tidegate_http::{
    conn::{Address, Drain, Listener, Net, Served, Times},
    grpc::{Accept, Call, Chunk, Code, Service, Status, prefix},
    io::Threads,
};
use tokio::net::TcpStream;

pub(crate) const MESSAGE_MAX: usize = 2 << 20;
pub(crate) const ACCEPT: Accept = Accept { message_max: MESSAGE_MAX, decode_cost: |len| len / 4 };

pub(crate) struct Server {
    pub(crate) net: Net,
    pub(crate) budget: Budget,
    pub(crate) drain: Drain,
    pub(crate) address: Address,
    threads: Threads,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Limits)) -> Self {
        Self::on(Listener::bind_tcp("127.0.0.1:0").unwrap(), change)
    }

    pub(crate) fn with_times(times: Times) -> Self {
        Self::all(Listener::bind_tcp("127.0.0.1:0").unwrap(), |_| {}, times)
    }

    pub(crate) fn on(listener: Listener, change: impl FnOnce(&mut Limits)) -> Self {
        Self::all(listener, change, Times::default())
    }

    fn all(listener: Listener, change: impl FnOnce(&mut Limits), times: Times) -> Self {
        let mut limits = Limits::new(ByteSize::mib(256), Profile::Store).unwrap();
        change(&mut limits);
        let budget = Budget::new(limits);
        let (threads, drain) = (Threads::start(2, "io").unwrap(), Drain::new());
        let net = Net::with_times(&threads.handle(), budget.clone(), drain.clone(), times).unwrap();
        let address = listener.address().clone();
        let served = |_| Served { grpc: Some(Rc::new(Tests)), http1: Some(Rc::new(super::connections::Lines)) };
        net.listen(listener, served).unwrap();
        Self { net, budget, drain, address, threads }
    }

    pub(crate) fn tcp(&self) -> std::net::SocketAddr {
        let Address::Tcp(address) = self.address else { panic!("a TCP listener") };
        address
    }

    pub(crate) async fn connect(&self) -> Client {
        let io = TcpStream::connect(self.tcp()).await.unwrap();
        Client::over(io).await
    }

    /// Takes everything that messages could be leased from.
    pub(crate) fn fill(&self) -> tidegate_base::Lease {
        self.budget.try_lease(Holder::Requests, self.budget.room(Holder::Requests)).unwrap()
    }

    /// Waits for a fact about the server that no answer tells.
    pub(crate) async fn until(&self, fact: impl Fn(&Self) -> bool) {
        let wait = async {
            while !fact(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "it never came true: {:?} {:?}", self.net.stats(), self.budget);
    }

    /// Ends the server, whose clients are gone, and checks that nobody holds a byte.
    pub(crate) async fn stop(self) {
        self.drain.start(Duration::from_secs(20));
        self.net.finished().await;
        self.threads.stop();
        assert!(self.budget.usage().iter().all(|usage| usage.used == 0), "{:?}", self.budget);
        assert_eq!(self.budget.pool_used(), 0);
        let stats = self.net.stats();
        assert_eq!((stats.connections, stats.streams), (0, 0));
    }
}

pub(crate) struct Client {
    pub(crate) h2: client::SendRequest<Bytes>,
}

/// How a stream ended, and what came before.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) http: StatusCode,
    pub(crate) code: Option<Code>,
    pub(crate) text: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn is(&self, code: Code) -> bool {
        self.code == Some(code)
    }

    /// The one message of a call that went well.
    pub(crate) fn message(&self) -> &[u8] {
        assert!(self.is(Code::Ok), "{self:?}");
        assert_eq!(self.body[..5], prefix(self.body.len() - 5));
        &self.body[5..]
    }
}

impl Client {
    pub(crate) async fn over<T>(io: T) -> Self
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        Self::with_window(io, (1 << 16) - 1).await
    }

    /// A client whose streams begin with this window.
    pub(crate) async fn with_window<T>(io: T, window: u32) -> Self
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = client::Builder::new();
        let (h2, connection) =
            builder.data_frame_budget(1 << 24).initial_window_size(window).handshake(io).await.unwrap();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("client: {error}");
            }
        });
        Self { h2 }
    }

    pub(crate) async fn open(&self, path: &str, headers: &[(&str, &str)]) -> Stream {
        let mut request = Request::post(format!("http://test{path}")).header("te", "trailers");
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut h2 = self.h2.clone().ready().await.unwrap();
        let (answer, send) = h2.send_request(request.body(()).unwrap(), false).unwrap();
        Stream { answer: Some(answer), body: None, send }
    }

    /// A call with this message, with its prefix, as the whole body.
    pub(crate) async fn call(&self, path: &str, message: &[u8]) -> Answer {
        self.raw(path, &[], &framed(message)).await
    }

    pub(crate) async fn raw(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.open(path, headers).await;
        stream.write(body, true).await;
        stream.end().await
    }
}

pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&prefix(message.len())[..], message].concat()
}

pub(crate) struct Stream {
    answer: Option<client::ResponseFuture>,
    body: Option<RecvStream>,
    pub(crate) send: SendStream<Bytes>,
}

impl Stream {
    /// Sends as the server's window opens; what the server does not want any more is forgotten.
    pub(crate) async fn write(&mut self, mut bytes: &[u8], end: bool) {
        while !bytes.is_empty() {
            self.send.reserve_capacity(bytes.len().min(16 << 10));
            let room = match self.send.capacity() {
                0 => match std::future::poll_fn(|cx| self.send.poll_capacity(cx)).await {
                    Some(Ok(_)) => continue,
                    _ => return,
                },
                room => room.min(bytes.len()),
            };
            let piece = Bytes::copy_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
            if self.send.send_data(piece, end && bytes.is_empty()).is_err() {
                return;
            }
        }
    }

    pub(crate) fn finish(&mut self) {
        self.send.send_data(Bytes::new(), true).unwrap();
    }

    async fn body(&mut self) -> Result<(StatusCode, HeaderMap), h2::Error> {
        let (head, body) = self.answer.take().expect("asked once").await?.into_parts();
        self.body = Some(body);
        Ok((head.status, head.headers))
    }

    /// The next `len` bytes of the answer.
    pub(crate) async fn read(&mut self, len: usize) -> Result<Vec<u8>, h2::Error> {
        if self.body.is_none() {
            self.body().await?;
        }
        let body = self.body.as_mut().unwrap();
        let mut out = Vec::new();
        while out.len() < len {
            let data = body.data().await.expect("the answer goes on")?;
            body.flow_control().release_capacity(data.len()).unwrap();
            out.extend_from_slice(&data);
        }
        assert_eq!(out.len(), len, "the answers of these tests come in pieces as asked for");
        Ok(out)
    }

    pub(crate) async fn end(self) -> Answer {
        self.try_end().await.unwrap()
    }

    pub(crate) async fn try_end(mut self) -> Result<Answer, h2::Error> {
        let (mut http, mut headers) = (StatusCode::OK, HeaderMap::new());
        if self.body.is_none() {
            (http, headers) = self.body().await?;
        }
        let mut stream = self.body.take().unwrap();
        let mut body = Vec::new();
        while let Some(data) = stream.data().await {
            let data = data?;
            stream.flow_control().release_capacity(data.len()).unwrap();
            body.extend_from_slice(&data);
        }
        headers.extend(stream.trailers().await?.unwrap_or_default());
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let code = text("grpc-status").map(|code| Code::from_number(code.parse().unwrap()));
        Ok(Answer { http, code, text: text("grpc-message").unwrap_or_default(), body })
    }

    /// Whether an answer has come, without waiting for one.
    pub(crate) fn is_answered(&mut self) -> bool {
        use futures_util::FutureExt;
        match &mut self.answer {
            Some(answer) => match answer.now_or_never() {
                Some(response) => {
                    self.answer = None;
                    self.body = response.ok().map(|response| response.into_body());
                    true
                }
                None => false,
            },
            None => true,
        }
    }
}

/// What the tests call.
struct Tests;

impl Service for Tests {
    fn call(self: Rc<Self>, mut call: Call) -> LocalBoxFuture<'static, ()> {
        assert_ne!(call.names().1, "PanicAtOnce", "on purpose");
        Box::pin(async move {
            let method = call.names().1.to_owned();
            let ended = match method.as_str() {
                "Bidi" => return bidi(call).await,
                "Deaf" => return deaf(call).await,
                _ => call.message(ACCEPT).await,
            };
            let message = match ended {
                Ok(message) => message,
                Err(status) => return call.fail(&status),
            };
            match method.as_str() {
                "Echo" => call.reply(message.bytes).await.unwrap_or_default(),
                "Fail" => call.fail(&Status::new(Code::OutOfRange, String::from_utf8(message.bytes.to_vec()).unwrap())),
                "Head" => {
                    let text = format!(
                        "{:?} {} {:?} {}",
                        call.token(),
                        call.requires_leader(),
                        call.client_api_version(),
                        call.deadline().is_some()
                    );
                    call.reply(text.into()).await.unwrap_or_default();
                }
                "Panic" => panic!("on purpose"),
                "Silent" => {}
                "Forever" => std::future::pending().await,
                "Big" => big(call, &message.bytes).await,
                "Torn" => {
                    let mut out = call.stream();
                    out.send(Chunk::shared(Bytes::from_static(&[0, 0, 0, 0, 9, 1, 2]))).unwrap();
                    out.finish(&Status::new(Code::Unavailable, "the engine is gone"));
                }
                _ => call.fail(&Status::new(Code::Unimplemented, format!("unknown method {method}"))),
            }
        })
    }
}

/// Echoes each message as it comes; ends as the client ends.
async fn bidi(call: Call) {
    let (mut incoming, mut outgoing) = call.split(ACCEPT);
    loop {
        match incoming.next().await {
            Ok(Some(message)) => {
                if outgoing.send_message(message.bytes).await.is_err() {
                    return;
                }
            }
            Ok(None) => return outgoing.finish(&Status::OK),
            Err(status) => return outgoing.finish(&status),
        }
    }
}

/// Answers a first message, then reads no more.
async fn deaf(call: Call) {
    let (mut incoming, mut outgoing) = call.split(ACCEPT);
    let Ok(Some(message)) = incoming.next().await else { return };
    outgoing.send_message(message.bytes).await.unwrap();
    std::future::pending().await
}

/// One message of as many bytes as the request says, made as there is room.
async fn big(call: Call, message: &[u8]) {
    let len = u32::from_be_bytes(message.try_into().unwrap()) as usize;
    let mut out = call.stream();
    out.send(Chunk::shared(Bytes::copy_from_slice(&prefix(len)))).unwrap();
    let mut left = len;
    while left > 0 {
        let Ok(room) = out.room(left).await else { return };
        let Ok(lease) = out.lease(room as u64).await else { return };
        out.send(Chunk::leased(Bytes::from(vec![7; room]), lease)).unwrap();
        left -= room;
    }
    out.finish(&Status::OK);
}
