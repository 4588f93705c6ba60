//! Entries that are one small step: leases granted, history compacted, alarms, members.

use tidegate_api::{
    Error,
    pb::etcdserverpb::{AlarmMember, AlarmRequest, alarm_request::AlarmAction},
};
use tidegate_base::LogPosition;
use tidegate_engine::Engine;

use super::{Fatal, Machine, Step};
use crate::{
    Answer, LeaseChange,
    rows::{alarm_key, lease_key, put_signed},
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
        let mut row = vec![1];
        put_signed(&mut row, ttl_seconds);
        put_signed(&mut row, 0);
        self.put_state(key, row);
        let Step::Done(mut outcome) = self.done(position, request, Ok(Answer::LeaseGrant { id, ttl_seconds })) else {
            unreachable!("done is done")
        };
        outcome.leases.push(LeaseChange::Granted { id, ttl_seconds });
        Ok(Step::Done(outcome))
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
