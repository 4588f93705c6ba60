//! What a unary call and an idle connection cost, on this machine.
//!
//! ```text
//! cargo run --release -p tidegate-http --example echo            starts a server as a child and measures it
//! cargo run --release -p tidegate-http --example echo -- server  the server alone, until its input ends
//! ```
//! Prints the server's CPU time per unary echo of 256 bytes (4 connections of 16 streams), and its anonymous memory per
//! connection that has one idle stream, over 1000 connections, fresh and after 64 calls each.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, join_all};
use h2::client::{self, SendRequest};
use http::Request;
use tidegate_base::{Budget, ByteSize, Limits, Profile, clock};
use tidegate_http::{
    conn::{Drain, Listener, Net, Served},
    grpc::{Accept, Call, Service, Status, framed},
    io::Threads,
};
use tokio::net::TcpStream;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CONNECTIONS: usize = 4;
const STREAMS: usize = 16;
const CALLS: usize = 8_000;
const IDLE: usize = 1_000;
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
            match call.message(accept).await {
                Ok(message) => call.reply(message.bytes).await.unwrap_or_default(),
                Err(status) => call.fail(&status),
            }
        })
    }
}

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("server") {
        return serve();
    }
    let mut server =
        Command::new(std::env::current_exe()?).arg("server").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let measured = measure(&mut server);
    drop(server.stdin.take());
    server.wait()?;
    measured
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

fn measure(server: &mut Child) -> Result<()> {
    let mut address = String::new();
    BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut address)?;
    let address = address.trim().to_owned();
    let pid = server.id();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(connect(&address).await?);
        }
        calls(&connections, CALLS / 10).await?;
        for _ in 0..3 {
            let (before, begin) = (cpu(pid)?, clock::now());
            calls(&connections, CALLS).await?;
            let count = (CONNECTIONS * STREAMS * CALLS) as f64;
            let (used, took) = ((cpu(pid)? - before) * 1e6 / count, begin.elapsed().as_secs_f64());
            println!("unary echo: {used:.2} µs of server CPU a call, {:.0} calls/s", count / took);
        }
        let before = memory(pid)?;
        let mut idle = Vec::new();
        for _ in 0..IDLE {
            let h2 = connect(&address).await?;
            let (answer, mut stream) = open(&h2, "/t.T/Bidi").await?;
            stream.send_data(framed(2, |out| out.extend_from_slice(b"hi")), false)?;
            idle.push((h2, answer, stream));
        }
        let per = |now: f64| (now - before) / IDLE as f64;
        tokio::time::sleep(Duration::from_secs(3)).await;
        println!("connection with one idle stream: {:.1} KiB", per(memory(pid)?));
        for (h2, ..) in &idle {
            calls(std::slice::from_ref(h2), 4).await?;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        println!("the same after 64 calls, 16 at a time: {:.1} KiB", per(memory(pid)?));
        Ok(())
    })
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

/// `count` calls on each of the streams of each connection, one after the other.
async fn calls(connections: &[SendRequest<Bytes>], count: usize) -> Result<()> {
    let message = framed(256, |out| out.resize(5 + 256, b'm'));
    let streams = connections.iter().flat_map(|h2| std::iter::repeat_n(h2, STREAMS)).map(|h2| async {
        for _ in 0..count {
            let (answer, mut stream) = open(h2, "/t.T/Echo").await?;
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

/// CPU seconds of a process, user and system.
fn cpu(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').ok_or("no name")?.1.split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).map(str::parse).collect::<std::result::Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS)
}

/// KiB of anonymous memory of a process.
fn memory(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
