//! What any bytes may be handed to. For the targets in `fuzz/`, and for the tests, which replay what those have found.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tidegate_api::{
    Error,
    pb::etcdserverpb::{DeleteRangeRequest, PutRequest, TxnRequest},
    validate::{self, TXN_OPS_MAX},
};
use tidegate_base::{LogPosition, Payload};
use tidegate_engine::{Batch, Engine, MapEngine, Space};

use crate::{
    Answer, Command, Config, Envelope, Fatal, Machine, ReadError, Step, Sweep, Version,
    rows::{
        EventRow, HeadRow, META_KEY, Meta, VersionRow, event_key, event_version, head_key, head_user_key, lease_id,
        lease_key, lease_keys_key, lease_user_key, version_key, version_prefix, versions_end,
    },
};

/// One byte for the kind of row, one for the length of its key, then key and row.
///
/// # Panics
/// When what was read is not what its writing gives.
pub fn row(data: &[u8]) {
    let [kind, len, rest @ ..] = data else { return };
    let (key, row) = rest.split_at(usize::from(*len).min(rest.len()));
    let mut out = Vec::new();
    match kind % 6 {
        0 => {
            let Ok(read) = HeadRow::decode(key, row) else { return };
            read.encode(&mut out);
            assert_eq!(HeadRow::decode(key, &out), Ok(read));
        }
        1 => {
            let Ok(read) = EventRow::decode(key, row) else { return };
            read.encode(&mut out);
            assert_eq!(EventRow::decode(key, &out), Ok(read));
        }
        2 => {
            let Ok(read) = VersionRow::decode(key, row) else { return };
            read.encode(&mut out);
            assert_eq!(VersionRow::decode(key, &out), Ok(read));
        }
        3 => {
            let Some(read) = Meta::decode(row) else { return };
            assert_eq!(Meta::decode(&read.encode()), Some(read));
        }
        4 => state(key, row),
        _ => {
            assert!(head_user_key(row).is_none_or(|key| head_key(key) == row));
            assert!(event_version(row).is_none_or(|version| event_key(version) == row));
            assert!(lease_id(row).is_none_or(|id| lease_key(id) == row));
            if let (Some(key), Some(id)) = (lease_user_key(row), row.get(1..9)) {
                let id = i64::from_be_bytes(id.try_into().expect("eight bytes"));
                assert_eq!(lease_keys_key(id, key), row);
            }
        }
    }
}

/// Whatever is in `state`, a reader says what it is or which row it cannot read.
fn state(key: &[u8], row: &[u8]) {
    if key == META_KEY {
        return; // it belongs to all spaces
    }
    let engine = Arc::new(MapEngine::new());
    let mut batch = engine.batch();
    batch.put(Space::State, key, row);
    engine.write(&mut batch).expect("a map takes every batch");
    let reader = Machine::open(engine, Config::default()).expect("no space has a meta row").reader();
    let told = |result: Result<(), ReadError>| assert!(!matches!(result, Err(ReadError::Engine(_))), "{result:?}");
    told(reader.each_lease(|_, _| ()));
    told(reader.alarms().map(drop));
    told(reader.members().map(drop));
    told(reader.lease_keys(0, None, 100).map(drop));
}

/// The payload of a log entry.
///
/// # Panics
/// When what was opened is not what sealing it again gives.
pub fn envelope(data: &[u8]) {
    let payload = Payload::from(Bytes::copy_from_slice(data));
    let Ok((envelope, message)) = Envelope::open(&payload) else { return };
    let sealed = envelope.seal(message.clone());
    assert_eq!(Envelope::open(&Payload::from(sealed.contiguous())), Ok((envelope, message)));
}

/// A length, two keys and two versions: rows of `versions` are ordered by key, then from the newest on, and no row of one
/// key lies among those of another.
///
/// # Panics
/// When they are not.
pub fn version_keys(data: &[u8]) {
    let [len, main @ .., sub] = data else { return };
    let (first, second) = main.split_at(usize::from(*len).min(main.len()));
    let newer = Version::new(i64::from(*len) + 1, u32::from(*sub));
    let older = Version::new(i64::from(*len), u32::from(*sub) + 1);
    let rows = |key: &[u8]| [version_key(key, newer), version_key(key, older), versions_end(&version_prefix(key))];
    let (a, b) = (rows(first), rows(second));
    assert!(a.is_sorted() && b.is_sorted());
    match first.cmp(second) {
        std::cmp::Ordering::Less => assert!(a[2] <= b[0]),
        std::cmp::Ordering::Greater => assert!(b[2] <= a[0]),
        std::cmp::Ordering::Equal => assert_eq!(a, b),
    }
}

/// Pairs of a command's byte and a length, each with so many bytes of message: entries of a log, applied one after the
/// other. Those that a member would have refused before proposing them are left out.
///
/// # Panics
/// When the machine does, or when applying in small batches gives another answer than in one.
pub fn entries(data: &[u8]) {
    let (mut whole, mut pieces) = (machine(4 << 20), machine(64));
    let (mut rest, mut index) = (data, 0);
    while let [command, len, behind @ ..] = rest {
        let (message, next) = behind.split_at(usize::from(*len).min(behind.len()));
        rest = next;
        if *command == 255 {
            sweep(&mut whole);
            continue;
        }
        let Some(payload) = proposed(*command, message) else { continue };
        index += 1;
        let position = LogPosition::new(index, 1);
        let (one, two) = (apply(&mut whole, position, &payload), apply(&mut pieces, position, &payload));
        assert_eq!(one, two, "entry {index}: {payload:?}");
        if one.is_err() {
            return;
        }
    }
}

fn machine(batch_bytes: usize) -> Machine<MapEngine> {
    let config = Config { batch_bytes, ..Config::default() };
    Machine::open(Arc::new(MapEngine::new()), config).expect("an empty engine can be opened")
}

/// The entry for a message, if a member would propose it.
fn proposed(command: u8, message: &[u8]) -> Option<Payload> {
    let message = Bytes::copy_from_slice(message);
    let command = match command % 8 {
        0 => {
            let put = PutRequest::decode(message.clone()).ok()?;
            validate::put(&put).ok()?;
            Command::Put
        }
        1 => {
            let delete = DeleteRangeRequest::decode(message.clone()).ok()?;
            validate::delete_range(&delete).ok()?;
            Command::DeleteRange
        }
        2 => {
            let txn = TxnRequest::decode(message.clone()).ok()?;
            validate::txn(&txn, TXN_OPS_MAX).ok()?;
            Command::Txn
        }
        3 => Command::Compaction,
        4 => Command::LeaseGrant { id: i64::from(*message.first()?), ttl_seconds: 60 },
        5 => Command::LeaseRevoke,
        6 => Command::Alarm,
        _ => Command::Member,
    };
    Some(Envelope::new(command, 1).seal(message))
}

/// Applies one entry as a member does, in as many batches as the machine wants.
fn apply(
    machine: &mut Machine<MapEngine>,
    position: LogPosition,
    payload: &Payload,
) -> Result<Result<Answer, Error>, String> {
    let whole = |machine: &mut Machine<MapEngine>| -> Result<_, Fatal> {
        let mut step = machine.apply(position, payload)?;
        loop {
            match step {
                Step::Done(outcome) => return Ok(outcome.result),
                Step::More => {
                    machine.commit()?;
                    step = machine.resume()?;
                }
            }
        }
    };
    let result = whole(machine).map_err(|error| error.to_string())?;
    if machine.batch_is_full() {
        machine.commit().map_err(|error| error.to_string())?;
    }
    Ok(result)
}

/// Removes what is compacted, in one machine only: no answer depends on it.
fn sweep(machine: &mut Machine<MapEngine>) {
    machine.commit().expect("a map takes every batch");
    while machine.sweep(3).expect("its own rows can be read") == Sweep::More {
        machine.commit().expect("a map takes every batch");
    }
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::corpus::replay;

    #[test]
    fn rows_survive_and_come_back() {
        replay("row", super::row);
    }

    #[test]
    fn envelopes_survive_and_come_back() {
        replay("envelope", super::envelope);
    }

    #[test]
    fn version_keys_keep_their_order() {
        replay("version_keys", super::version_keys);
    }

    #[test]
    fn entries_survive_and_answer_alike() {
        replay("entries", super::entries);
    }
}
