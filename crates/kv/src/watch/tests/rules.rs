//! The rules of the watch service, a case each, as a client sees them.

use super::*;

fn check(world: &mut World, stream: StreamId, expected: &[&str]) {
    let answers: Vec<String> = world.all(stream).iter().map(short).collect();
    assert_eq!(answers, expected);
}

fn world() -> (World, StreamId) {
    let mut world = World::new(small_config());
    let stream = world.open();
    (world, stream)
}

#[test]
fn created_comes_before_events_and_live_events_come_one_revision_an_answer() {
    let (mut world, stream) = world();
    world.put("a", "old");
    world.create(stream, &watch("a", ""));
    world.put("a", "1");
    world.put("b", "1");
    world.delete("a");
    check(&mut world, stream, &["@2 #0 created", "@3 #0 +a:3", "@5 #0 -a:5"]);
}

#[test]
fn events_of_a_revision_come_together_in_order_of_subs() {
    let (mut world, stream) = world();
    world.create(stream, &watch("a", "c"));
    world.create(stream, &watch("b", ""));
    world.commit(&[(b"b", Some(vec![1])), (b"x", Some(vec![1])), (b"a", Some(vec![1])), (b"bb", Some(vec![1]))]);
    check(&mut world, stream, &["@1 #0 created", "@1 #1 created", "@2 #0 +b:2 +a:2 +bb:2", "@2 #1 +b:2"]);
}

#[test]
fn a_pair_arrives_with_all_its_fields_and_a_deletion_with_key_and_revision() {
    let (mut world, stream) = world();
    world.create(stream, &watch("a", ""));
    world.put("a", "1");
    world.put("a", "2");
    world.delete("a");
    let answers = world.all(stream);
    let expected: Vec<pb::KeyValue> = (2..=4).map(|revision| world.store.changes(revision)[0].now.clone()).collect();
    let arrived: Vec<pb::KeyValue> = answers[1..].iter().map(|answer| answer.events[0].kv.clone().unwrap()).collect();
    assert_eq!(arrived, expected);
    assert_eq!((arrived[1].version, arrived[1].create_revision), (2, 2));
}

#[test]
fn refused_creates_are_answered_and_the_stream_stays() {
    let (mut world, stream) = world();
    world.create(stream, &CreateSpec { start_revision: -1, ..watch("a", "") });
    world.create(stream, &watch("b", "a"));
    world.create(stream, &watch("b", "b"));
    world.create(stream, &CreateSpec { watch_id: 5, ..watch("a", "") });
    world.create(stream, &CreateSpec { watch_id: 5, ..watch("a", "") });
    world.hub.refuse(stream, "rpc error: code = PermissionDenied desc = etcdserver: permission denied", 1);
    world.put("a", "1");
    let expected = [
        "@1 #-1 created canceled etcdserver: mvcc: required revision has been compacted",
        "@1 #-1 created canceled mvcc: watcher range is empty",
        "@1 #-1 created canceled mvcc: watcher range is empty",
        "@1 #5 created",
        "@1 #-1 created canceled mvcc: duplicate watch ID provided on the WatchStream",
        "@1 #-1 created canceled rpc error: code = PermissionDenied desc = etcdserver: permission denied",
        "@2 #5 +a:2",
    ];
    check(&mut world, stream, &expected);
}

#[test]
fn ids_count_up_from_zero_pass_those_taken_and_are_not_used_again() {
    let (mut world, stream) = world();
    world.create(stream, &watch("a", ""));
    world.create(stream, &CreateSpec { watch_id: 1, ..watch("a", "") });
    world.create(stream, &watch("a", ""));
    world.hub.cancel(stream, 2, 1);
    world.create(stream, &watch("a", ""));
    let expected = ["@1 #0 created", "@1 #1 created", "@1 #2 created", "@1 #2 canceled", "@1 #3 created"];
    check(&mut world, stream, &expected);
}

#[test]
fn a_cancelled_watch_is_silent_and_an_unknown_id_has_no_answer() {
    let (mut world, stream) = world();
    world.create(stream, &watch("a", ""));
    check(&mut world, stream, &["@1 #0 created"]);
    world.put("a", "1");
    world.hub.cancel(stream, 0, 2);
    world.hub.cancel(stream, 0, 2);
    world.hub.cancel(stream, 77, 2);
    world.put("a", "2");
    check(&mut world, stream, &["@2 #0 canceled"]);
}

#[test]
fn a_start_in_the_past_brings_history_first_with_many_revisions_an_answer() {
    let (mut world, stream) = world();
    for value in ["1", "2", "3"] {
        world.put("a", value);
    }
    world.create(stream, &CreateSpec { start_revision: 3, ..watch("a", "") });
    check(&mut world, stream, &["@4 #0 created", "@4 #0 +a:3 +a:4"]);
    world.put("a", "4");
    check(&mut world, stream, &["@5 #0 +a:5"]);
}

#[test]
fn a_start_in_the_future_brings_nothing_before_it() {
    let (mut world, stream) = world();
    world.create(stream, &CreateSpec { start_revision: 4, progress_notify: true, ..watch("a", "") });
    world.put("a", "2");
    world.put("a", "3");
    world.hub.progress_request(stream, 3);
    world.tick(Duration::from_secs(60));
    check(&mut world, stream, &["@1 #0 created"]);
    world.put("a", "4");
    world.hub.progress_request(stream, 4);
    check(&mut world, stream, &["@4 #0 +a:4", "@4 #-1"]);
}

#[test]
fn a_start_that_the_thread_was_not_told_yet_misses_nothing() {
    let (mut world, stream) = world();
    world.store.commit(&[(b"a", Some(vec![1]))]);
    world.store.commit(&[(b"a", Some(vec![2]))]);
    world.create(stream, &CreateSpec { start_revision: 3, ..watch("a", "") });
    world.create(stream, &watch("a", ""));
    world.hub.progress_request(stream, 3);
    check(&mut world, stream, &["@3 #0 created", "@3 #1 created"]);
    world.publish(2);
    world.publish(3);
    check(&mut world, stream, &["@3 #0 +a:3", "@3 #-1"]);
}

#[test]
fn a_start_below_the_compacted_revision_ends_the_watch() {
    let (mut world, stream) = world();
    (0..4).for_each(|n| {
        world.put("a", &n.to_string());
    });
    world.compact(4);
    world.create(stream, &CreateSpec { start_revision: 3, ..watch("a", "") });
    world.create(stream, &CreateSpec { start_revision: 4, ..watch("a", "") });
    check(&mut world, stream, &["@5 #0 created", "@5 #1 created", "@0 #0 canceled compacted=4", "@5 #1 +a:4 +a:5"]);
    // It is known still: its id is taken, it keeps the stream out of sync, and it can be cancelled.
    world.create(stream, &CreateSpec { watch_id: 1, ..watch("a", "") });
    world.hub.progress_request(stream, 5);
    let duplicate = "@5 #-1 created canceled mvcc: duplicate watch ID provided on the WatchStream";
    check(&mut world, stream, &[duplicate]);
    world.hub.cancel(stream, 0, 5);
    world.hub.progress_request(stream, 5);
    check(&mut world, stream, &["@5 #0 canceled", "@5 #-1"]);
}

#[test]
fn compaction_that_the_thread_was_not_told_ends_the_watch_all_the_same() {
    let (mut world, stream) = world();
    (0..100).for_each(|n| {
        world.put("a", &n.to_string());
    });
    world.create(stream, &CreateSpec { start_revision: 2, ..watch("a", "") });
    world.store.compacted = 50;
    check(&mut world, stream, &["@101 #0 created", "@0 #0 canceled compacted=50"]);
}

#[test]
fn compaction_while_behind_ends_the_watch() {
    let (mut world, stream) = world();
    world.create(stream, &watch("a", ""));
    check(&mut world, stream, &["@1 #0 created"]);
    (0..4).for_each(|n| {
        world.store.commit(&[(b"a", Some(vec![n]))]);
    });
    world.hub.skip_to(5);
    world.compact(4);
    check(&mut world, stream, &["@0 #0 canceled compacted=4"]);
}

#[test]
fn filters_drop_events_and_what_is_left_empty_is_not_sent() {
    let (mut world, stream) = world();
    world.create(stream, &CreateSpec { no_put: true, ..watch("a", "c") });
    world.create(stream, &CreateSpec { no_delete: true, ..watch("a", "c") });
    world.create(stream, &CreateSpec { no_put: true, no_delete: true, ..watch("a", "c") });
    world.put("a", "1");
    world.commit(&[(b"a", None), (b"b", Some(vec![1]))]);
    let live = ["@2 #1 +a:2", "@3 #0 -a:3", "@3 #1 +b:3"];
    let created = ["@1 #0 created", "@1 #1 created", "@1 #2 created"];
    check(&mut world, stream, &[created, live].concat());
    let late = world.open();
    world.hub.skip_to(3);
    world.create(late, &CreateSpec { no_put: true, start_revision: 1, ..watch("a", "c") });
    world.create(late, &CreateSpec { no_put: true, no_delete: true, start_revision: 1, ..watch("a", "c") });
    world.hub.progress_request(late, 3);
    check(&mut world, late, &["@3 #0 created", "@3 #1 created", "@3 #0 -a:3"]);
    world.hub.progress_request(late, 3);
    check(&mut world, late, &["@3 #-1"]);
}

#[test]
fn prev_kv_is_the_pair_before_and_missing_for_creations_and_when_compacted() {
    let (mut world, stream) = world();
    world.put("a", "old");
    let both = CreateSpec { prev_kv: true, ..watch("a", "c") };
    world.create(stream, &both);
    world.put("a", "1");
    world.put("b", "1");
    world.commit(&[(b"b", Some(vec![2])), (b"a", None)]);
    check(&mut world, stream, &["@2 #0 created", "@3 #0 +a:3<2", "@4 #0 +b:4", "@5 #0 +b:5<4 -a:5<3"]);
    // In catch-up as well, where compaction took the pair at 4.
    world.compact(5);
    let late = world.open();
    world.create(late, &CreateSpec { start_revision: 5, ..both });
    check(&mut world, late, &["@5 #0 created", "@5 #0 +b:5 -a:5"]);
}

#[test]
fn pairs_before_are_read_once_for_all_who_ask() {
    let (mut world, stream) = world();
    world.put("a", "old");
    let streams: Vec<StreamId> = (0..5).map(|_| world.open()).collect();
    for stream in &streams {
        world.create(*stream, &CreateSpec { prev_kv: true, ..watch("a", "") });
        check(&mut world, *stream, &["@2 #0 created"]);
    }
    world.put("a", "new");
    for stream in &streams {
        assert!(world.hub.next_frame(*stream).is_none(), "the pair before is not known yet");
    }
    world.run_jobs();
    assert_eq!(world.hub.stats().jobs, 1);
    for stream in &streams {
        check(&mut world, *stream, &["@3 #0 +a:3<2"]);
    }
    check(&mut world, stream, &[]);
}

#[test]
fn notifications_come_to_idle_watches_that_are_in_sync() {
    let (mut world, stream) = world();
    world.create(stream, &CreateSpec { progress_notify: true, ..watch("a", "") });
    world.create(stream, &watch("b", ""));
    world.put("x", "1");
    world.tick(Duration::from_secs(9));
    check(&mut world, stream, &["@1 #0 created", "@1 #1 created"]);
    world.tick(Duration::from_secs(1));
    check(&mut world, stream, &["@2 #0"]);
    world.put("a", "1");
    check(&mut world, stream, &["@3 #0 +a:3"]);
    world.tick(Duration::from_secs(10));
    check(&mut world, stream, &[]);
    world.tick(Duration::from_secs(10));
    check(&mut world, stream, &["@3 #0"]);
    world.store.commit(&[(b"x", Some(vec![2]))]);
    world.hub.skip_to(4);
    world.tick(Duration::from_secs(10));
    check(&mut world, stream, &[]);
}

#[test]
fn a_progress_request_is_answered_only_when_every_watch_is_in_sync() {
    let (mut world, stream) = world();
    // Without watches there is no answer, and none is owed however far ahead the store is.
    (0..100).for_each(|_| world.hub.progress_request(stream, 5));
    assert!(world.hub.accepts(stream));
    check(&mut world, stream, &[]);
    world.create(stream, &watch("a", ""));
    world.put("a", "1");
    world.hub.progress_request(stream, 2);
    check(&mut world, stream, &["@1 #0 created", "@2 #0 +a:2", "@2 #-1"]);
    world.store.commit(&[(b"a", Some(vec![2]))]);
    world.hub.skip_to(3);
    world.hub.progress_request(stream, 3);
    check(&mut world, stream, &["@3 #0 +a:3"]);
    world.hub.progress_request(stream, 3);
    check(&mut world, stream, &["@3 #-1"]);
}

/// A bookmark was queued behind events that then left the ring: it must not be sent before them.
#[test]
fn progress_does_not_overtake_events_that_are_read_again() {
    let mut world = World::new(Config { ring_bytes: 2000, ..small_config() });
    let stream = world.open();
    world.create(stream, &CreateSpec { progress_notify: true, ..watch("a", "") });
    check(&mut world, stream, &["@1 #0 created"]);
    world.put("a", "1");
    world.hub.progress_request(stream, 2);
    world.tick(Duration::from_secs(10));
    world.tick(Duration::from_secs(10));
    (0..20).for_each(|n| {
        world.put("b", &format!("{n}{}", "x".repeat(300)));
    });
    check(&mut world, stream, &["@22 #0 +a:2"]);
}

#[test]
fn fragments_mark_all_but_the_last_piece_and_only_where_allowed() {
    let mut world = World::new(Config { fragment_bytes: 40 << 10, ..small_config() });
    let stream = world.open();
    world.create(stream, &CreateSpec { fragment: true, ..watch("a", "b") });
    world.create(stream, &watch("a", "b"));
    let big = || Some(vec![b'v'; 15 << 10]);
    world.commit(&[(b"a1", big()), (b"a2", big()), (b"a3", big()), (b"a4", big()), (b"a5", big())]);
    world.put("a", "small");
    let expected = [
        "@1 #0 created",
        "@1 #1 created",
        "@2 #0 fragment +a1:2 +a2:2",
        "@2 #0 fragment +a3:2 +a4:2",
        "@2 #0 +a5:2",
        "@2 #1 +a1:2 +a2:2 +a3:2 +a4:2 +a5:2",
        "@3 #0 +a:3",
        "@3 #1 +a:3",
    ];
    check(&mut world, stream, &expected);
}

/// Above what one message may hold, the answer is split whatever the client asked.
#[test]
fn an_answer_larger_than_a_message_is_sent_in_fragments() {
    let mut world = World::new(Config { message_bytes: 40 << 10, ..small_config() });
    world.live_bytes_max = 50 << 10;
    let stream = world.open();
    world.create(stream, &watch("a", "b"));
    let big = || Some(vec![b'v'; 15 << 10]);
    world.commit(&[(b"a1", big()), (b"a2", big()), (b"a3", big()), (b"a4", big()), (b"a5", big())]);
    let expected = ["@1 #0 created", "@2 #0 fragment +a1:2 +a2:2", "@2 #0 fragment +a3:2 +a4:2", "@2 #0 +a5:2"];
    check(&mut world, stream, &expected);
}

#[test]
fn a_read_for_nobody_is_given_up_and_the_next_one_begins() {
    let (mut world, stream) = world();
    world.put("a", "1");
    world.put("b", "1");
    world.create(stream, &CreateSpec { start_revision: 2, ..watch("a", "") });
    // Not to be read in one with the other.
    world.create(stream, &CreateSpec { start_revision: 2, prev_kv: true, ..watch("b", "") });
    assert!(world.hub.next_frame(stream).is_some() && world.hub.next_frame(stream).is_some());
    assert!(world.hub.next_frame(stream).is_none());
    let job = world.hub.next_job().unwrap();
    assert!(world.hub.is_wanted(job.id) && world.hub.next_job().is_none());
    world.hub.cancel(stream, 0, 3);
    assert!(!world.hub.is_wanted(job.id));
    world.hub.done(job.id, Done::Failed);
    check(&mut world, stream, &["@3 #0 canceled", "@3 #1 +b:3"]);
}

#[test]
fn a_revision_told_by_number_only_is_read_and_streamed() {
    let (mut world, stream) = world();
    world.live_bytes_max = 10_000;
    world.create(stream, &watch("k", "l"));
    world.create(stream, &watch("k0007", ""));
    let keys: Vec<String> = (0..9_000).map(|n| format!("k{n:04}")).collect();
    let ops: Vec<(&[u8], Option<Vec<u8>>)> = keys.iter().map(|key| (key.as_bytes(), Some(vec![b'v'; 60]))).collect();
    world.commit(&ops);
    let deletes: Vec<(&[u8], Option<Vec<u8>>)> = keys.iter().map(|key| (key.as_bytes(), None)).collect();
    world.commit(&deletes);
    world.put("k", "after");
    let answers = world.all(stream);
    let of = |id: i64| -> Vec<(i64, usize)> {
        let sent = answers.iter().filter(|answer| answer.watch_id == id && !answer.created);
        sent.map(|answer| (answer.events[0].kv.as_ref().unwrap().mod_revision, answer.events.len())).collect()
    };
    assert_eq!(of(0), [(2, 9_000), (3, 9_000), (4, 1)]);
    let one: usize = of(1).iter().map(|sent| sent.1).sum();
    assert_eq!(one, 2);
}

/// Once, every watch of the thread was sent to its cursor, and a compaction close behind ended them all.
#[test]
fn a_revision_told_by_its_keys_concerns_the_watches_of_these_keys_alone() {
    let (mut world, stream) = world();
    world.live_bytes_max = 4_000;
    let big = "v".repeat(5_000);
    for (key, end) in [("a", ""), ("big", ""), ("b", "c"), ("c", "")] {
        world.create(stream, &watch(key, end));
    }
    world.create(stream, &CreateSpec { no_put: true, ..watch("big", "") });
    world.create(stream, &CreateSpec { no_delete: true, ..watch("x", "") });
    assert_eq!(world.all(stream).len(), 6);
    world.put("x", "1");
    world.commit(&[(b"a", Some(vec![1])), (b"big", Some(big.clone().into_bytes())), (b"x", None)]);
    assert_eq!(world.hub.stats().behind, 3, "a, big and the range around it");
    check(&mut world, stream, &["@2 #5 +x:2", "@3 #0 +a:3", "@3 #1 +big:3", "@3 #2 +big:3"]);
    world.put("big", &big);
    world.compact(4);
    world.put("big", &big);
    world.compact(5);
    world.put("c", "1");
    // Those of its key were behind, and compaction took what they had not read.
    let ended = ["@0 #1 canceled compacted=5", "@0 #2 canceled compacted=5", "@6 #3 +c:6"];
    let mut answers: Vec<String> = world.all(stream).iter().map(short).collect();
    answers.sort();
    assert_eq!(answers, ended);
}

#[test]
fn without_room_for_its_events_a_revision_tells_its_keys() {
    let config = Config { keep_free: 0, ..small_config() };
    let mut limits = Limits::new(ByteSize::mib(256), Profile::Store).unwrap();
    limits.floors[Holder::Watches.index()] = (config.jobs_max * config.job_bytes) as u64 + 8_000;
    limits.pool = 0;
    let mut world = World::with(config, Budget::new(limits));
    let stream = world.open();
    world.create(stream, &watch("a", ""));
    world.create(stream, &watch("b", ""));
    check(&mut world, stream, &["@1 #0 created", "@1 #1 created"]);
    world.put("b", &"v".repeat(9_000));
    assert_eq!(world.hub.stats().behind, 1);
    world.put("a", "1");
    check(&mut world, stream, &["@3 #0 +a:3"]);
    // Not even for the keys.
    let rest = world.budget.room(Holder::Watches);
    let all = world.budget.try_lease(Holder::Watches, rest).unwrap();
    world.put("c", "1");
    assert_eq!(world.hub.stats().behind, 2);
    drop(all);
}

/// More than can be queued one by one: the watches share reads.
#[test]
fn a_revision_of_many_events_for_many_watches_is_read_for_them() {
    let (mut world, stream) = world();
    for _ in 0..1_000 {
        world.create(stream, &watch("k", "l"));
        assert!(world.next(stream).unwrap().created);
    }
    world.create(stream, &watch("z", ""));
    assert!(world.next(stream).unwrap().created);
    let keys: Vec<String> = (0..600).map(|n| format!("k{n:04}")).collect();
    let ops: Vec<(&[u8], Option<Vec<u8>>)> = keys.iter().map(|key| (key.as_bytes(), Some(vec![b'v']))).collect();
    world.commit(&ops);
    assert_eq!(world.hub.stats().behind, 1_001, "to find the one that looks elsewhere costs more than to read for it");
    let answers = world.all(stream);
    assert_eq!(answers.len(), 1_000);
    assert!(answers.iter().all(|answer| answer.events.len() == 600));
}

#[test]
fn a_value_larger_than_a_read_is_streamed() {
    let mut world = World::new(small_config());
    let job_bytes = small_config().job_bytes;
    let stream = world.open();
    let value = "v".repeat(job_bytes * 3);
    world.put("a", &value);
    world.put("a", &value);
    world.hub.skip_to(3);
    world.create(stream, &CreateSpec { start_revision: 2, prev_kv: true, ..watch("a", "") });
    world.put("a", &value);
    check(&mut world, stream, &["@3 #0 created", "@4 #0 +a:2", "@4 #0 +a:3<2", "@4 #0 +a:4<3"]);
}

#[test]
fn requests_are_not_accepted_while_answers_wait() {
    let (mut world, stream) = world();
    let mut sent = 0;
    while world.hub.accepts(stream) {
        world.create(stream, &CreateSpec { start_revision: -1, ..watch("a", "") });
        sent += 1;
    }
    assert_eq!(sent, config::ANSWERS_MAX);
    assert_eq!(world.hub.next_accepting(), None);
    world.next(stream).unwrap();
    assert_eq!((world.hub.next_accepting(), world.hub.next_accepting()), (Some(stream), None));
    assert!(world.hub.accepts(stream));
    assert_eq!(world.all(stream).len(), sent as usize - 1);
}

/// Requests for progress that end without an answer make room as well, though no frame is taken.
#[test]
fn a_stream_is_named_when_requests_end_without_an_answer() {
    let (mut world, stream) = world();
    world.create(stream, &watch("a", ""));
    check(&mut world, stream, &["@1 #0 created"]);
    world.store.commit(&[(b"a", Some(vec![1]))]);
    while world.hub.accepts(stream) {
        world.hub.progress_request(stream, 2);
    }
    assert_eq!(world.hub.next_accepting(), None);
    world.hub.skip_to(2);
    assert_eq!(world.hub.next_accepting(), Some(stream));
    assert!(world.hub.accepts(stream));
}

#[test]
fn a_snapshot_sends_watches_to_their_cursors_and_old_revisions_are_ignored() {
    let (mut world, stream) = world();
    world.create(stream, &watch("a", ""));
    world.put("a", "1");
    for n in 3..2000u32 {
        world.store.commit(&[(if n % 500 == 0 { b"a" } else { b"b" }, Some(n.to_be_bytes().to_vec()))]);
    }
    world.hub.skip_to(1999);
    world.publish(700);
    world.put("a", "last");
    let expected = ["@1 #0 created", "@2 #0 +a:2", "@2000 #0 +a:500 +a:1000 +a:1500 +a:2000"];
    check(&mut world, stream, &expected);
}

/// Compaction took pairs after the frame's length was told. Once, a fragment went on into the events of the next one to
/// fill its length.
#[test]
fn a_fragment_whose_pairs_were_compacted_meanwhile_breaks() {
    let mut world = World::new(Config { fragment_bytes: 50 << 10, ..small_config() });
    world.live_bytes_max = 1_000;
    let stream = world.open();
    world.create(stream, &CreateSpec { fragment: true, prev_kv: true, ..watch("a", "b") });
    let put = |size: usize| -> Vec<(&[u8], Option<Vec<u8>>)> {
        let keys: [&[u8]; 6] = [b"a1", b"a2", b"a3", b"a4", b"a5", b"a6"];
        keys.map(|key| (key, Some(vec![b'v'; size]))).to_vec()
    };
    world.commit(&put(10_000));
    while world.next(stream).is_some() {}
    world.commit(&put(9_000));
    let frame = loop {
        match world.hub.next_frame(stream) {
            Some(frame) => break frame,
            None => world.run_jobs(),
        }
    };
    assert!(frame.more);
    world.compact(3);
    let end = loop {
        match world.hub.next_piece(stream) {
            Piece::Wait => world.run_jobs(),
            Piece::Bytes { more: true, .. } => {}
            piece => break piece,
        }
    };
    assert!(matches!(end, Piece::Broken), "{end:?}");
}
