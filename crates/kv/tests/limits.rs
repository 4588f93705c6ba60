//! What one step of apply and of the sweep holds follows bytes, not rows: a key may be a megabyte.

#![expect(clippy::unwrap_used, reason = "what fails here is the finding")]

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tidegate_api::pb::{CompactionRequest, DeleteRangeRequest, PutRequest};
use tidegate_base::{LogPosition, Payload};
use tidegate_engine::MapEngine;
use tidegate_kv::{Command, Config, Envelope, Machine, Step, Sweep};

const KEYS: u8 = 24;
const KEY_LEN: usize = 128 << 10;
/// A full batch, a third of it again in the overlay (which holds a key once where the batch has it three times), and a row
/// more.
const OPEN_MAX: usize = (4 << 20) * 4 / 3 + 8 * KEY_LEN;

struct Applied {
    machine: Machine<MapEngine>,
    open_peak: usize,
}

impl Applied {
    fn apply(&mut self, command: Command, message: Vec<u8>) {
        let payload: Payload = Envelope::new(command, 1).seal(Bytes::from(message));
        let position = LogPosition::new(self.machine.applied().index.0 + 1, 1);
        let mut step = self.machine.apply(position, &payload).unwrap();
        loop {
            self.open_peak = self.open_peak.max(self.machine.open_bytes());
            match step {
                Step::Done(outcome) => {
                    outcome.result.unwrap();
                    break;
                }
                Step::More => {
                    self.machine.commit().unwrap();
                    step = self.machine.resume().unwrap();
                }
            }
        }
        if self.machine.batch_is_full() {
            self.machine.commit().unwrap();
        }
    }
}

fn key(n: u8) -> Bytes {
    let mut key = vec![n; KEY_LEN];
    key[0] = b'k';
    key.into()
}

#[test]
fn long_keys_are_deleted_and_swept_a_few_at_a_time() {
    let machine = Machine::open(Arc::new(MapEngine::new()), Config::default()).unwrap();
    let mut applied = Applied { machine, open_peak: 0 };
    for n in 0..KEYS {
        applied.apply(Command::Put, PutRequest { key: key(n), ..Default::default() }.encode_to_vec());
    }
    let delete =
        DeleteRangeRequest { key: Bytes::from_static(b"k"), range_end: Bytes::from_static(b"l"), prev_kv: false };
    applied.apply(Command::DeleteRange, delete.encode_to_vec());
    let revision = i64::from(KEYS) + 2;
    applied.apply(Command::Compaction, CompactionRequest { revision, physical: false }.encode_to_vec());
    applied.machine.commit().unwrap();
    assert!(applied.open_peak <= OPEN_MAX, "{} bytes were open", applied.open_peak);

    let (mut steps, mut before) = (0, applied.machine.written());
    while applied.machine.sweep(500).unwrap() == Sweep::More {
        let written = applied.machine.written() - before;
        assert!(written <= (2 << 20) as u64, "one step wrote {written} bytes");
        before = applied.machine.written();
        steps += 1;
    }
    assert!(steps >= usize::from(KEYS) * 2 / 3, "{steps} steps");
}
