//! What members send each other, apart from how it travels.

use tidegate_base::LogIndex;
use tidegate_raft::{Message, MessageKind, TermRun};
use tidegate_raftlog::{Entry, LogReader};

/// A message of the consensus core, with the entries that it names.
#[derive(Debug, Clone)]
pub struct PeerMessage {
    pub message: Message,
    pub entries: Vec<Entry>,
}

/// Fills a message with its entries, from memory or from the log: in pieces of about `bytes_max`, each an append of its own
/// behind the one before. Ends early where the log has another entry by now than the core named, or none: what the core sends
/// after it learns of that says the rest.
///
/// Holds one piece at a time.
pub fn pieces(message: Message, log: &LogReader, bytes_max: usize) -> impl Iterator<Item = PeerMessage> + use<'_> {
    let mut rest = Some(message);
    std::iter::from_fn(move || {
        let mut message = rest.take()?;
        if message.kind != MessageKind::Append || message.runs.is_empty() {
            return Some(PeerMessage { message, entries: Vec::new() });
        }
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for position in message.entries() {
            let Some(entry) = log.at(position) else { break };
            bytes += entry.payload.len();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        let last = entries.last()?.position;
        if last.index < message.last {
            let mut behind = message.clone();
            behind.at = last;
            behind.runs = runs_behind(&message.runs, last.index);
            rest = Some(behind);
            message.runs.retain(|run| run.first <= last.index);
            message.last = last.index;
        }
        Some(PeerMessage { message, entries })
    })
}

/// The runs of what follows `index`.
fn runs_behind(runs: &[TermRun], index: LogIndex) -> Vec<TermRun> {
    let begun = runs.iter().rfind(|run| run.first <= index.next());
    let begun = begun.map(|run| TermRun { first: index.next(), term: run.term });
    begun.into_iter().chain(runs.iter().copied().filter(|run| run.first > index.next())).collect()
}

#[cfg(test)]
mod tests {
    use tidegate_base::Term;

    use super::*;

    #[test]
    fn what_is_left_of_an_append_begins_right_behind_what_was_sent() {
        let run = |first, term| TermRun { first: LogIndex(first), term: Term(term) };
        let runs = [run(5, 1), run(8, 2), run(12, 4)];
        for (sent, left) in [
            (5, vec![run(6, 1), run(8, 2), run(12, 4)]),
            (7, vec![run(8, 2), run(12, 4)]),
            (8, vec![run(9, 2), run(12, 4)]),
            (11, vec![run(12, 4)]),
            (20, vec![run(21, 4)]),
        ] {
            assert_eq!(runs_behind(&runs, LogIndex(sent)), left, "behind {sent}");
        }
    }
}
