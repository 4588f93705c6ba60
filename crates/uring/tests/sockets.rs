//! Sockets on a ring, against plain ones at the other end.
#![allow(clippy::unwrap_used, reason = "test code: a panic is the failure report")]

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::BytesMut;
use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};
use tidegate_uring::{BUFFERS, RING_BYTES, Socket, adopt, install, is_installed};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{LocalSet, spawn_local, yield_now},
    time::{sleep, timeout},
};

/// Runs on a thread that has a ring, and checks that its lease comes back. Where the kernel allows no ring there is nothing to see.
fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let ring = match install(budget.try_lease(Holder::Gateway, RING_BYTES).unwrap()) {
            Ok(ring) => ring,
            Err(error) => return eprintln!("not run: {error}"),
        };
        timeout(Duration::from_secs(60), test()).await.expect("the test does not hang");
        drop(ring);
        assert!(!is_installed());
        let back = async {
            while budget.used(Holder::Gateway) > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(10), back).await.expect("a ring ends with its last socket");
    });
}

async fn pair() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let ours = adopt(ours.unwrap().into_std().unwrap().into()).unwrap();
    (ours, theirs.unwrap().0)
}

async fn read(socket: &mut Socket, most: usize) -> io::Result<Vec<u8>> {
    let mut buf = BytesMut::with_capacity(most);
    let count = poll_fn(|cx| socket.poll_read(cx, &mut buf)).await?;
    assert_eq!(count, buf.len());
    Ok(buf.to_vec())
}

async fn read_exactly(socket: &mut Socket, bytes: usize, step: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < bytes {
        let more = read(socket, step.min(bytes - all.len())).await.unwrap();
        assert!(!more.is_empty(), "the end after {} bytes", all.len());
        all.extend(more);
    }
    all
}

async fn write_all(socket: &mut Socket, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let (first, second) = bytes.split_at(bytes.len() / 3);
        let count = poll_fn(|cx| socket.poll_write(cx, &[IoSlice::new(first), IoSlice::new(second)])).await?;
        bytes = &bytes[count..];
    }
    Ok(())
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..=250u8).map(|value| value.wrapping_mul(31)).cycle().take(bytes).collect()
}

#[test]
fn what_is_sent_arrives_whatever_its_size_and_the_sizes_of_reads() {
    run(|| async {
        let (mut ours, mut theirs) = pair().await;
        for bytes in [1, 4095, 4096, 4097, 8192, 100_000, 3_000_000] {
            for step in [1 << 10, 4 << 10, 64 << 10] {
                let sent = pattern(bytes);
                let copy = sent.clone();
                let other = spawn_local(async move {
                    let mut seen = vec![0; copy.len()];
                    theirs.read_exact(&mut seen).await.unwrap();
                    assert!(seen == copy);
                    theirs.write_all(&seen).await.unwrap();
                    theirs
                });
                write_all(&mut ours, &sent).await.unwrap();
                assert!(read_exactly(&mut ours, bytes, step).await == sent, "{bytes} in steps of {step}");
                theirs = other.await.unwrap();
            }
        }
    });
}

#[test]
fn bytes_wake_who_waits_and_the_end_and_errors_stay() {
    run(|| async {
        let (mut ours, mut theirs) = pair().await;
        let other = spawn_local(async move {
            for _ in 0..100 {
                sleep(Duration::from_micros(300)).await;
                theirs.write_all(b"x").await.unwrap();
            }
            theirs.shutdown().await.unwrap();
            theirs
        });
        for _ in 0..100 {
            poll_fn(|cx| ours.poll_readable(cx)).await.unwrap();
            assert_eq!(read(&mut ours, 10).await.unwrap(), b"x");
        }
        let mut theirs = other.await.unwrap();
        for _ in 0..2 {
            poll_fn(|cx| ours.poll_readable(cx)).await.unwrap();
            assert_eq!(read(&mut ours, 10).await.unwrap(), b"");
        }
        write_all(&mut ours, b"still open").await.unwrap();
        let mut seen = [0; 10];
        theirs.read_exact(&mut seen).await.unwrap();

        let (mut ours, theirs) = pair().await;
        theirs.set_zero_linger().unwrap();
        drop(theirs);
        for _ in 0..2 {
            assert_eq!(read(&mut ours, 10).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
        while write_all(&mut ours, b"x").await.is_ok() {
            yield_now().await;
        }
    });
}

#[test]
fn a_dropped_socket_closes_after_what_it_has_sent() {
    run(|| async {
        for (bytes, waits) in [(0, true), (0, false), (10, true), (4096, false), (100_000, true)] {
            let (mut ours, mut theirs) = pair().await;
            let sent = pattern(bytes);
            let other = spawn_local(async move {
                let mut seen = Vec::new();
                theirs.read_to_end(&mut seen).await.unwrap();
                seen
            });
            if waits {
                let waker = Waker::noop();
                assert!(ours.poll_readable(&mut Context::from_waker(waker)).is_pending());
                yield_now().await;
            }
            write_all(&mut ours, &sent).await.unwrap();
            drop(ours);
            assert!(other.await.unwrap() == sent, "{bytes}");
        }
    });
}

#[test]
fn a_shutdown_comes_behind_what_was_written() {
    run(|| async {
        let (mut ours, mut theirs) = pair().await;
        write_all(&mut ours, b"last").await.unwrap();
        poll_fn(|cx| ours.poll_shutdown(cx)).await.unwrap();
        let mut seen = Vec::new();
        theirs.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"last");
        theirs.write_all(b"answer").await.unwrap();
        assert_eq!(read(&mut ours, 10).await.unwrap(), b"answer");
    });
}

/// A peer that takes nothing: the kernel's buffers fill, then the write waits; dropped, the socket is given up.
#[test]
fn who_takes_nothing_is_waited_for_and_given_up_when_the_socket_goes() {
    run(|| async {
        let (mut small, theirs) = pair().await;
        let full = timeout(Duration::from_millis(200), async {
            loop {
                write_all(&mut small, &[7; 4000]).await.unwrap();
            }
        });
        assert!(full.await.is_err());
        let (mut large, others) = pair().await;
        let bytes = pattern(64 << 20);
        assert!(timeout(Duration::from_millis(200), write_all(&mut large, &bytes)).await.is_err());
        drop((small, large));
        // `run` sees that the ring ends although both peers stay.
        spawn_local(async move {
            sleep(Duration::from_secs(30)).await;
            drop((theirs, others));
        });
    });
}

/// More sockets than there are buffers, all with bytes that nobody reads yet.
#[test]
fn when_buffers_run_out_sockets_read_by_themselves() {
    run(|| async {
        let mut pairs = Vec::new();
        for _ in 0..BUFFERS + 200 {
            pairs.push(pair().await);
        }
        for (ours, _) in &mut pairs {
            assert!(!is_readable(ours).await);
        }
        for (index, (_, theirs)) in pairs.iter_mut().enumerate() {
            theirs.write_all(format!("{index:05}").as_bytes()).await.unwrap();
        }
        for (index, (ours, _)) in pairs.iter_mut().enumerate().rev() {
            poll_fn(|cx| ours.poll_readable(cx)).await.unwrap();
            assert!(is_readable(ours).await, "it stays so until it is read");
            assert_eq!(read(ours, 100).await.unwrap(), format!("{index:05}").as_bytes());
            assert!(!is_readable(ours).await);
        }
        // And each goes on as before.
        for (ours, theirs) in &mut pairs {
            theirs.write_all(b"more").await.unwrap();
            assert_eq!(read(ours, 100).await.unwrap(), b"more");
        }
    });
}

async fn is_readable(socket: &mut Socket) -> bool {
    poll_fn(|cx| Poll::Ready(socket.poll_readable(cx).is_ready())).await
}

/// Who keeps unused connections asks with a waker that wakes nobody.
#[test]
fn a_close_is_seen_whatever_was_read_before() {
    run(|| async {
        for bytes in [1, 4095, 4096, 4097, 8192] {
            let (mut ours, mut theirs) = pair().await;
            theirs.write_all(&pattern(bytes)).await.unwrap();
            assert!(read_exactly(&mut ours, bytes, 4096).await == pattern(bytes));
            let mut asked = || ours.poll_readable(&mut Context::from_waker(Waker::noop())).is_ready();
            assert!(!asked());
            sleep(Duration::from_millis(20)).await;
            assert!(!asked());
            drop(theirs);
            sleep(Duration::from_millis(20)).await;
            assert!(asked(), "after {bytes}");
        }
    });
}

/// The kernel does some twenty pieces of work in a call: what is left must not wait for the next event.
#[test]
fn many_ends_at_once_are_all_seen() {
    run(|| async {
        let mut pairs = Vec::new();
        for _ in 0..200 {
            let (mut ours, theirs) = pair().await;
            assert!(ours.poll_readable(&mut Context::from_waker(Waker::noop())).is_pending());
            pairs.push((ours, theirs));
        }
        sleep(Duration::from_millis(20)).await;
        let (mut ours, theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        drop(theirs);
        sleep(Duration::from_millis(50)).await;
        for socket in &mut ours {
            assert!(socket.poll_readable(&mut Context::from_waker(Waker::noop())).is_ready());
        }
    });
}

/// One that lingers does not keep others open that have sent all.
#[test]
fn a_close_does_not_wait_for_other_sockets() {
    run(|| async {
        let (mut stuck, theirs) = pair().await;
        let full = timeout(Duration::from_millis(200), async {
            loop {
                write_all(&mut stuck, &[7; 4000]).await.unwrap();
            }
        });
        assert!(full.await.is_err());
        drop(stuck);
        for _ in 0..10 {
            let (mut ours, mut others) = pair().await;
            write_all(&mut ours, b"last").await.unwrap();
            drop(ours);
            let mut seen = Vec::new();
            timeout(Duration::from_secs(1), others.read_to_end(&mut seen)).await.expect("it closes at once").unwrap();
            assert_eq!(seen, b"last");
        }
        drop(theirs);
    });
}

#[test]
fn many_sockets_go_on_at_once() {
    run(|| async {
        let mut tasks = Vec::new();
        for number in 0..500_usize {
            let (mut ours, mut theirs) = pair().await;
            tasks.push(spawn_local(async move {
                let mut buf = [0; 100];
                loop {
                    match theirs.read(&mut buf).await.unwrap() {
                        0 => return,
                        count => theirs.write_all(&buf[..count]).await.unwrap(),
                    }
                }
            }));
            tasks.push(spawn_local(async move {
                for round in 0..20 {
                    let text = format!("{number} {round}");
                    write_all(&mut ours, text.as_bytes()).await.unwrap();
                    assert_eq!(read_exactly(&mut ours, text.len(), 100).await, text.as_bytes());
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// The thread ends while the kernel waits for sockets: all memory is let go of first.
#[test]
fn a_thread_may_end_with_everything_in_flight() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
    let local = LocalSet::new();
    let others = local.block_on(&runtime, async {
        let Ok(ring) = install(budget.try_lease(Holder::Gateway, RING_BYTES).unwrap()) else { return Vec::new() };
        let mut others = Vec::new();
        for _ in 0..50 {
            let (mut ours, theirs) = pair().await;
            others.push(theirs);
            spawn_local(async move {
                let bytes = [9; 4000];
                poll_fn(|cx| {
                    assert!(ours.poll_readable(cx).is_pending());
                    while ours.poll_write(cx, &[IoSlice::new(&bytes)]).is_ready() {}
                    Poll::<()>::Pending
                })
                .await;
            });
        }
        sleep(Duration::from_millis(100)).await;
        drop(ring);
        others
    });
    let context = runtime.enter();
    drop(local);
    drop(context);
    assert_eq!(budget.used(Holder::Gateway), 0, "what the kernel keeps would be leaked with its lease");
    for mut other in others {
        let mut seen = Vec::new();
        let ends = runtime.block_on(async { timeout(Duration::from_secs(5), other.read_to_end(&mut seen)).await });
        assert!(ends.is_ok(), "no socket stays open");
    }
}

#[test]
fn bytes_go_through_a_pipe_and_sockets_wait_as_before_afterwards() {
    run(|| async {
        let (mut source, mut from) = pair().await;
        let (mut sink, mut to) = pair().await;
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        for bytes in [1, 70_000, 5_000_000] {
            let sent = pattern(bytes);
            let copy = sent.clone();
            let feed = spawn_local(async move {
                from.write_all(&copy).await.unwrap();
                from
            });
            let copy = sent.clone();
            let drain = spawn_local(async move {
                let mut seen = vec![0; copy.len()];
                // The socket fills up first.
                sleep(Duration::from_millis(20)).await;
                to.read_exact(&mut seen).await.unwrap();
                assert!(seen == copy);
                to
            });
            let mut left = bytes;
            while left > 0 {
                assert!(source.can_drain());
                let mut held = poll_fn(|cx| source.poll_drain(cx, &writer, left)).await.unwrap();
                assert!(held > 0);
                left -= held;
                while held > 0 {
                    held -= poll_fn(|cx| sink.poll_fill(cx, &reader, held)).await.unwrap();
                }
            }
            (from, to) = (feed.await.unwrap(), drain.await.unwrap());
            // What comes the other way while it is filled is waited for without a spin, and after it as ever.
            for ended in [false, true] {
                if ended {
                    sink.end_fill().unwrap();
                }
                let answer = spawn_local(async move {
                    sleep(Duration::from_millis(5)).await;
                    to.write_all(b"seen").await.unwrap();
                    to
                });
                assert_eq!(read_exactly(&mut sink, 4, 100).await, b"seen");
                to = answer.await.unwrap();
                write_all(&mut sink, b"small").await.unwrap();
                let mut small = [0; 5];
                to.read_exact(&mut small).await.unwrap();
                assert_eq!(&small, b"small");
            }
        }
        from.shutdown().await.unwrap();
        for _ in 0..2 {
            assert_eq!(poll_fn(|cx| source.poll_drain(cx, &writer, 10)).await.unwrap(), 0, "the end stays");
        }
        to.set_zero_linger().unwrap();
        drop(to);
        assert!(poll_fn(|cx| sink.poll_drain(cx, &writer, 10)).await.is_err());
    });
}

#[test]
fn bytes_that_stand_in_a_buffer_are_read_before_others_are_drained() {
    run(|| async {
        let (mut source, mut from) = pair().await;
        let (_reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let feed = spawn_local(async move {
            sleep(Duration::from_millis(5)).await;
            from.write_all(&pattern(10_000)).await.unwrap();
            from
        });
        poll_fn(|cx| source.poll_readable(cx)).await.unwrap();
        assert!(!source.can_drain());
        let refused = poll_fn(|cx| source.poll_drain(cx, &writer, 10)).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        let first = read(&mut source, 64 << 10).await.unwrap();
        assert!(source.can_drain());
        let rest = poll_fn(|cx| source.poll_drain(cx, &writer, 64 << 10)).await.unwrap();
        assert_eq!(first.len() + rest, 10_000);
        drop(feed.await.unwrap());
    });
}

/// The kernel counts no bytes at urgent ones, and has some all the same.
#[test]
fn urgent_bytes_end_what_is_drained() {
    run(|| async {
        let (mut source, mut from) = pair().await;
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        from.write_all(b"before").await.unwrap();
        socket2::SockRef::from(&from).send_out_of_band(b"!").unwrap();
        from.write_all(b"behind").await.unwrap();
        let mut drained = 0;
        loop {
            match poll_fn(|cx| source.poll_drain(cx, &writer, 100)).await {
                Ok(0) | Err(_) => break,
                Ok(count) => drained += count,
            }
        }
        assert!(drained <= 12, "{drained}");
        let mut seen = [0; 100];
        let count = rustix::io::read(&reader, &mut seen).unwrap();
        assert!(b"beforebehind".starts_with(&seen[..count]) && count == drained);
    });
}
