//! Bytes: what streams and watches may cost, and that all of it comes back.

use super::*;
use crate::watch::config::{STREAM_BYTES, WATCH_BYTES};

fn assert_all_returned(world: World) {
    let World { hub, budget, store, .. } = world;
    drop((hub, store));
    assert!(budget.usage().iter().all(|usage| usage.used == 0), "{budget:?}");
}

#[test]
fn streams_that_stand_still_cost_their_queues_and_miss_nothing() {
    let config = Config { queue_bytes: 4_000, ring_bytes: 100_000, ..small_config() };
    let jobs_bytes = (config.jobs_max * config.job_bytes) as u64;
    let mut world = World::new(config.clone());
    let streams: Vec<StreamId> = (0..200).map(|_| world.open()).collect();
    for stream in &streams {
        world.create(*stream, &watch("k", "l"));
        assert_eq!(world.all(*stream).len(), 1);
    }
    let value = "v".repeat(1_000);
    for n in 0..2_000 {
        world.put(&format!("k{n}"), &value);
        let bound = jobs_bytes + 200 * (STREAM_BYTES + WATCH_BYTES + 2 + config.queue_bytes) + 2 * config.ring_bytes;
        let used = world.budget.used(Holder::Watches);
        assert!(used <= bound, "{used} of {bound} bytes after {n} revisions");
    }
    for stream in &streams {
        let events: usize = world.all(*stream).iter().map(|answer| answer.events.len()).sum();
        assert_eq!(events, 2_000);
        world.hub.close_stream(*stream);
    }
    assert_all_returned(world);
}

/// The only place for reads is held by a stream that stopped: after two ticks it is taken back, and nothing is lost.
#[test]
fn a_stream_that_stops_with_a_read_does_not_hold_back_others() {
    let mut world = World::new(Config { jobs_max: 1, ..small_config() });
    let value = "v".repeat(10_000);
    (0..40).for_each(|n| {
        world.store.commit(&[(format!("k{n}").as_bytes(), Some(value.clone().into_bytes()))]);
    });
    world.hub.skip_to(41);
    let (stopped, other) = (world.open(), world.open());
    for stream in [stopped, other] {
        world.create(stream, &CreateSpec { start_revision: 2, ..watch("k", "l") });
    }
    assert!(world.next(stopped).unwrap().created);
    let first = world.next(stopped).unwrap().events.len();
    assert!(first > 0);
    let read =
        |world: &mut World, stream| -> usize { world.all(stream).iter().map(|answer| answer.events.len()).sum() };
    assert_eq!(read(&mut world, other), 0, "no place");
    for _ in 0..2 {
        world.tick(Duration::from_millis(100));
    }
    assert_eq!(read(&mut world, other), 40);
    assert_eq!(first + read(&mut world, stopped), 40);
    world.hub.close_stream(stopped);
    world.hub.close_stream(other);
    assert_all_returned(world);
}

#[test]
fn watches_beyond_the_budget_are_refused_by_the_error_for_too_many() {
    let mut limits = Limits::new(ByteSize::mib(128), Profile::Server).unwrap();
    limits.pool = 0;
    let admitted = Config::watches_admitted(&limits, 8);
    let budget = Budget::new(limits);
    let mut world =
        World::with(Config { cluster_id: 7, member_id: 8, ..Config::new(&limits, 2, 0, 0, 1 << 20) }, budget);
    let stream = world.open();
    let mut made = 0;
    let last = loop {
        world.create(stream, &watch(&format!("{made:08}"), ""));
        let answer = world.next(stream).unwrap();
        if answer.canceled {
            break answer;
        }
        made += 1;
    };
    assert_eq!(last.cancel_reason, "rpc error: code = ResourceExhausted desc = etcdserver: too many requests");
    assert!(made >= admitted, "{made} watches, and {admitted} are promised");
    assert!(world.hub.open_stream(world.now, Duration::from_secs(1)).is_err());
    assert!(world.budget.room(Holder::Watches) > limits.floor(Holder::Watches) / 5, "queues and frames have room");
    // One goes, one comes; and those there are work on.
    world.hub.cancel(stream, 0, 1);
    world.hub.cancel(stream, 1, 1);
    assert_eq!(world.all(stream).len(), 2);
    world.create(stream, &watch("00000000", ""));
    world.put("00000000", "1");
    assert_eq!(short(&world.all(stream)[1]), format!("@2 #{made} +00000000:2"));
    world.hub.close_stream(stream);
    assert_all_returned(world);
}

#[test]
fn a_closed_stream_gives_all_back_whatever_was_under_way() {
    for steps in 0..40 {
        let mut world = World::new(small_config());
        let value = "v".repeat(100_000);
        let stream = world.open();
        (0..5).for_each(|n| {
            world.put(&format!("k{n}"), &value);
        });
        world.create(stream, &CreateSpec { start_revision: 2, prev_kv: true, ..watch("k", "l") });
        world.create(stream, &CreateSpec { prev_kv: true, ..watch("k", "l") });
        let mut jobs = Vec::new();
        let mut more = false;
        for step in 0..steps {
            match step % 4 {
                0 => jobs.extend(world.hub.next_job()),
                1 if !jobs.is_empty() => {
                    let job = jobs.remove(0);
                    world.hub.done(job.id, world.store.run(&job, 100));
                }
                _ if more => more = !matches!(world.hub.next_piece(stream), Piece::Bytes { more: false, .. }),
                2 => {
                    world.put("k1", &value);
                }
                _ => more = world.hub.next_frame(stream).is_some_and(|frame| frame.more),
            }
        }
        world.hub.close_stream(stream);
        for job in jobs {
            world.hub.done(job.id, world.store.run(&job, 100));
        }
        assert!(world.hub.next_job().is_none(), "a read for nobody");
        assert_eq!(world.hub.stats().behind, 0);
        assert_all_returned(world);
    }
}
