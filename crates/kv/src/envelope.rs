//! What a log entry says around the client's message.
//!
//! It carries the version of the rules to apply it by, and what must not differ between members although no client sent it:
//! the id of a lease, a granted time. The message stays as it came; nobody encodes it again.

use bytes::Bytes;
use tidegate_base::{LogIndex, Payload};

use crate::rows::{FieldReader, put_number, put_signed};

const RULES: u8 = 1;

/// What the message of an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Put,
    DeleteRange,
    Txn,
    Compaction,
    /// With the id and the seconds that the proposer chose.
    LeaseGrant {
        id: i64,
        ttl_seconds: i64,
    },
    LeaseRevoke,
    /// The lease has expired, as the leader knew it that had applied the entries up to `behind`: one that was granted anew since
    /// lives on.
    LeaseExpire {
        behind: LogIndex,
    },
    Alarm,
    /// The message is a `Member`, which replaces the one of its id.
    Member,
}

impl Command {
    const fn number(self) -> u8 {
        match self {
            Command::Put => 1,
            Command::DeleteRange => 2,
            Command::Txn => 3,
            Command::Compaction => 4,
            Command::LeaseGrant { .. } => 5,
            Command::LeaseRevoke => 6,
            Command::Alarm => 7,
            Command::LeaseExpire { .. } => 10,
            Command::Member => 9,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub command: Command,
    /// Unique among the requests of a member's life; for logs and traces.
    pub request_id: u64,
    /// Name of the authenticated user; empty without authentication.
    pub caller: String,
    /// Revision of the permissions that the caller was checked against.
    pub auth_revision: u64,
}

/// Why an entry cannot be applied: it is damaged, or of a newer version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("rules version {0} is unknown: the entry was written by a newer version")]
    Rules(u8),
    #[error("command {0} is unknown")]
    Command(u8),
    #[error("the envelope is cut short")]
    Short,
}

impl Envelope {
    pub fn new(command: Command, request_id: u64) -> Self {
        Self { command, request_id, caller: String::new(), auth_revision: 0 }
    }

    /// The payload of a log entry: this envelope, and the message as it is.
    pub fn seal(&self, message: Bytes) -> Payload {
        let mut head = Vec::with_capacity(24 + self.caller.len());
        head.extend_from_slice(&[RULES, self.command.number()]);
        put_number(&mut head, self.request_id);
        put_number(&mut head, self.caller.len() as u64);
        head.extend_from_slice(self.caller.as_bytes());
        put_number(&mut head, self.auth_revision);
        if let Command::LeaseGrant { id, ttl_seconds } = self.command {
            put_signed(&mut head, id);
            put_signed(&mut head, ttl_seconds);
        }
        if let Command::LeaseExpire { behind } = self.command {
            put_number(&mut head, behind.0);
        }
        Payload::new(head.into(), message)
    }

    /// The envelope and the message, which shares the payload's bytes.
    ///
    /// # Errors
    /// [`EnvelopeError`]: the member must stop, for it cannot know what the entry does.
    pub fn open(payload: &Payload) -> Result<(Self, Bytes), EnvelopeError> {
        let mut fields = FieldReader(&payload.head);
        let rules = fields.byte().ok_or(EnvelopeError::Short)?;
        if rules != RULES {
            return Err(EnvelopeError::Rules(rules));
        }
        let number = fields.byte().ok_or(EnvelopeError::Short)?;
        let mut rest = || {
            let request_id = fields.number()?;
            let caller = String::from_utf8(fields.prefixed()?.to_vec()).ok()?;
            let auth_revision = fields.number()?;
            Some((request_id, caller, auth_revision))
        };
        let (request_id, caller, auth_revision) = rest().ok_or(EnvelopeError::Short)?;
        let command = match number {
            1 => Command::Put,
            2 => Command::DeleteRange,
            3 => Command::Txn,
            4 => Command::Compaction,
            5 => Command::LeaseGrant {
                id: fields.signed().ok_or(EnvelopeError::Short)?,
                ttl_seconds: fields.signed().ok_or(EnvelopeError::Short)?,
            },
            6 => Command::LeaseRevoke,
            7 => Command::Alarm,
            10 => Command::LeaseExpire { behind: LogIndex(fields.number().ok_or(EnvelopeError::Short)?) },
            9 => Command::Member,
            other => return Err(EnvelopeError::Command(other)),
        };
        // Read back from the log, both parts are one.
        let read = payload.head.len() - fields.0.len();
        let message = if payload.body.is_empty() { payload.head.slice(read..) } else { payload.body.clone() };
        Ok((Self { command, request_id, caller, auth_revision }, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_opens_in_two_parts_and_in_one() {
        let commands = [
            Command::Put,
            Command::DeleteRange,
            Command::Txn,
            Command::Compaction,
            Command::LeaseGrant { id: -7, ttl_seconds: 60 },
            Command::LeaseRevoke,
            Command::LeaseExpire { behind: LogIndex(700) },
            Command::Alarm,
            Command::Member,
        ];
        for command in commands {
            let envelope = Envelope { command, request_id: 300, caller: "root".into(), auth_revision: 4 };
            let payload = envelope.seal(Bytes::from_static(b"message"));
            let expected = Ok((envelope, Bytes::from_static(b"message")));
            assert_eq!(Envelope::open(&payload), expected);
            assert_eq!(Envelope::open(&Payload::from(payload.contiguous())), expected);
        }
    }

    #[test]
    fn damaged_and_newer_envelopes_are_told_apart() {
        let open = |bytes: &'static [u8]| Envelope::open(&Payload::from(Bytes::from_static(bytes))).unwrap_err();
        assert_eq!(open(b""), EnvelopeError::Short);
        assert_eq!(open(&[2, 1, 0, 0, 0]), EnvelopeError::Rules(2));
        assert_eq!(open(&[1, 99, 0, 0, 0]), EnvelopeError::Command(99));
        assert_eq!(open(&[1, 1, 0, 200]), EnvelopeError::Short);
        assert_eq!(open(&[1, 5, 0, 0, 0, 9]), EnvelopeError::Short);
    }
}
