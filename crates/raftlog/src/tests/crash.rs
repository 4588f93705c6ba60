//! Power cuts at every change of the disk, with any subset of what was not synced surviving.

use std::sync::{Arc, Mutex};

use tidegate_base::{LogIndex, LogPosition};

use super::{
    dir, entry, hard_state,
    model::{Model, Step},
    open, open_expecting,
};
use crate::{
    Entry, Expect, HardState, Log, LogReader, OpenError, Recovered,
    sim::{Dice, SimDisk},
};

/// What one call may have changed: at `from` changes of the disk it began, at `acknowledged` (if ever) it was durable.
struct Moment {
    changes: u64,
    durable: Model,
    /// In the order of the records.
    pending: Vec<Step>,
    /// Up to where segments may be gone.
    purged: LogIndex,
}

/// Drives a log and keeps account of what must be there.
struct Driver {
    disk: SimDisk,
    log: Log,
    durable: Model,
    pending: Vec<Step>,
    now: Model,
    purged: LogIndex,
    moments: Vec<Moment>,
}

impl Driver {
    fn new(disk: SimDisk, log: Log, state: Model) -> Self {
        let (durable, now) = (state.clone(), state);
        Self { disk, log, durable, pending: Vec::new(), now, purged: LogIndex(0), moments: Vec::new() }
    }

    /// From the next change of the disk on, this is what is known.
    fn note(&mut self) {
        let moment = Moment {
            changes: self.disk.changes(),
            durable: self.durable.clone(),
            pending: self.pending.clone(),
            purged: self.purged,
        };
        self.moments.push(moment);
    }

    fn plan(&mut self, steps: Vec<Step>) {
        for step in &steps {
            self.now.take(step);
        }
        self.pending.extend(steps);
        self.note();
    }

    fn append(&mut self, entries: &[Entry], state: Option<HardState>) {
        let mut steps = Vec::new();
        if let Some(first) = entries.first().filter(|first| first.position.index <= self.now.last().index) {
            steps.push(Step::Truncate(first.position.index.prev()));
        }
        steps.extend(entries.iter().cloned().map(Step::Entry));
        steps.extend(state.map(Step::HardState));
        self.plan(steps);
        self.log.append(entries, state).unwrap();
    }

    fn reset(&mut self, base: LogPosition, state: HardState) {
        self.plan(vec![Step::Reset(base), Step::HardState(state)]);
        self.log.reset(base, state).unwrap();
    }

    fn sync(&mut self) {
        assert_eq!(self.log.sync().unwrap(), self.now.last());
        self.durable = self.now.clone();
        self.pending.clear();
        self.note();
    }

    fn purge(&mut self, up_to: LogIndex) {
        self.purged = self.purged.max(up_to);
        self.note();
        self.log.purge(up_to).unwrap();
        self.durable = self.now.clone();
        self.pending.clear();
        self.note();
    }

    /// One random act. `term` only rises.
    fn act(&mut self, dice: &mut Dice, term: &mut u64) {
        let last = self.now.last();
        let commit = self.now.committed();
        match dice.below(20) {
            0..=9 => {
                let count = 1 + dice.below(5);
                let entries: Vec<_> = (1..=count).map(|n| entry(last.index.0 + n, *term, size(dice))).collect();
                let state = dice
                    .coin()
                    .then(|| hard_state(*term, 1, commit.0 + dice.below(last.index.0 + count - commit.0 + 1)));
                self.append(&entries, state);
            }
            10..=11 if last.index > commit => {
                *term += 1;
                let from = commit.0 + 1 + dice.below(last.index.0 - commit.0);
                let entries: Vec<_> = (0..dice.below(3) + 1).map(|n| entry(from + n, *term, size(dice))).collect();
                self.append(&entries, dice.coin().then(|| hard_state(*term, 2, commit.0)));
            }
            12 => {
                *term += 1;
                self.append(&[], Some(hard_state(*term, dice.below(4), commit.0)));
            }
            13 if dice.below(4) == 0 => {
                *term += 1;
                let base = LogPosition::new(last.index.0 + dice.below(50), *term);
                self.reset(base, hard_state(*term, 0, base.index.0));
                // Everything before a snapshot may go.
                self.sync();
            }
            14 => self.log.prepare_spare().unwrap(),
            15 => {
                let up_to = LogIndex(dice.below(commit.0 + 1));
                self.purge(up_to);
            }
            _ => self.sync(),
        }
    }
}

/// Mostly small, often near the size of a sector or a record, at times larger than a segment.
fn size(dice: &mut Dice) -> usize {
    let n = match dice.below(12) {
        0 => 0,
        1..=5 => dice.below(300),
        6..=8 => 430 + dice.below(90),
        9 => 4000 + dice.below(400),
        10 => dice.below(9000),
        _ => 12_000 + dice.below(8000),
    };
    usize::try_from(n).unwrap()
}

/// The state that a log shows must be the durable one and some first of the pending steps.
fn legal(moment: &Moment, recovered: &Recovered, reader: &LogReader) -> Result<Model, String> {
    let mut state = moment.durable.clone();
    let mut why = Vec::new();
    let mut found = None;
    for step in std::iter::once(None).chain(moment.pending.iter().map(Some)) {
        if let Some(step) = step {
            state.take(step);
        }
        let mut seen = state.clone();
        seen.purge(moment.purged);
        match seen.compare(recovered, reader) {
            // The longest: what the log says of itself may fit a state and the next (a hard state that is set again).
            Ok(()) => found = Some(state.clone()),
            Err(reason) => why.push(reason),
        }
    }
    found.ok_or_else(|| why.join("; "))
}

type Opened = Result<(Log, LogReader, Recovered), OpenError>;

/// Opens a crashed disk and checks what is there.
fn survive(
    moment: &Moment,
    disk: &SimDisk,
    open: impl Fn(&SimDisk) -> Opened,
) -> Result<(Log, LogReader, Model), String> {
    let (log, reader, recovered) = open(disk).map_err(|error| error.to_string())?;
    let state = legal(moment, &recovered, &reader)?;
    Ok((log, reader, state))
}

fn seeds() -> u64 {
    std::env::var("TIDEGATE_CRASH_SEEDS").map_or(5, |seeds| seeds.parse().expect("a number of seeds"))
}

/// Runs a script and cuts the power after each change of the disk. Returns the number of images that were checked.
fn run(script: u64, cuts: u64) -> usize {
    let disk = SimDisk::new(script);
    disk.record();
    let fresh = Moment { changes: 0, durable: Model::default(), pending: Vec::new(), purged: LogIndex(0) };
    let (log, _, _) = open(&disk);
    let mut driver = Driver::new(disk.clone(), log, Model::default());
    driver.moments.push(fresh);
    let mut dice = Dice::new(script);
    let mut term = 1;
    for _ in 0..60 {
        driver.act(&mut dice, &mut term);
    }
    let mut images = 0;
    for changes in 0..=disk.changes() {
        // What was known when the change was made: a call is noted before its first change, its success after its last.
        let before = driver.moments.iter().rfind(|moment| moment.changes < changes).unwrap_or(&driver.moments[0]);
        for cut in 0..cuts {
            images += 1;
            let seed = script << 32 ^ changes << 8 ^ cut;
            let replay = || format!("TIDEGATE_CRASH_SCRIPT={script}: {changes} changes, seed {seed:#x}");
            let crashed = disk.crash_after(changes, seed);
            let (log, _, state) = survive(before, &crashed, |disk| {
                open_expecting(disk, Expect { applied: before.purged.max(applied(before)), ..Expect::default() })
            })
            .unwrap_or_else(|error| panic!("{}: {error}", replay()));
            go_on(&crashed, log, state, seed, &replay());
        }
    }
    images
}

/// A snapshot's index is applied before the log is reset to it.
fn applied(moment: &Moment) -> LogIndex {
    let reset = moment.pending.iter().filter_map(|step| match step {
        Step::Reset(base) => Some(base.index),
        _ => None,
    });
    reset.chain([moment.durable.base.index]).max().unwrap_or_default()
}

/// Appending goes on after a crash, and the next crash is survived as well.
fn go_on(disk: &SimDisk, log: Log, state: Model, seed: u64, replay: &str) {
    let mut dice = Dice::new(!seed);
    let last = state.last();
    let mut term = last.term.0.max(state.hard_state.term.0) + 1;
    let mut driver = Driver::new(disk.clone(), log, state);
    // What was purged before stays purged; nothing more goes here.
    driver.purged = last.index;
    driver.note();
    for _ in 0..4 {
        driver.act(&mut dice, &mut term);
    }
    driver.note();
    let moment = driver.moments.last().expect("noted above");
    let crashed = disk.crash(seed);
    let open = |disk: &SimDisk| open_expecting(disk, Expect { applied: LogIndex(u64::MAX), ..Expect::default() });
    survive(moment, &crashed, open).unwrap_or_else(|error| panic!("{replay}, second crash: {error}"));
}

#[test]
fn what_was_synced_survives_and_nothing_else_appears() {
    let scripts = match std::env::var("TIDEGATE_CRASH_SCRIPT") {
        Ok(script) => script.parse().map(|script: u64| script..script + 1).expect("the number of a script"),
        Err(_) => 0..seeds(),
    };
    let next = Arc::new(Mutex::new(scripts));
    let total: usize = std::thread::scope(|scope| {
        let work = || {
            let mut images = 0;
            while let Some(script) = { next.lock().unwrap().next() } {
                images += run(script, 3);
            }
            images
        };
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).sum()
    });
    println!("{total} crash images");
    assert!(total > 100, "a script of 60 acts changes the disk more often");
}

#[test]
fn checker_tells_a_wrong_image() {
    let disk = SimDisk::new(1);
    let (log, _, _) = open(&disk);
    let mut driver = Driver::new(disk.clone(), log, Model::default());
    for index in 1..=4 {
        driver.append(&[entry(index, 1, 100)], Some(hard_state(1, 1, 0)));
        driver.sync();
    }
    let moment = driver.moments.last().unwrap();
    let crashed = disk.crash(7);
    assert!(survive(moment, &crashed, |disk| Ok(open(disk))).is_ok());
    // A log that forgets the last acknowledged entry, one with another entry in its place, one with an entry too many, one with another vote.
    let wrong = |change: &dyn Fn(&mut Log)| {
        let other = disk.copy();
        let (mut log, _, _) = open(&other);
        change(&mut log);
        log.sync().unwrap();
        survive(moment, &other, |disk| Ok(open(disk))).err().expect("the checker passes a wrong log")
    };
    assert!(wrong(&|log| log.append(&[entry(3, 1, 100)], None).unwrap()).contains("last"));
    assert!(wrong(&|log| log.append(&[entry(3, 1, 99), entry(4, 1, 100)], None).unwrap()).contains("other content"));
    assert!(wrong(&|log| log.append(&[entry(5, 1, 100)], None).unwrap()).contains("last"));
    assert!(wrong(&|log| log.append(&[], Some(hard_state(1, 2, 0))).unwrap()).contains("HardState"));
}

/// A variant of the log that takes any bad record for the end, as if there were no durable marks, loses acknowledged entries: the
/// checker must see it, and the log must refuse.
#[test]
fn checker_catches_a_log_that_accepts_a_torn_middle() {
    let disk = SimDisk::new(2);
    let (log, _, _) = open(&disk);
    let mut driver = Driver::new(disk.clone(), log, Model::default());
    for index in 1..=4 {
        driver.append(&[entry(index, 1, 1000)], None);
        driver.sync();
    }
    let moment = driver.moments.last().unwrap();
    // Begin record, then entries of 1040 bytes: this is in the third one.
    let third = crate::segment::START + 72 + 2 * 1040;
    let torn = disk.copy();
    torn.zero(&dir().join(crate::segment::name(1)), third + 512, 100);
    let refusing = survive(moment, &torn, |disk| open_expecting(disk, Expect::default()));
    assert!(refusing.is_err_and(|error| error.contains(&format!("0000000000000001.log is damaged at offset {third}"))));
    let accepting = |disk: &SimDisk| {
        let lenient = disk.copy();
        lenient.zero(&dir().join(crate::segment::name(1)), third, 2 * 1040);
        open_expecting(&lenient, Expect::default())
    };
    let caught = survive(moment, &torn, accepting).err().expect("two acknowledged entries are gone");
    assert!(caught.contains("last"), "{caught}");
}
