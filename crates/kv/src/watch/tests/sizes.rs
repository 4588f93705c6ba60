//! Encodings and lengths against the generated messages, and what a watch costs.

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::*;
use crate::watch::{
    config::{ANSWERS_MAX, ITEM_BYTES, STREAM_BYTES, WATCH_BYTES},
    index::Index,
    slab::Slab,
    stream::{Item, Stream, Watch},
    wire::{Head, Ids, put_head},
};

fn number(rng: &mut SmallRng) -> i64 {
    let bits = rng.random_range(0..=64);
    if bits == 0 { 0 } else { (rng.random::<u64>() >> (64 - bits)).cast_signed() }
}

fn some_pair(rng: &mut SmallRng) -> pb::KeyValue {
    let mut bytes = |max: usize| Bytes::from(vec![b'x'; rng.random_range(0..max)]);
    let (key, value) = (bytes(300), bytes(40_000));
    pb::KeyValue {
        key,
        value,
        create_revision: number(rng),
        mod_revision: number(rng),
        version: number(rng),
        lease: number(rng),
    }
}

#[test]
fn events_are_encoded_as_the_generated_messages_are() {
    let mut rng = SmallRng::seed_from_u64(1);
    for _ in 0..300 {
        let (now, before) = (some_pair(&mut rng), rng.random_bool(0.5).then(|| some_pair(&mut rng)));
        let kind = if rng.random_bool(0.5) { EventKind::Put } else { EventKind::Delete };
        let event = EventRef { kind, sub: 3, pair: pair(&now), previous: before.as_ref().map(pair) };
        let mut builder = RevisionBuilder::new(now.mod_revision, usize::MAX);
        builder.push(&event).unwrap();
        let (announced, events) = (builder.bytes(), builder.finish());
        assert!(events.bytes() <= announced);
        assert_eq!(events.key(0), &now.key);
        let field = events.field(0);
        let previous = before.as_ref().map(|before| pair(before).shape());
        assert_eq!(field.len() as u64, event_field_len(kind, &pair(&now).shape(), previous.as_ref()));
        let kv = match kind {
            EventKind::Put => now,
            EventKind::Delete => {
                pb::KeyValue { key: now.key, mod_revision: now.mod_revision, ..pb::KeyValue::default() }
            }
        };
        let r#type = i32::from(kind == EventKind::Delete);
        let events = vec![pb::Event { r#type, kv: Some(kv), prev_kv: before }];
        assert_eq!(field, WatchResponse { events, ..WatchResponse::default() }.encode_to_vec());
    }
}

#[test]
fn heads_are_encoded_as_the_generated_message_is() {
    let mut rng = SmallRng::seed_from_u64(2);
    for _ in 0..300 {
        let unsigned = |rng: &mut SmallRng| number(rng).cast_unsigned();
        let ids = Ids { cluster: unsigned(&mut rng), member: unsigned(&mut rng), term: unsigned(&mut rng) };
        let head = Head {
            revision: number(&mut rng),
            watch_id: number(&mut rng),
            created: rng.random(),
            canceled: rng.random(),
            compact_revision: number(&mut rng),
            cancel_reason: ["", "why not"][rng.random_range(0..2)],
            fragment: rng.random(),
        };
        let mut bytes = Vec::new();
        put_head(&mut bytes, &ids, &head);
        let header = pb::ResponseHeader {
            cluster_id: ids.cluster,
            member_id: ids.member,
            revision: head.revision,
            raft_term: ids.term,
        };
        let expected = WatchResponse {
            header: Some(header),
            watch_id: head.watch_id,
            created: head.created,
            canceled: head.canceled,
            compact_revision: head.compact_revision,
            cancel_reason: head.cancel_reason.to_owned(),
            fragment: head.fragment,
            events: Vec::new(),
        };
        assert_eq!(bytes, expected.encode_to_vec());
    }
}

#[test]
fn a_builder_refuses_what_is_too_large_and_tells_how_large() {
    let value = vec![0; 5_000];
    let pair = PairRef { key: b"k", value: &value, create: 2, modified: 2, version: 1, lease: 0 };
    let mut builder = RevisionBuilder::new(2, 6_000);
    let event = |sub| EventRef { kind: EventKind::Put, sub, pair, previous: None };
    builder.push(&event(0)).unwrap();
    let full = builder.push(&event(1)).unwrap_err();
    assert!(full.bytes > 10_000 && full.bytes < 10_400, "{full:?}");
    let mut larger = RevisionBuilder::new(2, full.bytes);
    larger.push(&event(0)).unwrap();
    larger.push(&event(1)).unwrap();
    assert_eq!(larger.finish().len(), 2);
    assert_eq!(builder.finish().len(), 1);
}

#[test]
fn a_recording_keeps_events_then_keys_then_the_number() {
    let value = vec![0; 600];
    let keys: Vec<Vec<u8>> = (0..9u8).map(|n| vec![n; 100]).collect();
    for count in 0..=9usize {
        // Room for two events, and for the keys of seven.
        let mut builder = RevisionBuilder::new(2, 3_000);
        for (n, key) in keys[..count].iter().enumerate() {
            let pair = PairRef { key, value: &value, create: 2, modified: 2, version: 1, lease: 0 };
            let sub = u32::try_from(n).unwrap();
            builder.record(&EventRef { kind: EventKind::Put, sub, pair, previous: None });
            assert!(builder.bytes() <= 3_000);
        }
        let events = builder.finish();
        assert_eq!((events.is_known(), events.tells_keys()), (count <= 3, count <= 7), "{count} events");
        let told: Vec<_> = events.keys().map(|(kind, key)| (kind, key.to_vec())).collect();
        let expected: Vec<_> = keys[..count].iter().map(|key| (EventKind::Put, key.clone())).collect();
        assert_eq!(told, if count <= 7 { expected } else { Vec::new() });
    }
}

#[test]
fn keys_are_told_with_their_kinds_however_long() {
    let mut rng = SmallRng::seed_from_u64(3);
    let changes: Vec<(EventKind, Vec<u8>)> = (0..200)
        .map(|_| {
            let kind = if rng.random_bool(0.5) { EventKind::Put } else { EventKind::Delete };
            (kind, vec![rng.random(); rng.random_range(0..300)])
        })
        .collect();
    let value = vec![0; 3_000];
    let mut builder = RevisionBuilder::new(2, 150_000);
    for (sub, (kind, key)) in (0..).zip(&changes) {
        let pair = PairRef { key, value: &value, create: 2, modified: 2, version: 1, lease: 0 };
        builder.record(&EventRef { kind: *kind, sub, pair, previous: None });
    }
    let events = builder.finish();
    assert!(!events.is_known());
    assert_eq!(events.keys().map(|(kind, key)| (kind, key.to_vec())).collect::<Vec<_>>(), changes);
}

#[test]
fn a_watch_costs_what_is_charged() {
    // Tables grow by eighths; an id, the list of those behind, the two counters of the shared key.
    let tables = (Slab::<Watch>::PLACE_BYTES + size_of::<(i64, u32)>()) * 9 / 8 + 2 * size_of::<u32>();
    let bytes = tables + Index::watch_bytes_max() + 2 * size_of::<usize>();
    assert!(bytes as u64 <= WATCH_BYTES, "{bytes} bytes a watch");
    let stream = Slab::<Stream>::PLACE_BYTES * 9 / 8 + ANSWERS_MAX as usize * size_of::<Item>() * 9 / 8;
    assert!(stream as u64 <= STREAM_BYTES, "{stream} bytes a stream");
    let item = size_of::<Item>() * 9 / 8;
    assert!(item as u64 <= ITEM_BYTES, "{item} bytes an item");
}
