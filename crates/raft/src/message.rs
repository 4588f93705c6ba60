//! Messages between members, without payloads: an append names a range of the sender's log.

use raft::{
    CAMPAIGN_TRANSFER,
    eraftpb::{self, MessageType},
};
use tidegate_base::{LogIndex, LogPosition, Term};

use crate::TermRun;

/// What a message asks or answers. The names are those of the Raft thesis and of etcd's implementation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    Append,
    AppendResponse,
    RequestVote,
    RequestVoteResponse,
    RequestPreVote,
    RequestPreVoteResponse,
    Heartbeat,
    HeartbeatResponse,
    ReadIndex,
    ReadIndexResponse,
    TransferLeader,
    TimeoutNow,
}

const KINDS: [(MessageKind, MessageType); 12] = [
    (MessageKind::Append, MessageType::MsgAppend),
    (MessageKind::AppendResponse, MessageType::MsgAppendResponse),
    (MessageKind::RequestVote, MessageType::MsgRequestVote),
    (MessageKind::RequestVoteResponse, MessageType::MsgRequestVoteResponse),
    (MessageKind::RequestPreVote, MessageType::MsgRequestPreVote),
    (MessageKind::RequestPreVoteResponse, MessageType::MsgRequestPreVoteResponse),
    (MessageKind::Heartbeat, MessageType::MsgHeartbeat),
    (MessageKind::HeartbeatResponse, MessageType::MsgHeartbeatResponse),
    (MessageKind::ReadIndex, MessageType::MsgReadIndex),
    (MessageKind::ReadIndexResponse, MessageType::MsgReadIndexResp),
    (MessageKind::TransferLeader, MessageType::MsgTransferLeader),
    (MessageKind::TimeoutNow, MessageType::MsgTimeoutNow),
];

/// One message. Fields have the meaning that the wrapped core gives them for this kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: MessageKind,
    pub from: u64,
    pub to: u64,
    pub term: Term,
    /// Append: the entry before the first one sent. Votes: the last entry of the candidate. Responses: the index.
    pub at: LogPosition,
    /// Append: runs of the entries sent, and the last of them; no runs, no entries.
    pub runs: Vec<TermRun>,
    pub last: LogIndex,
    pub commit: LogIndex,
    pub commit_term: Term,
    pub reject: bool,
    pub reject_hint: LogIndex,
    /// Votes: 1 asks also those who hear from a leader (a transfer). Reads: the number of the round.
    pub context: u64,
}

impl Message {
    /// Positions of the entries that an append carries, in ascending order.
    pub fn entries(&self) -> impl Iterator<Item = LogPosition> + '_ {
        let ends = self.runs.iter().skip(1).map(|run| run.first.0).chain([self.last.0 + 1]);
        self.runs.iter().zip(ends).flat_map(|(run, end)| (run.first.0..end).map(|i| LogPosition::new(i, run.term.0)))
    }

    /// `None` for kinds that never leave a member.
    pub(crate) fn from_core(message: &eraftpb::Message) -> Option<Self> {
        let (kind, _) = KINDS.into_iter().find(|(_, core)| *core == message.get_msg_type())?;
        let mut runs: Vec<TermRun> = Vec::new();
        let sent = if kind == MessageKind::Append { message.get_entries() } else { &[] };
        for entry in sent {
            if runs.last().is_none_or(|run| run.term.0 != entry.term) {
                runs.push(TermRun { first: LogIndex(entry.index), term: Term(entry.term) });
            }
        }
        let last = sent.last().map_or(0, |entry| entry.index);
        Some(Self {
            kind,
            from: message.from,
            to: message.to,
            term: Term(message.term),
            at: LogPosition::new(message.index, message.log_term),
            runs,
            last: LogIndex(last),
            commit: LogIndex(message.commit),
            commit_term: Term(message.commit_term),
            reject: message.reject,
            reject_hint: LogIndex(message.reject_hint),
            context: read_context(message),
        })
    }

    pub(crate) fn into_core(self) -> eraftpb::Message {
        let mut message = eraftpb::Message::default();
        let entries: Vec<_> = self
            .entries()
            .map(|position| {
                let (index, term) = (position.index.0, position.term.0);
                eraftpb::Entry { index, term, ..eraftpb::Entry::default() }
            })
            .collect();
        message.set_entries(entries.into());
        message.set_msg_type(KINDS.into_iter().find(|(kind, _)| *kind == self.kind).expect("every kind has a row").1);
        message.from = self.from;
        message.to = self.to;
        message.term = self.term.0;
        message.index = self.at.index.0;
        message.log_term = self.at.term.0;
        message.commit = self.commit.0;
        message.commit_term = self.commit_term.0;
        message.reject = self.reject;
        message.reject_hint = self.reject_hint.0;
        match self.kind {
            MessageKind::RequestVote | MessageKind::RequestPreVote if self.context == 1 => {
                message.set_context(CAMPAIGN_TRANSFER.to_vec().into());
            }
            MessageKind::ReadIndex
            | MessageKind::ReadIndexResponse
            | MessageKind::Heartbeat
            | MessageKind::HeartbeatResponse
                if self.context != 0 =>
            {
                let context = self.context.to_be_bytes().to_vec();
                if matches!(self.kind, MessageKind::ReadIndex | MessageKind::ReadIndexResponse) {
                    let entry = eraftpb::Entry { data: context.into(), ..eraftpb::Entry::default() };
                    message.set_entries(vec![entry].into());
                } else {
                    message.set_context(context.into());
                }
            }
            _ => {}
        }
        message
    }
}

fn read_context(message: &eraftpb::Message) -> u64 {
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_be_bytes);
    match message.get_msg_type() {
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
            u64::from(message.get_context() == CAMPAIGN_TRANSFER)
        }
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => {
            message.get_entries().first().map_or(0, |entry| number(&entry.data))
        }
        _ => number(message.get_context()),
    }
}
