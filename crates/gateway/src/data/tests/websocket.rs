//! WebSockets through an HTTPServer, a Pipeline and a Proxy.

use std::{
    io::{BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::json;

use super::{
    Gateway, connect, read_until,
    upstream::{raw, read_request},
};

const ASK: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";

/// Opens a WebSocket for who asks for one, says who it is, and gives back what it gets.
fn chat(name: &'static str) -> SocketAddr {
    raw(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let asked = read_request(&mut reader).unwrap();
        assert!(asked.headers.contains(&"upgrade: websocket".to_owned()), "{asked:?}");
        let head = "HTTP/1.1 101 Sure\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\n";
        stream.write_all(format!("{head}{name}").as_bytes()).unwrap();
        let mut piece = [0; 100];
        while let Ok(read @ 1..) = reader.read(&mut piece) {
            stream.write_all(&piece[..read]).unwrap();
        }
    })
}

fn open(address: SocketAddr, name: &str) -> TcpStream {
    let mut client = connect(address);
    client.write_all(ASK).unwrap();
    let answer = read_until(&mut client, name);
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("\r\nSec-WebSocket-Accept: a\r\n"), "{answer}");
    client
}

fn say(client: &mut TcpStream, text: &str) {
    client.write_all(text.as_bytes()).unwrap();
    assert_eq!(read_until(client, text), text);
}

fn pipeline(upstream: SocketAddr, timeout: &str) -> serde_json::Value {
    let pool = json!({"servers": [{"url": format!("http://{upstream}")}], "timeout": timeout});
    json!({"filters": [{"name": "proxy", "kind": "Proxy", "pools": [pool]}]})
}

#[test]
fn an_open_one_outlives_edits_of_its_pipeline_and_the_end_of_its_server() {
    let mut gateway = Gateway::with_proxy(chat("first"), json!({}));
    let mut client = open(gateway.address(), "first");
    say(&mut client, "one");
    gateway.set("p", "Pipeline", pipeline(chat("second"), "10s"));
    gateway.apply_all();
    let mut other = open(gateway.address(), "second");
    say(&mut other, "two");
    say(&mut client, "three");
    let counters = gateway.plane.counters();
    assert_eq!((counters["s"].connections, counters["s"].requests), (2, 2));
    gateway.remove("s");
    gateway.apply_all();
    for client in [&mut client, &mut other] {
        say(client, "four");
    }
}

/// The time that an answer may take ends with the answer's head.
#[test]
fn a_timeout_of_the_pool_does_not_end_it() {
    let mut gateway = Gateway::with_proxy(chat("old"), json!({}));
    gateway.set("p", "Pipeline", pipeline(chat("new"), "200ms"));
    gateway.apply_all();
    let mut client = open(gateway.address(), "new");
    let opened = tidegate_base::clock::now();
    while opened.elapsed() < std::time::Duration::from_millis(300) {
        say(&mut client, "on");
    }
    say(&mut client, "and on");
}
