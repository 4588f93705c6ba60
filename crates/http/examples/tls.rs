//! What TLS costs, on this machine.
//!
//! ```text
//! cargo run --release -p tidegate-http --example tls            starts a server as a child and measures it
//! cargo run --release -p tidegate-http --example tls -- server  the server alone, until its input ends
//! ```
//! Prints the server's CPU time per connection with one request: without TLS, with a full handshake, with a resumed one; per
//! keep-alive GET of 1 KiB and of 4 MiB with TLS and without; and its anonymous memory, with what it has charged, per idle connection of either
//! kind, and per connection whose handshake has begun. The allocator is that of the program, with its settings.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Resource, getrlimit, setrlimit};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile, clock};
use tidegate_http::{
    conn::{Address, Drain, Listener, Net, Served},
    h1::{Config, Handler, Http1Service, Request, Shared, Simple},
    io::Threads,
    message::Response,
    tls::{Handle, Identity, Server, ServerSettings},
};
use tidegate_testkit::pki::Authority;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
/// As in `bin/tidegate`, whose allocator is built in the same way.
const MALLOC_CONF: &str = "narenas:2,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";

const HANDSHAKES: usize = 4_000;
const GETS: usize = 40_000;
const LARGE: usize = 400;
const IDLE: usize = 2_000;
const ROUNDS: usize = 8;
/// Ticks of `/proc/PID/stat` in a second, on every Linux of the last twenty years.
const TICKS: f64 = 100.0;

struct Filler;

impl Handler for Filler {
    async fn handle(&self, request: Request<'_>) -> Response {
        Response::text(200, vec![b'x'; request.path().trim_start_matches('/').parse().unwrap_or(0)])
    }
}

fn main() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    match std::env::args().nth(1).as_deref() {
        None => measure(),
        Some("server") => serve(),
        Some(other) => Err(format!("{other} is not known").into()),
    }
}

/// Tells its ports and its authority, and then for each line that comes what it has charged.
fn serve() -> Result<()> {
    let threads = Threads::start(1, "io")?;
    let budget = Budget::new(Limits::new(ByteSize::mib(512), Profile::Store)?);
    let net = Net::new(&threads.handle(), budget.clone(), Drain::default())?;
    let authority = Authority::new();
    let pair = authority.pair(&["localhost"]);
    let identity = Identity::from_pem(pair.cert.as_bytes(), pair.key.as_bytes())?;
    let settings = ServerSettings { identities: vec![identity], ..ServerSettings::default() };
    let handle = Handle::new(Server::new(settings)?);
    for tls in [false, true] {
        let mut listener = Listener::bind_tcp("127.0.0.1:0")?;
        if tls {
            listener = listener.with_tls(Arc::clone(&handle));
        }
        let Address::Tcp(address) = *listener.address() else { return Err("no TCP".into()) };
        println!("{address}");
        let paying = budget.clone();
        net.listen(listener, move |_| {
            let config = Config { idle_timeout: Duration::from_secs(600), ..Config::default() };
            let shared = Shared::new(config, paying.clone());
            Served { http1: Some(Http1Service::new(Simple(Filler), shared)), grpc: None }
        })?;
    }
    println!("{}", authority.cert.replace('\n', "|"));
    for line in io::stdin().lines() {
        line?;
        println!("{}", budget.used(Holder::Connections));
    }
    Ok(())
}

struct Measured {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Measured {
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn charged(&mut self) -> Result<f64> {
        self.input.write_all(b"\n")?;
        Ok(self.line()?.parse()?)
    }

    /// CPU time of the server in microseconds.
    fn cpu(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(ticks / TICKS * 1e6)
    }

    /// Its anonymous memory in bytes, once the allocator has given back what is free.
    fn memory(&self) -> Result<f64> {
        let wait = clock::now() + Duration::from_secs(4);
        while clock::now() < wait {
            std::thread::yield_now();
        }
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).ok_or("no RssAnon")?;
        Ok(line.split_whitespace().nth(1).ok_or("no RssAnon")?.parse::<f64>()? * 1024.0)
    }
}

fn config(roots: &RootCertStore, resume: bool) -> Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
    if !resume {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

fn plain(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn secure(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let conn = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
    Ok(StreamOwned::new(conn, plain(address)?))
}

/// Asks for so many bytes and reads them.
fn get(stream: &mut (impl Read + Write), bytes: usize, piece: &mut [u8]) -> Result<()> {
    stream.write_all(format!("GET /{bytes} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())?;
    let (mut head, mut got) = (None, 0);
    while head.is_none_or(|head| got < head + bytes) {
        let read = stream.read(piece)?;
        if read == 0 {
            return Err("closed early".into());
        }
        got += read;
        head = head.or_else(|| piece.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4));
    }
    Ok(())
}

fn measure() -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("server").env("_RJEM_MALLOC_CONF", MALLOC_CONF).env("MALLOC_CONF", MALLOC_CONF);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let input = child.stdin.take().ok_or("no input")?;
    let output = BufReader::new(child.stdout.take().ok_or("no output")?);
    let mut server = Measured { child, input, output };
    let (of_plain, of_tls): (SocketAddr, SocketAddr) = (server.line()?.parse()?, server.line()?.parse()?);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.line()?.replace('|', "\n").as_bytes())?)?;
    let mut piece = vec![0; 256 << 10];

    let (full, resuming) = (config(&roots, false)?, config(&roots, true)?);
    let provider = CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()?;
    let mut old = builder.with_root_certificates(roots.clone()).with_no_client_auth();
    old.resumption = Resumption::disabled();
    let old = Arc::new(old);
    let kinds = [
        ("connection without TLS and a GET", None),
        ("full handshake and a GET", Some(&full)),
        ("full handshake by X25519 alone and a GET", Some(&old)),
        ("resumed handshake and a GET", Some(&resuming)),
    ];
    // In turn, so that what else the machine does meets all of them.
    let mut spent = [0.0; 4];
    for _ in 0..ROUNDS {
        for ((_, config), spent) in kinds.iter().zip(&mut spent) {
            let before = server.cpu()?;
            for _ in 0..HANDSHAKES / ROUNDS {
                match config {
                    None => get(&mut plain(of_plain)?, 100, &mut piece)?,
                    Some(config) => get(&mut secure(of_tls, config)?, 100, &mut piece)?,
                }
            }
            *spent += server.cpu()? - before;
        }
    }
    for ((what, _), spent) in kinds.iter().zip(spent) {
        println!("{what}: {:.1} µs", spent / HANDSHAKES as f64);
    }
    let config = full;
    for (size, count, unit) in [(1024, GETS, "GET of 1 KiB"), (4 << 20, LARGE, "GET of 4 MiB")] {
        let mut streams: [(_, Box<dyn ReadWrite>, _); 2] =
            [("without TLS", Box::new(plain(of_plain)?), 0.0), ("with TLS", Box::new(secure(of_tls, &config)?), 0.0)];
        for _ in 0..ROUNDS {
            for (_, stream, spent) in &mut streams {
                let before = server.cpu()?;
                for _ in 0..count / ROUNDS {
                    get(stream, size, &mut piece)?;
                }
                *spent += server.cpu()? - before;
            }
        }
        for (what, _, spent) in streams {
            println!("{unit}, {what}: {:.2} µs", spent / count as f64);
        }
    }

    let mut kept: Vec<Box<dyn ReadWrite>> = Vec::new();
    let mut small = vec![0; 4096];
    let report = |what: &str, server: &mut Measured, before: (f64, f64)| -> Result<(f64, f64)> {
        let now = (server.memory()?, server.charged()?);
        let each = |before: f64, now: f64| (now - before) / IDLE as f64 / 1024.0;
        println!("{what}: {:.2} KiB, charged {:.2} KiB", each(before.0, now.0), each(before.1, now.1));
        Ok(now)
    };
    let mut now = (server.memory()?, server.charged()?);
    for tls in [false, true] {
        for _ in 0..IDLE {
            let mut stream: Box<dyn ReadWrite> =
                if tls { Box::new(secure(of_tls, &config)?) } else { Box::new(plain(of_plain)?) };
            get(&mut stream, 1024, &mut small)?;
            kept.push(stream);
        }
        now = report(if tls { "idle connection, TLS" } else { "idle connection, plain" }, &mut server, now)?;
    }
    // The first message alone: the server has answered, and waits.
    for _ in 0..IDLE {
        let mut conn = ClientConnection::new(Arc::clone(&config), ServerName::try_from("localhost")?)?;
        let mut stream = plain(of_tls)?;
        conn.write_tls(&mut stream)?;
        kept.push(Box::new(stream));
    }
    report("handshake that waits for the client", &mut server, now)?;
    drop(kept);
    drop(server.input);
    server.child.wait()?;
    Ok(())
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}
