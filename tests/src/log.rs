//! What a server prints.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use tidegate_base::clock;

/// Lines kept; enough to see how a server ended.
const LINES_MAX: usize = 2000;
const LINE_BYTES_MAX: usize = 4096;

#[derive(Default)]
struct State {
    lines: VecDeque<String>,
    /// Number of the first line that is kept.
    first: usize,
    open: usize,
}

/// The output of one process: the last lines, and a way to wait for one. The whole of it goes to a file as well.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<State>, Condvar)>);

impl Log {
    /// Reads `output` to its end on a thread of its own, and copies it to `file`.
    pub fn follow(&self, output: impl Read + Send + 'static, mut file: impl Write + Send + 'static) {
        let log = self.clone();
        log.state().open += 1;
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                // The file is for people: a full disk there must not stop the server by a full pipe.
                drop(file.write_all(&line));
                line.truncate(LINE_BYTES_MAX);
                log.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
            log.state().open -= 1;
            log.0.1.notify_all();
        });
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.0.lock().expect("no panic under the lock")
    }

    fn push(&self, line: String) {
        let mut state = self.state();
        if state.lines.len() == LINES_MAX {
            state.lines.pop_front();
            state.first += 1;
        }
        state.lines.push_back(line);
        self.0.1.notify_all();
    }

    /// Waits for a line that contains `text`: `false` when the output ends or `limit` is over without one.
    pub fn wait_for(&self, text: &str, limit: Duration) -> bool {
        let end = clock::now() + limit;
        let mut state = self.state();
        let mut seen = 0;
        loop {
            let from = seen.max(state.first) - state.first;
            if state.lines.iter().skip(from).any(|line| line.contains(text)) {
                return true;
            }
            seen = state.first + state.lines.len();
            let left = end.saturating_duration_since(clock::now());
            if state.open == 0 || left.is_zero() {
                return false;
            }
            state = self.0.1.wait_timeout(state, left).expect("no panic under the lock").0;
        }
    }

    /// Waits until the process has closed its output, so that [`Log::lines`] is complete.
    pub fn wait_for_end(&self, limit: Duration) -> bool {
        let state = self.state();
        let (state, _) =
            self.0.1.wait_timeout_while(state, limit, |state| state.open > 0).expect("no panic under the lock");
        state.open == 0
    }

    /// The last lines.
    pub fn lines(&self) -> Vec<String> {
        self.state().lines.iter().cloned().collect()
    }

    /// The last `count` lines in one text, for messages.
    pub fn tail(&self, count: usize) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}
