//! Entries that are one small step: leases granted, history compacted, alarms, members.

use tidegate_api::{
    Error,
    pb::etcdserverpb::{AlarmMember, AlarmRequest, alarm_request::AlarmAction},
};
use tidegate_base::{LogIndex, LogPosition};
use tidegate_engine::Engine;

use super::{Fatal, Machine, Step};
use crate::{
    Answer, LeaseChange,
    rows::{LeaseRow, alarm_key, lease_key},
};

impl<E: Engine> Machine<E> {
    pub(super) fn grant(
        &mut self,
        position: LogPosition,
        request: u64,
        id: i64,
        ttl_seconds: i64,
    ) -> Result<Step, Fatal> {
        let key = lease_key(id).to_vec();
        if self.state(&key)?.is_some() {
            return Ok(self.done(position, request, Err(Error::LeaseExist)));
        }
        let row = LeaseRow { ttl_seconds, granted: position.index }.encode();
        self.put_state(key, row);
        let Step::Done(mut outcome) = self.done(position, request, Ok(Answer::LeaseGrant { id, ttl_seconds })) else {
            unreachable!("done is done")
        };
        outcome.leases.push(LeaseChange::Granted { id, ttl_seconds });
        Ok(Step::Done(outcome))
    }

    /// Index of the entry that granted the lease; 0 for one that does not exist.
    pub(super) fn lease_granted(&self, id: i64) -> Result<LogIndex, Fatal> {
        let key = lease_key(id);
        let Some(row) = self.state(&key)? else { return Ok(LogIndex(0)) };
        Ok(LeaseRow::decode(&key, &row)?.granted)
    }

    pub(super) fn compaction(&mut self, position: LogPosition, request: u64, revision: i64) -> Step {
        if revision <= self.meta.compacted {
            return self.done(position, request, Err(Error::Compacted));
        }
        if revision > self.meta.visible {
            return self.done(position, request, Err(Error::FutureRev));
        }
        self.meta.compacted = revision;
        let Step::Done(mut outcome) = self.done(position, request, Ok(Answer::Compaction)) else {
            unreachable!("done is done")
        };
        outcome.compacted = Some(revision);
        Step::Done(outcome)
    }

    pub(super) fn alarm(&mut self, position: LogPosition, request: u64, alarm: &AlarmRequest) -> Result<Step, Fatal> {
        let kind = u8::try_from(alarm.alarm).unwrap_or_default();
        let key = alarm_key(alarm.member_id, kind).to_vec();
        let raised = AlarmMember { member_id: alarm.member_id, alarm: alarm.alarm };
        let alarms = match alarm.action() {
            AlarmAction::Get => Vec::new(),
            AlarmAction::Activate if kind == 0 => Vec::new(),
            AlarmAction::Activate => {
                self.put_state(key, vec![1]);
                vec![raised]
            }
            AlarmAction::Deactivate if self.state(&key)?.is_some() => {
                self.delete_state(key);
                vec![raised]
            }
            AlarmAction::Deactivate => Vec::new(),
        };
        Ok(self.done(position, request, Ok(Answer::Alarm(alarms))))
    }
}
