//! What calls and idle connections cost, on this machine.
//!
//! ```text
//! cargo run --release -p tidegate-http --example echo            starts a server as a child and measures it
//! cargo run --release -p tidegate-http --example echo -- server  the server alone, until its input ends
//! cargo run --release -p tidegate-http --example echo -- FILE... two builds of it or more, in turn
//! ```
//! Prints the server's CPU time per unary echo of 256 bytes (4 connections of 16 streams) and per MiB of puts of 1 MiB (4
//! connections), and its anonymous memory per connection that has one idle stream, over 2000 connections: fresh, after 64
//! calls each, after one of 1 MiB each, and per further idle stream. The allocator is that of the program, with its settings.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, join_all};
use h2::client::{self, SendRequest};
use http::Request;
use rustix::process::{Resource, getrlimit, setrlimit};
use tidegate_base::{Budget, ByteSize, Limits, Profile, clock};
use tidegate_http::{
    conn::{Drain, Listener, Net, Served},
    grpc::{Accept, Call, Service, Status, framed},
    io::Threads,
};
use tokio::net::TcpStream;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
/// As in `bin/tidegate`, whose allocator is built in the same way.
const MALLOC_CONF: &str = "narenas:2,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";

const CONNECTIONS: usize = 4;
const STREAMS: usize = 16;
const CALLS: usize = 4_000;
const PUTS: usize = 100;
const IDLE: usize = 2_000;
const FURTHER: usize = 16;
const ROUNDS: usize = 4;
/// Ticks of `/proc/PID/stat` in a second, on every Linux of the last twenty years.
const TICKS: f64 = 100.0;

struct Echo;

impl Service for Echo {
    fn call(self: Rc<Self>, mut call: Call) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let accept = Accept { message_max: 2 << 20, decode_cost: |len| len };
            if call.names().1 == "Bidi" {
                let (mut incoming, outgoing) = call.split(accept);
                while let Ok(Some(message)) = incoming.next().await {
                    drop(message);
                }
                return outgoing.finish(&Status::OK);
            }
            let put = call.names().1 == "Put";
            match call.message(accept).await {
                Ok(message) if put => {
                    let len = message.bytes.len() as u64;
                    drop(message);
                    call.reply(Bytes::copy_from_slice(&len.to_be_bytes())).await.unwrap_or_default();
                }
                Ok(message) => call.reply(message.bytes).await.unwrap_or_default(),
                Err(status) => call.fail(&status),
            }
        })
    }
}

fn main() -> Result<()> {
    let mut programs: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    open_files()?;
    if programs.iter().any(|program| program.as_os_str() == "server") {
        return serve();
    }
    if programs.is_empty() {
        programs.push(std::env::current_exe()?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let servers = programs.iter().map(Server::start).collect::<Result<Vec<_>>>()?;
    for server in &servers {
        runtime.block_on(server.small(CALLS / 4))?;
    }
    for _ in 0..ROUNDS {
        for server in &servers {
            runtime.block_on(server.small(CALLS))?;
            runtime.block_on(server.large())?;
        }
    }
    servers.into_iter().try_for_each(Server::stop)?;
    // Each in a process of its own that has done nothing else.
    for program in &programs {
        let server = Server::start(program)?;
        runtime.block_on(server.idle())?;
        server.stop()?;
    }
    Ok(())
}

/// Two processes hold an end of each connection.
fn open_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn serve() -> Result<()> {
    // Room for all the connections below without the pool's help.
    let budget = Budget::new(Limits::new(ByteSize::mib(1024), Profile::Store)?);
    let (threads, drain) = (Threads::start(2, "io")?, Drain::new());
    let net = Net::new(&threads.handle(), budget, drain)?;
    let listener = Listener::bind_tcp("127.0.0.1:0")?;
    println!("{}", listener.address());
    net.listen(listener, |_| Served { grpc: Some(Rc::new(Echo)), http1: None })?;
    io::stdin().read_to_end(&mut Vec::new())?;
    threads.stop();
    Ok(())
}

struct Server {
    child: Child,
    address: String,
    name: String,
}

impl Server {
    fn start(program: &PathBuf) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("server").env("MALLOC_CONF", MALLOC_CONF).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut address)?;
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { child, address: address.trim().to_owned(), name })
    }

    fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        self.child.wait()?;
        Ok(())
    }

    async fn connections(&self) -> Result<Vec<SendRequest<Bytes>>> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(connect(&self.address).await?);
        }
        Ok(connections)
    }

    async fn small(&self, count: usize) -> Result<()> {
        let connections = self.connections().await?;
        let message = framed(256, |out| out.resize(5 + 256, b'm'));
        let (before, begin) = (self.cpu()?, clock::now());
        calls(&connections, STREAMS, count, "/t.T/Echo", &message).await?;
        let sum = (CONNECTIONS * STREAMS * count) as f64;
        let (used, took) = ((self.cpu()? - before) * 1e6 / sum, begin.elapsed().as_secs_f64());
        println!("{}: unary echo: {used:.2} µs of server CPU a call, {:.0} calls/s", self.name, sum / took);
        Ok(())
    }

    async fn large(&self) -> Result<()> {
        let connections = self.connections().await?;
        let message = framed(1 << 20, |out| out.resize(5 + (1 << 20), b'm'));
        let before = self.cpu()?;
        calls(&connections, 1, PUTS, "/t.T/Put", &message).await?;
        let used = (self.cpu()? - before) * 1e6 / (CONNECTIONS * PUTS) as f64;
        println!("{}: put of 1 MiB: {used:.0} µs of server CPU", self.name);
        Ok(())
    }

    async fn idle(&self) -> Result<()> {
        let before = self.memory()?;
        let (mut connections, mut streams) = (Vec::new(), Vec::new());
        let say = |what: &'static str| self.say(before, what);
        for _ in 0..IDLE {
            connections.push(connect(&self.address).await?);
        }
        say("connection without streams").await?;
        for h2 in &connections {
            streams.push(idle_stream(h2).await?);
        }
        say("connection with one idle stream").await?;
        let small = framed(256, |out| out.resize(5 + 256, b'm'));
        for h2 in &connections {
            calls(std::slice::from_ref(h2), STREAMS, 4, "/t.T/Echo", &small).await?;
        }
        say("the same after 64 calls, 16 at a time").await?;
        let large = framed(1 << 20, |out| out.resize(5 + (1 << 20), b'm'));
        for h2 in &connections {
            calls(std::slice::from_ref(h2), 1, 1, "/t.T/Put", &large).await?;
        }
        say("the same after a put of 1 MiB").await?;
        for h2 in &connections {
            for _ in 0..FURTHER {
                streams.push(idle_stream(h2).await?);
            }
        }
        say("the same with 16 more idle streams").await
    }

    /// Anonymous memory for each of the idle connections, once the allocator has given back what it will.
    async fn say(&self, before: f64, what: &'static str) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(3)).await;
        println!("{}: {what}: {:.2} KiB", self.name, (self.memory()? - before) / IDLE as f64);
        Ok(())
    }

    /// CPU seconds, user and system.
    fn cpu(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit_once(')').ok_or("no name")?.1.split_whitespace();
        let ticks: Vec<f64> = fields.skip(11).take(2).map(str::parse).collect::<std::result::Result<_, _>>()?;
        Ok(ticks.iter().sum::<f64>() / TICKS)
    }

    /// KiB of anonymous memory.
    fn memory(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

async fn connect(address: &str) -> Result<SendRequest<Bytes>> {
    let io = TcpStream::connect(address).await?;
    io.set_nodelay(true)?;
    let (h2, connection) = client::handshake(io).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("client: {error}");
        }
    });
    Ok(h2)
}

async fn open(h2: &SendRequest<Bytes>, path: &str) -> Result<(client::ResponseFuture, h2::SendStream<Bytes>)> {
    let request = Request::post(format!("http://test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    Ok(h2.clone().ready().await?.send_request(request, false)?)
}

async fn idle_stream(h2: &SendRequest<Bytes>) -> Result<(client::ResponseFuture, h2::SendStream<Bytes>)> {
    let (answer, mut stream) = open(h2, "/t.T/Bidi").await?;
    stream.send_data(framed(2, |out| out.extend_from_slice(b"hi")), false)?;
    Ok((answer, stream))
}

/// `count` calls on each of `streams` streams of each connection, one after the other.
async fn calls(
    connections: &[SendRequest<Bytes>],
    streams: usize,
    count: usize,
    path: &str,
    message: &Bytes,
) -> Result<()> {
    let streams = connections.iter().flat_map(|h2| std::iter::repeat_n(h2, streams)).map(|h2| async {
        for _ in 0..count {
            let (answer, mut stream) = open(h2, path).await?;
            stream.send_data(message.clone(), true)?;
            let mut body = answer.await?.into_body();
            while let Some(data) = body.data().await {
                body.flow_control().release_capacity(data?.len())?;
            }
            let status = body.trailers().await?.and_then(|trailers| trailers.get("grpc-status").cloned());
            if status.is_none_or(|status| status != "0") {
                return Err("a call failed".into());
            }
        }
        Ok(())
    });
    join_all(streams).await.into_iter().collect()
}
