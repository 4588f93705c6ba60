//! Differences that are known and meant, each as narrow as it can be told. They stand in `docs/differences.md`.

use tidegate_api::{
    Code, Error,
    pb::{
        HashKvResponse, KeyValue, RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse,
        range_request::SortTarget, request_op::Request, response_op::Response,
    },
};

use super::{
    side::{Outcome, Reply},
    step::Call,
};

/// A known difference.
pub(super) struct Known {
    pub(super) name: &'static str,
    /// Whether the two answers differ in this, and in nothing else.
    explains: fn(&Answers<'_>) -> bool,
}

/// Two answers to one call.
pub(super) struct Answers<'a> {
    pub(super) call: &'a Call,
    pub(super) ours: &'a Outcome,
    pub(super) theirs: &'a Outcome,
    /// Why etcd has ended, if it has.
    pub(super) end: &'a str,
    /// The transaction at the hashed revision has deleted a key and put it.
    pub(super) rewritten: bool,
    /// Revisions that were compacted to.
    pub(super) compactions: &'a [i64],
}

/// The known difference after which etcd is gone.
pub(super) const CRASH: &str = "etcd ends";

pub(super) const KNOWN: &[Known] = &[
    Known { name: CRASH, explains: crash },
    Known { name: "ties", explains: ties },
    Known { name: "hashes of rewriting transactions", explains: rewritten },
    Known { name: "hashes of compactions", explains: kept_hash },
];

/// What explains a difference; `None` when nothing does.
pub(super) fn explain(answers: &Answers<'_>) -> Option<&'static str> {
    KNOWN.iter().find(|known| (known.explains)(answers)).map(|known| known.name)
}

/// A transaction that deletes a key and then puts it with `ignore_value` or `ignore_lease` passes etcd's checks when the deletion
/// is nested or has no end, and then ends the process, also when it starts again. Ours keeps nothing of a key that is gone.
fn crash(answers: &Answers<'_>) -> bool {
    matches!(answers.call, Call::Txn(_))
        && matches!(answers.ours, Ok(Reply::Txn(_)))
        && matches!(answers.theirs, Err((Code::Unavailable, _)))
        && answers.end.contains("index out of range [0] with length 0")
        && answers.end.contains("etcdserver/txn.put")
}

/// At the revision of a transaction that deletes a key and then puts it, etcd's index takes the key for deleted when it looks for
/// what compaction keeps.
fn rewritten(answers: &Answers<'_>) -> bool {
    let (Ok(Reply::HashKv(ours)), Ok(Reply::HashKv(theirs))) = (answers.ours, answers.theirs) else { return false };
    answers.rewritten && HashKvResponse { hash: ours.hash, ..*theirs } == *ours
}

/// etcd keeps the hashes that it made when it compacted, ten of them until it is restarted, and answers HashKV of the same
/// revisions with them: with the revision compacted to before, and also when the revision is compacted meanwhile.
fn kept_hash(answers: &Answers<'_>) -> bool {
    let (Call::HashKv(request), Ok(Reply::HashKv(theirs))) = (answers.call, answers.theirs) else { return false };
    let revision = request.revision;
    let computed = match answers.ours {
        Ok(Reply::HashKv(ours)) => ours.compact_revision >= revision && ours.header == theirs.header,
        ours => *ours == Err((Code::OutOfRange, Error::Compacted.text().to_owned())),
    };
    theirs.hash_revision == revision
        && theirs.compact_revision < revision
        && answers.compactions.contains(&revision)
        && computed
}

/// etcd sorts pairs that are equal in the field in no order of their own: from 13 pairs on its sort is not stable. Ours come
/// by key.
fn ties(answers: &Answers<'_>) -> bool {
    let (Ok(ours), Ok(theirs)) = (answers.ours, answers.theirs) else { return false };
    match (answers.call, ours, theirs) {
        (Call::Range(request), Reply::Range(ours), Reply::Range(theirs)) => {
            let untied = |reply: &RangeResponse| {
                let mut reply = reply.clone();
                untie(request, &mut reply);
                reply
            };
            untied(ours) == untied(theirs)
        }
        (Call::Txn(request), Reply::Txn(ours), Reply::Txn(theirs)) => {
            let untied = |reply: &TxnResponse| {
                let mut reply = reply.clone();
                untie_txn(request, &mut reply);
                reply
            };
            untied(ours) == untied(theirs)
        }
        _ => false,
    }
}

/// Up to here Go's sort is an insertion sort, which is stable.
const STABLE: usize = 12;

fn untie(request: &RangeRequest, reply: &mut RangeResponse) {
    if request.sort_target() == SortTarget::Key || reply.count <= STABLE as i64 {
        return;
    }
    let hidden = request.keys_only && request.sort_target() == SortTarget::Value;
    let equal = |one: &KeyValue, other: &KeyValue| match request.sort_target() {
        SortTarget::Key => one.key == other.key,
        SortTarget::Version => one.version == other.version,
        SortTarget::Create => one.create_revision == other.create_revision,
        SortTarget::Mod => one.mod_revision == other.mod_revision,
        SortTarget::Value => hidden || one.value == other.value,
    };
    for group in reply.kvs.chunk_by_mut(equal) {
        group.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    }
    if let Some(last) = reply.kvs.last().filter(|_| reply.more).cloned() {
        // Which of the last group came in before the limit is open too.
        let sorted_by = match request.sort_target() {
            SortTarget::Key => last.clone(),
            SortTarget::Version => KeyValue { version: last.version, ..KeyValue::default() },
            SortTarget::Create => KeyValue { create_revision: last.create_revision, ..KeyValue::default() },
            SortTarget::Mod => KeyValue { mod_revision: last.mod_revision, ..KeyValue::default() },
            SortTarget::Value => KeyValue { value: last.value.clone(), ..KeyValue::default() },
        };
        reply.kvs.iter_mut().filter(|pair| equal(pair, &last)).for_each(|pair| pair.clone_from(&sorted_by));
    }
}

fn untie_txn(request: &TxnRequest, reply: &mut TxnResponse) {
    let ops: &[RequestOp] = if reply.succeeded { &request.success } else { &request.failure };
    for (op, reply) in ops.iter().zip(&mut reply.responses) {
        match (&op.request, &mut reply.response) {
            (Some(Request::RequestRange(request)), Some(Response::ResponseRange(reply))) => untie(request, reply),
            (Some(Request::RequestTxn(request)), Some(Response::ResponseTxn(reply))) => untie_txn(request, reply),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_difference_is_told() {
        let page = include_str!("../../../docs/differences.md");
        for Known { name, .. } in KNOWN {
            assert!(page.contains(&format!("| {name} |")), "{name} is missing in docs/differences.md");
        }
    }

    /// Of equal pairs the order is open, and with a limit the last of them; of others nothing is.
    #[test]
    fn only_ties_are_explained_by_ties() {
        let pair = |key: &str, version: i64| KeyValue { key: key.to_owned().into(), version, ..KeyValue::default() };
        let request = RangeRequest { sort_target: SortTarget::Version.into(), limit: 3, ..RangeRequest::default() };
        let explains = |count: i64, more: bool, ours: [(&str, i64); 3], theirs: [(&str, i64); 3]| {
            let reply = |pairs: [(&str, i64); 3]| -> Outcome {
                let kvs = pairs.map(|(key, version)| pair(key, version)).to_vec();
                Ok(Reply::Range(RangeResponse { kvs, more, count, ..RangeResponse::default() }))
            };
            let (call, ours, theirs) = (Call::Range(request.clone()), reply(ours), reply(theirs));
            ties(&Answers { call: &call, ours: &ours, theirs: &theirs, end: "", rewritten: false, compactions: &[] })
        };
        let ours = [("a", 1), ("b", 1), ("c", 2)];
        assert!(explains(13, true, ours, [("b", 1), ("a", 1), ("d", 2)]));
        assert!(!explains(13, false, ours, [("b", 1), ("a", 1), ("d", 2)]), "nothing was cut");
        assert!(!explains(13, true, ours, [("b", 1), ("d", 1), ("c", 2)]), "not of the last group");
        assert!(!explains(13, true, ours, [("b", 1), ("a", 1), ("c", 3)]));
        assert!(!explains(12, true, ours, [("b", 1), ("a", 1), ("c", 2)]), "so few are sorted stably");
    }
}
