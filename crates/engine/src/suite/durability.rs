use super::{Kind, ok, rows};
use crate::{Engine, Error};

pub(super) fn flushed_reads_lag_until_the_flush<E: Engine>(kind: &Kind<'_, E>) {
    let engine = (kind.fresh)();
    assert_eq!(rows::flushed(&engine), 0);
    for n in 1..=20 {
        rows::write(&engine, n);
        assert!(rows::flushed(&engine) <= n);
    }
    ok(engine.flush(true));
    assert_eq!(rows::flushed(&engine), 20);
    assert_eq!(rows::check(&engine), 20);
    rows::write(&engine, 21);
    assert_eq!(rows::flushed(&engine), 20, "one small batch is no reason to flush");
    ok(engine.flush(false));
    ok(engine.flush(true));
    assert_eq!(rows::flushed(&engine), 21);
}

pub(super) fn reopening_shows_a_prefix_of_the_batches<E: Engine>(kind: &Kind<'_, E>) {
    let mut engine = (kind.fresh)();
    let mut n = 0;
    for (written, flush) in [(3, true), (40, false), (1, true), (0, false), (9, true), (17, false)] {
        for _ in 0..written {
            n += 1;
            rows::write(&engine, n);
        }
        if flush {
            ok(engine.flush(true));
        }
        let durable = rows::flushed(&engine);
        assert!(!flush || durable == n);
        engine = (kind.reopen)(engine);
        let shown = rows::check(&engine);
        assert!((durable..=n).contains(&shown), "{shown} after {durable} durable of {n}");
        assert_eq!(rows::flushed(&engine), shown, "all that is there after a restart is durable");
        n = shown;
    }
}

pub(super) fn a_checkpoint_holds_what_was_durable<E: Engine>(kind: &Kind<'_, E>) {
    let engine = (kind.fresh)();
    for n in 1..=30 {
        rows::write(&engine, n);
    }
    ok(engine.flush(true));
    for n in 31..=33 {
        rows::write(&engine, n);
    }
    let path = kind.scratch.join("durable");
    ok(engine.checkpoint(&path));
    for n in 34..=60 {
        rows::write(&engine, n);
    }
    ok(engine.flush(true));
    let copy = (kind.open_checkpoint)(&path);
    let held = rows::check(&copy);
    assert!((30..=33).contains(&held), "{held}: no less than the last flush, no more than was written");
    rows::write(&copy, held + 1);
    assert_eq!(rows::check(&copy), held + 1, "the copy lives on by itself");
    assert_eq!(rows::check(&engine), 60);
}

pub(super) fn a_checkpoint_needs_a_new_directory<E: Engine>(kind: &Kind<'_, E>) {
    let engine = (kind.fresh)();
    rows::write(&engine, 1);
    ok(engine.flush(true));
    let path = kind.scratch.join("twice");
    ok(engine.checkpoint(&path));
    assert!(matches!(engine.checkpoint(&path), Err(Error::Io { .. })));
    assert_eq!(rows::check(&(kind.open_checkpoint)(&path)), 1, "the refusal left the first one whole");
}
