//! The ring of a thread.

use std::{cell::RefCell, io, os::fd::OwnedFd, rc::Rc, thread};

use tidegate_base::Lease;

use crate::{
    Socket,
    driver::drive,
    ring::{Ring, build},
};

thread_local! {
    static CURRENT: RefCell<Option<Rc<Ring>>> = const { RefCell::new(None) };
}

/// A thread has a ring while this lives. Sockets that were made meanwhile outlive it.
pub struct Installed(Rc<Ring>);

impl Drop for Installed {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| current.take_if(|current| Rc::ptr_eq(current, &self.0)));
        self.0.installed.set(false);
        self.0.wake_driver();
    }
}

/// Whether the kernel lets this process have a ring.
///
/// # Errors
/// What it says if not.
pub fn probe() -> io::Result<()> {
    // A thread of its own: the end of a ring interrupts the next call that its thread waits in.
    let asked = thread::Builder::new().name("probe".to_owned()).spawn(|| build().map(drop))?;
    asked.join().unwrap_or_else(|_| Err(io::Error::other("the thread that asks has failed")))
}

/// Gives this thread a ring, for which `lease` pays [`RING_BYTES`](crate::RING_BYTES). To be called inside of a
/// [`LocalSet`](tokio::task::LocalSet), on which the ring is driven from then on.
///
/// # Errors
/// When the kernel is too old, or does not let this process have one.
pub fn install(lease: Lease) -> io::Result<Installed> {
    let ring = Rc::new(Ring::new(lease)?);
    tokio::task::spawn_local(drive(Rc::clone(&ring)));
    CURRENT.set(Some(Rc::clone(&ring)));
    Ok(Installed(ring))
}

/// Makes of a connected socket one of this thread's ring.
///
/// # Errors
/// Gives the socket back where the thread has no ring.
pub fn adopt(fd: OwnedFd) -> Result<Socket, OwnedFd> {
    match CURRENT.with_borrow(|current| current.as_ref().filter(|ring| !ring.is_broken()).map(Rc::clone)) {
        Some(ring) => Socket::new(ring, fd),
        None => Err(fd),
    }
}

/// Whether this thread has a ring that works.
pub fn is_installed() -> bool {
    CURRENT.with_borrow(|current| current.as_ref().is_some_and(|ring| !ring.is_broken()))
}
