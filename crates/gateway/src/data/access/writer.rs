//! The thread that writes what requests have logged.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tidegate_base::Lease;

/// Most bytes of lines that wait to be written; as many again may be on their way to the sink.
const WAITING_MAX: usize = 256 << 10;
/// What the log takes of the budget.
pub(crate) const BYTES: u64 = 2 * WAITING_MAX as u64;
/// From so many bytes on they are written at once.
const ENOUGH: usize = 64 << 10;
/// Longest time that a line waits. Source: the reference.
const PAUSE: Duration = Duration::from_secs(2);

/// Takes lines. When the last one is dropped, the thread writes what waits and ends.
pub(crate) struct Writer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the thread: enough is there, or somebody waits for it.
    wake: Condvar,
    /// Wakes who waits for the thread.
    written: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines since the start that found no room.
    dropped: u64,
    /// Bytes taken since the start, and those of them that left.
    taken: u64,
    done: u64,
    hurry: bool,
    closed: bool,
}

impl Writer {
    /// `lease` pays [`BYTES`].
    pub(crate) fn start(sink: impl Write + Send + 'static, lease: Lease) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("access-log".to_owned()).spawn(move || run(&of_thread, sink, lease))?;
        Ok(Self(shared))
    }

    /// Takes a line, or counts it where there is no room for it. Never waits for the sink.
    pub(crate) fn write(&self, line: &[u8]) {
        let mut state = self.0.state();
        if state.waiting.len() + line.len() > WAITING_MAX {
            state.dropped += 1;
            return;
        }
        let before = state.waiting.len();
        state.waiting.extend_from_slice(line);
        state.taken += line.len() as u64;
        if before < ENOUGH && state.waiting.len() >= ENOUGH {
            self.0.wake.notify_one();
        }
    }

    /// Lines since the start that found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.state().dropped
    }

    /// Waits until what was taken before is with the sink. Blocks: not for an I/O thread.
    pub(crate) fn flush(&self) {
        let mut state = self.0.state();
        let until = state.taken;
        while state.done < until && !state.closed {
            state.hurry = true;
            self.0.wake.notify_one();
            state = self.0.written.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.wake.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(shared: &Shared, mut sink: impl Write, _lease: Lease) {
    let (mut leaving, mut told, mut failing) = (Vec::new(), 0, false);
    loop {
        let idle = |state: &mut State| !state.hurry && !state.closed && state.waiting.len() < ENOUGH;
        let waited = shared.wake.wait_timeout_while(shared.state(), PAUSE, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut leaving, &mut state.waiting);
        let (taken, dropped, closed) = (state.taken, state.dropped, state.closed);
        state.hurry = false;
        drop(state);
        if !leaving.is_empty() {
            let written = sink.write_all(&leaving).and_then(|()| sink.flush());
            // Told once, not each time: a full disk stays full for long.
            if let (Err(error), false) = (&written, failing) {
                tracing::warn!(%error, "the access log cannot be written");
            }
            failing = written.is_err();
            leaving.clear();
        }
        if dropped > told {
            tracing::warn!(lines = dropped - told, "lines of the access log were dropped: they came too fast");
            told = dropped;
        }
        shared.state().done = taken;
        shared.written.notify_all();
        if closed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use tidegate_base::{Budget, ByteSize, Holder, Limits, Profile};

    use super::*;

    /// Tells what is written, and then waits for leave to return.
    struct Slow(SyncSender<Vec<u8>>, Receiver<()>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            self.1.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lease() -> Lease {
        let budget = Budget::new(Limits::new(ByteSize::mib(256), Profile::Server).unwrap());
        budget.try_lease(Holder::Gateway, BYTES).unwrap()
    }

    #[test]
    fn lines_beyond_the_limit_are_dropped_and_counted() {
        let (seen, written) = sync_channel(1);
        let (go, leave) = sync_channel(8);
        let writer = Writer::start(Slow(seen, leave), lease()).unwrap();
        let line = vec![b'x'; 1 << 10];
        let first = ENOUGH / line.len();
        for _ in 0..first {
            writer.write(&line);
        }
        // The sink has the first lines and does not return: as many as the limit lets wait, wait.
        assert_eq!(written.recv().unwrap().len(), ENOUGH);
        for _ in 0..WAITING_MAX / line.len() + 3 {
            writer.write(&line);
        }
        assert_eq!(writer.dropped(), 3);
        go.send(()).unwrap();
        assert_eq!(written.recv().unwrap().len(), WAITING_MAX);
        go.send(()).unwrap();
        writer.flush();
        writer.write(b"end\n");
        drop(writer);
        assert_eq!(written.recv().unwrap(), b"end\n", "what waits is written when the log ends");
    }

    #[test]
    fn a_sink_that_fails_stops_nobody() {
        let (seen, written) = sync_channel(1);
        let (go, leave) = sync_channel(1);
        drop(go);
        let writer = Writer::start(Slow(seen, leave), lease()).unwrap();
        for text in [&b"a\n"[..], b"b\n"] {
            writer.write(text);
            writer.flush();
            assert_eq!(written.recv().unwrap(), text);
        }
    }
}
