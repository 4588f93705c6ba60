//! Clients that send what costs more than it gets done. Each is told to calm down, and its connection ends.

use std::sync::atomic::Ordering;

use tidegate_base::{Budget, Holder};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    raw::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, GET, GOAWAY, HEADERS, PING, POST,
        RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, hello, until,
    },
    start,
};
use crate::h1::{
    Config, Simple,
    tests::{Echo, run},
};

/// What one connection may hold while it attacks: itself, a few streams, and what `h2` makes of a turn's frames.
const HELD_MAX: u64 = 1 << 20;

/// Pieces between two looks at what the server says. They are read at once, and so its word is never lost behind unread bytes.
const BATCH: u32 = 16;
/// Batches after which a server that says nothing takes everything.
const BATCHES_MAX: u32 = 20_000;

/// Sends batches of what `piece` gives, each but those of `CONTINUATION` with a PING behind it, until the server ends the connection.
/// Gives the code of its GOAWAY.
async fn flood(
    stream: &mut TcpStream,
    budget: &Budget,
    mut piece: impl FnMut(u32) -> Vec<u8>,
    with_ping: bool,
) -> Option<u32> {
    for batch in 0..BATCHES_MAX {
        let mut bytes: Vec<u8> = (batch * BATCH..(batch + 1) * BATCH).flat_map(&mut piece).collect();
        let mark = (u64::from(batch) | 1 << 63).to_be_bytes();
        if with_ping {
            bytes.extend_from_slice(&frame(PING, 0, 0, &mark));
        }
        let sent = stream.write_all(&bytes).await;
        let wanted = |frame: &Frame| frame.kind == GOAWAY || frame.kind == PING && frame.payload == mark;
        let said = until(stream, wanted).await?;
        assert!(budget.used(Holder::Connections) < HELD_MAX, "{}", budget.used(Holder::Connections));
        if said.kind == GOAWAY {
            assert_eq!(until(stream, |_| false).await, None, "the connection ends");
            return said.code();
        }
        sent.unwrap();
    }
    panic!("the server takes everything");
}

async fn ask(stream: &mut TcpStream, id: u32) {
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, id, GET)).await.unwrap();
    assert!(until(stream, |frame| frame.kind == DATA && frame.stream == id).await.is_some());
}

fn check(piece: impl FnMut(u32) -> Vec<u8> + 'static, first: Vec<u8>) {
    check_with(piece, first, true);
}

fn check_with(piece: impl FnMut(u32) -> Vec<u8> + 'static, first: Vec<u8>, with_ping: bool) {
    run(move |budget| async move {
        let (address, _shared) = start(Simple(Echo), Config::default(), &budget).await;
        let mut other = hello(address, &[]).await;
        ask(&mut other, 1).await;
        let mut stream = hello(address, &[]).await;
        stream.write_all(&first).await.unwrap();
        assert_eq!(flood(&mut stream, &budget, piece, with_ping).await, Some(ENHANCE_YOUR_CALM));
        // Others are served as before, on their connections and on new ones.
        ask(&mut other, 3).await;
        ask(&mut hello(address, &[]).await, 1).await;
    });
}

#[test]
fn resets_in_a_burst() {
    check(
        |number| {
            let id = number * 2 + 1;
            [frame(HEADERS, END_HEADERS | END_STREAM, id, GET), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat()
        },
        Vec::new(),
    );
}

/// Each stream is begun before it is reset: `h2` counts only those that nobody has seen.
#[test]
fn resets_of_streams_that_were_begun() {
    run(|budget| async move {
        let (address, shared) = start(Simple(Echo), Config::default(), &budget).await;
        let mut stream = hello(address, &[]).await;
        let mut rounds = 0u32;
        let code = loop {
            let id = rounds * 2 + 1;
            let begin = [frame(HEADERS, END_HEADERS, id, POST), frame(PING, 0, 0, &[0; 8])].concat();
            let sent = stream.write_all(&begin).await;
            match until(&mut stream, |frame| frame.kind == PING || frame.kind == GOAWAY).await {
                Some(said) if said.kind == GOAWAY => break said.code(),
                Some(_) => sent.unwrap(),
                None => break None,
            }
            // Whether the server is still there, the next answer tells.
            stream.write_all(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8])).await.ok();
            rounds += 1;
            assert!(rounds < 5000, "the server takes everything");
        };
        assert_eq!(code, Some(ENHANCE_YOUR_CALM));
        assert!(shared.stats().requests.load(Ordering::Relaxed) > 100, "they were begun");
    });
}

#[test]
fn pings() {
    check(|_| frame(PING, 0, 0, &[7; 8]), Vec::new());
}

#[test]
fn settings() {
    check(|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]), Vec::new());
}

#[test]
fn window_updates() {
    check(|_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), Vec::new());
}

#[test]
fn frames_of_no_kind() {
    check(|_| frame(0xee, 0, 0, b"x"), Vec::new());
}

/// Of `h2`: so many frames as the longest list of headers can need.
#[test]
fn continuations() {
    check_with(|_| frame(CONTINUATION, 0, 1, &[0x90]), frame(HEADERS, END_STREAM, 1, GET), false);
}

/// Of `h2`.
#[test]
fn empty_data() {
    check(|_| frame(DATA, 0, 1, &[]), frame(HEADERS, END_HEADERS, 1, POST));
}

/// Of `h2`: frames with a byte each, which nobody reads.
#[test]
fn padding_without_data() {
    check(|_| frame(DATA, 8, 1, &[3, 0, 0, 0]), frame(HEADERS, END_HEADERS, 1, POST));
}

#[test]
fn acknowledged_and_forgotten() {
    check(|_| frame(PING, ACK, 0, &[7; 8]), Vec::new());
}

/// One header of 3 KiB in the table, named a thousand times by a byte each: of `h2`, which stops at the limit of the list.
#[test]
fn a_bomb_of_headers_reaches_nobody() {
    run(|budget| async move {
        let (address, shared) = start(Simple(Echo), Config::default(), &budget).await;
        let mut stream = hello(address, &[]).await;
        // A new entry: name `x`, and a value whose length, 3000, is 127 and then 2873 in seven bits at a time (RFC 7541, 5.1).
        let large = [GET, &[0x40, 1, b'x', 0x7f, 0xb9, 0x16], &[b'v'; 3000]].concat();
        stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &large)).await.unwrap();
        assert!(until(&mut stream, |frame| frame.kind == DATA).await.is_some(), "it is in the table");
        let bomb = [GET, &[0xbe; 1000]].concat();
        for id in (3..200).step_by(2) {
            stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, id, &bomb)).await.unwrap();
            let refused = until(&mut stream, |frame| frame.stream == id).await;
            let Some(refused) = refused else { break };
            assert!(refused.kind == RST_STREAM || refused.flags & END_STREAM != 0, "{refused:?}");
            assert!(budget.used(Holder::Connections) < HELD_MAX);
        }
        assert_eq!(shared.stats().requests.load(Ordering::Relaxed), 1);
    });
}
