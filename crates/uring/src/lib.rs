//! TCP sockets whose system calls leave in batches.
//!
//! A thread of the gateway that serves many connections spends most of its time in four small system calls a request. Here they
//! become entries of an `io_uring`: what the thread's tasks want to read and to send is collected until all of them have run, and
//! is handed to the kernel in one call.
//! ```text
//!   task ── poll_read, poll_write ─► entries ─┐                      ┌─► buffers, results ─► wakers ─► tasks
//!   task ── poll_read, poll_write ─► entries ─┴─► driver: one call ──┘
//!                                                    ▲ a task of its own, behind those that woke it; and whenever the
//!                                                      eventfd says that something has come
//! ```
//! - **Reading.** A socket that waits holds no memory: the kernel takes one of the thread's [`BUFFERS`] buffers of 4 KiB when bytes
//!   have come. They are copied out when the task reads; who does not read keeps one buffer. When all are kept, and for bodies
//!   that fill one, the plain system call is used, straight into the reader's memory.
//! - **Sending.** Up to 4 KiB are copied and count as written, as they would in the kernel's own buffer; the next write waits until
//!   they have left. More goes by the plain system call. What a dropped socket has not sent is tried for 2 s.
//! - **Passing on.** Large bodies may go from socket to pipe and from pipe to socket, and are copied nowhere.
//! - **Memory** (bytes): [`RING_BYTES`] a thread, leased by who installs the ring; 4 KiB a socket while something is being sent,
//!   to be leased by who writes.
//!
//! Needs Linux 6.1 and the permission to use `io_uring`, which containers often withhold: then [`install`] fails, and sockets stay
//! with the runtime's own reactor.
#![allow(unsafe_code, reason = "memory is handed to the kernel; each use says why it may be")]

mod buffers;
mod current;
mod driver;
mod ring;
mod socket;
mod splice;
mod state;

pub use buffers::BUFFERS;
pub use current::{Installed, adopt, install, is_installed, probe};
pub use ring::RING_BYTES;
pub use socket::Socket;
