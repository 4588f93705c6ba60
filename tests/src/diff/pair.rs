//! Both stores, step by step side by side.

use std::{collections::BTreeSet, fmt::Debug, path::Path, time::Duration};

use anyhow::{Result, ensure};
use tidegate_api::pb::{Event, LeaseRevokeRequest, WatchCreateRequest, event::EventType};
use tidegate_base::clock;

use super::{
    expected::Expected,
    known,
    material::Known,
    requests::STREAMS,
    side::{Outcome, Reply, Side},
    step::{Call, Step},
    streams::{Record, Told, WITNESS},
};
use crate::Kind;

/// How long a store may take to tell its watchers what it has answered already.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// How long nobody answering a request for progress counts as no answer.
const SILENCE: Duration = Duration::from_millis(250);
/// Time that a lease of the shortest kind certainly lives.
const SHORT: Duration = Duration::from_secs(1);

/// What differs.
#[derive(Debug, Clone)]
pub(super) struct Difference {
    pub(super) what: &'static str,
    pub(super) ours: String,
    pub(super) theirs: String,
}

impl Difference {
    fn new(what: &'static str, ours: &impl Debug, theirs: &impl Debug) -> Self {
        Self { what, ours: format!("{ours:?}"), theirs: format!("{theirs:?}") }
    }
}

/// How a step went.
pub(super) enum Verdict {
    Same,
    /// They differ as it is known.
    Known(&'static str),
    Different(Difference),
}

pub(super) struct Pair {
    ours: Side,
    theirs: Side,
    pub(super) known: Known,
    expected: Expected,
}

impl Pair {
    pub(super) fn start(dir: &Path) -> Result<Self> {
        let (ours, theirs) = (Side::start(Kind::Tidegate, dir)?, Side::start(Kind::Etcd, dir)?);
        Ok(Self { ours, theirs, known: Known::default(), expected: Expected::default() })
    }

    pub(super) async fn meet(&mut self) -> Result<()> {
        let revisions = (self.ours.meet().await?, self.theirs.meet().await?);
        ensure!(revisions == (1, 1), "new stores begin with revision 1, these with {revisions:?}");
        self.known.revision = 1;
        let everything = WatchCreateRequest {
            key: b"\0"[..].into(),
            range_end: b"\0"[..].into(),
            start_revision: 2,
            ..WatchCreateRequest::default()
        };
        for side in [&mut self.ours, &mut self.theirs] {
            side.watches.create(WITNESS, everything.clone()).await?;
        }
        let created = |side: &Side| side.watches.look(WITNESS, |record| record.created.len()) == Some(1);
        let watched = self.until(|pair| created(&pair.ours) && created(&pair.theirs)).await;
        ensure!(watched, "a store does not answer the creation of a watch");
        Ok(())
    }

    pub(super) async fn step(&mut self, step: Step) -> Result<Verdict> {
        match step {
            Step::Call(call) => {
                if let Call::Compact(request) = &call {
                    // Compaction ends the watches that are behind: none is.
                    if let Some(difference) = self.told().await {
                        return Ok(Verdict::Different(difference));
                    }
                    self.expected.compact(request.revision);
                }
                Ok(self.call(&call).await)
            }
            Step::ShortLease(grant) => {
                let begin = clock::now();
                let verdict = self.call(&Call::LeaseGrant(grant)).await;
                let revoke = self.call(&Call::LeaseRevoke(LeaseRevokeRequest { id: grant.id })).await;
                match verdict {
                    Verdict::Same if begin.elapsed() < SHORT => Ok(revoke),
                    verdict => Ok(verdict),
                }
            }
            Step::Watch { stream, create } => self.watch(stream, create).await,
            Step::CancelWatch { stream, id } => {
                // What is on its way may come before the answer or not at all.
                let difference = self.told().await;
                for side in [&self.ours, &self.theirs] {
                    side.watches.cancel(stream, id).await;
                }
                self.expected.cancel(stream, id);
                Ok(match difference {
                    Some(difference) => Verdict::Different(difference),
                    None => self.all_told().await,
                })
            }
            Step::Progress { stream } => self.progress(stream).await,
            Step::CloseStream { stream } => {
                let verdict = self.all_told().await;
                self.ours.watches.close(stream);
                self.theirs.watches.close(stream);
                self.expected.close(stream);
                Ok(verdict)
            }
        }
    }

    async fn call(&mut self, call: &Call) -> Verdict {
        let (mut ours, mut theirs) = tokio::join!(self.ours.call(call), self.theirs.call(call));
        if let Call::LeaseGrant(request) = call {
            self.ours.learn(request, &mut ours);
            self.theirs.learn(request, &mut theirs);
        }
        self.know(call, &theirs);
        if ours == theirs {
            return Verdict::Same;
        }
        let end = self.theirs.log(&theirs);
        let mut rewritten = false;
        if let Ok(Reply::HashKv(reply)) = &theirs {
            self.until(Pair::have_heard).await;
            rewritten = self.expected.rewritten(reply.hash_revision);
        }
        let answers = known::Answers {
            call,
            ours: &ours,
            theirs: &theirs,
            end: &end,
            rewritten,
            compactions: &self.expected.compactions,
        };
        match known::explain(&answers) {
            Some(name) => Verdict::Known(name),
            None => {
                let mut difference = Difference::new(call.method().rpc(), &ours, &theirs);
                difference.ours.push_str(&self.ours.log(&ours));
                difference.theirs.push_str(&end);
                Verdict::Different(difference)
            }
        }
    }

    fn know(&mut self, call: &Call, theirs: &Outcome) {
        let Ok(reply) = theirs else { return };
        self.known.revision = self.known.revision.max(reply.revision());
        match (call, reply) {
            (Call::Compact(request), _) => {
                self.known.compacted = request.revision;
                self.expected.compactions.push(request.revision);
            }
            (Call::LeaseGrant(request), Reply::LeaseGrant(_)) if request.id == 0 => self.known.chosen += 1,
            _ => {}
        }
    }

    async fn watch(&mut self, stream: usize, create: WatchCreateRequest) -> Result<Verdict> {
        let created = |side: &Side| side.watches.look(stream, |record| record.created.len()).unwrap_or(0);
        let before = created(&self.theirs);
        for side in [&mut self.ours, &mut self.theirs] {
            side.watches.create(stream, create.clone()).await?;
        }
        let both = self.until(|pair| created(&pair.ours) > before && created(&pair.theirs) > before).await;
        let last = |side: &Side| side.watches.look(stream, |record| record.created.last().cloned()).flatten();
        let (ours, theirs) = (last(&self.ours), last(&self.theirs));
        match theirs {
            Some(theirs) if both && ours.as_ref() == Some(&theirs) => {
                self.expected.watch(stream, &create, &theirs, self.known.compacted);
                Ok(Verdict::Same)
            }
            theirs => Ok(Verdict::Different(Difference::new("Watch: created", &ours, &theirs))),
        }
    }

    /// Asks until both have answered; when neither has for a while, there is no answer.
    async fn progress(&mut self, stream: usize) -> Result<Verdict> {
        if let Some(difference) = self.told().await {
            return Ok(Verdict::Different(difference));
        }
        if self.expected.unsure_progress(stream) {
            return Ok(Verdict::Same);
        }
        let revision = self.known.revision;
        let reached = |side: &Side| side.watches.look(stream, |record| record.progress).unwrap_or(0);
        let begin = clock::now();
        loop {
            for side in [&self.ours, &self.theirs] {
                side.watches.progress(stream).await;
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
            let answers = (reached(&self.ours), reached(&self.theirs));
            let silent = answers.0 < revision && answers.1 < revision;
            if answers == (revision, revision) || (silent && begin.elapsed() > SILENCE) {
                return Ok(Verdict::Same);
            }
            if begin.elapsed() > TOLD_WITHIN || answers.0 > revision || answers.1 > revision {
                return Ok(Verdict::Different(Difference::new("Watch: progress", &answers.0, &answers.1)));
            }
        }
    }

    /// As [`Pair::told`].
    pub(super) async fn all_told(&mut self) -> Verdict {
        self.told().await.map_or(Verdict::Same, Verdict::Different)
    }

    /// Waits until the watches of both stores have heard of all that was answered, and compares what they heard.
    async fn told(&mut self) -> Option<Difference> {
        self.until(Pair::have_heard).await;
        for stream in 0..=STREAMS {
            let (Some(ours), Some(theirs)) = (self.record(&self.ours, stream), self.record(&self.theirs, stream))
            else {
                continue;
            };
            if (ours.ended.is_some(), &ours.wrong) != (theirs.ended.is_some(), &theirs.wrong) {
                let state = |record: &Record| (record.ended.clone(), record.wrong.clone());
                return Some(Difference::new("Watch: stream", &state(&ours), &state(&theirs)));
            }
            let ids: BTreeSet<i64> = ours.watches.keys().chain(theirs.watches.keys()).copied().collect();
            for id in ids.into_iter().filter(|id| !self.expected.unsure(stream, *id)) {
                let of = |record: &Record| {
                    let mut told = record.watches.get(&id).cloned().unwrap_or_default();
                    told.forget(|event| is_gone(&self.expected, event));
                    told
                };
                let (one, other) = (of(&ours), of(&theirs));
                let wanted = if stream == WITNESS { one.events.len() } else { self.expected.count(stream, id) };
                if let Some(difference) = told_otherwise(&one, &other, wanted) {
                    return Some(difference);
                }
            }
        }
        None
    }

    fn record(&self, side: &Side, stream: usize) -> Option<Record> {
        side.watches.look(stream, Record::clone)
    }

    /// Whether all that is expected has come.
    fn have_heard(&mut self) -> bool {
        let revision = self.known.revision;
        let witness = |side: &Side| {
            let newest = side.watches.look(WITNESS, |record| {
                record.watches.get(&0).and_then(|told| told.events.last()?.kv.as_ref().map(|pair| pair.mod_revision))
            });
            newest.flatten().unwrap_or(1) >= revision
        };
        if !witness(&self.ours) || !witness(&self.theirs) {
            return false;
        }
        let expected = &mut self.expected;
        self.theirs.watches.look(WITNESS, |record| {
            expected.learn(record.watches.get(&0).map_or(&[], |told| &told.events));
        });
        let heard = |side: &Side, stream, id| {
            let enough = |record: &Record| {
                let none = Told::default();
                let told = record.watches.get(&id).unwrap_or(&none);
                let gone = |event: &&Event| is_gone(expected, event);
                let events = told.events.len() - told.events.iter().filter(gone).count();
                events >= expected.count(stream, id) && told.others.len() >= expected.others(stream, id)
            };
            side.watches.look(stream, enough).unwrap_or(false)
        };
        (0..STREAMS).all(|stream| {
            let mut ids = expected.ids(stream).filter(|id| !expected.unsure(stream, *id));
            ids.all(|id| heard(&self.ours, stream, id) && heard(&self.theirs, stream, id))
        })
    }

    /// Whether `done` was so before long.
    async fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let begin = clock::now();
        loop {
            if done(self) {
                return true;
            }
            if begin.elapsed() > TOLD_WITHIN {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Whether an event is one that a store may have forgotten.
fn is_gone(expected: &Expected, event: &Event) -> bool {
    let pair = event.kv.as_ref();
    event.r#type() == EventType::Put && pair.is_some_and(|pair| expected.gone(pair.mod_revision, &pair.key))
}

/// What two watches were told, when it is not the same, or not as many events as happened.
fn told_otherwise(ours: &Told, theirs: &Told, wanted: usize) -> Option<Difference> {
    if ours.others != theirs.others {
        return Some(Difference::new("Watch: answers", &ours.others, &theirs.others));
    }
    if ours.events == theirs.events && ours.events.len() == wanted {
        return None;
    }
    let same = ours.events.iter().zip(&theirs.events).take_while(|(one, other)| one == other).count();
    let tell = |told: &Told| {
        let (events, next) = (told.events.len(), told.events.get(same));
        format!("{events} of {wanted} events, after {same} equal ones: {next:?}, {:?}", told.others)
    };
    Some(Difference { what: "Watch: events", ours: tell(ours), theirs: tell(theirs) })
}
