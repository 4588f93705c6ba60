//! Leases, alarms and members.

use prost::Message;
use tidegate_api::pb::etcdserverpb::{AlarmMember, Member};
use tidegate_engine::{Cursor, Engine, Order, Scan, Space, Tier};

use super::{ReadError, Reader};
use crate::rows::{
    BadRow, LeaseRow, alarms_span, lease_id, lease_key, lease_keys_span, lease_user_key, leases_span, members_span,
};

impl<E: Engine> Reader<E> {
    /// Granted seconds of a lease.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn lease_ttl(&self, id: i64) -> Result<Option<i64>, ReadError> {
        let key = lease_key(id);
        match self.engine.get(Space::State, &key, Tier::All)?.known() {
            None => Ok(None),
            Some(row) => Ok(Some(LeaseRow::decode(&key, row.as_ref())?.ttl_seconds)),
        }
    }

    /// Keys attached to a lease, in order, behind `after`, at most `bytes_max` bytes of them and at least one; empty at the
    /// end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn lease_keys(&self, id: i64, after: Option<&[u8]>, bytes_max: usize) -> Result<Vec<Vec<u8>>, ReadError> {
        let (mut lower, upper) = lease_keys_span(id);
        if let Some(after) = after {
            lower.extend_from_slice(after);
            lower.push(0);
        }
        let mut keys = Vec::new();
        let mut bytes = 0;
        self.each(&lower, &upper, |row, _| {
            let key = lease_user_key(row).unwrap_or_default().to_vec();
            bytes += key.len() + size_of::<Vec<u8>>();
            keys.push(key);
            Ok(bytes < bytes_max)
        })?;
        Ok(keys)
    }

    /// Every lease and its granted seconds, to `visit`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn each_lease(&self, mut visit: impl FnMut(i64, i64)) -> Result<(), ReadError> {
        let (lower, upper) = leases_span();
        self.each(&lower, &upper, |key, row| {
            let ttl = LeaseRow::decode(key, row)?.ttl_seconds;
            visit(lease_id(key).ok_or_else(|| BadRow::new(Space::State, key, "not a lease"))?, ttl);
            Ok(true)
        })
    }

    /// # Errors
    /// [`ReadError`].
    pub fn alarms(&self) -> Result<Vec<AlarmMember>, ReadError> {
        let (lower, upper) = alarms_span();
        let mut alarms = Vec::new();
        self.each(&lower, &upper, |key, _| {
            let (id, alarm) = key
                .get(1..)
                .and_then(<[u8]>::split_first_chunk::<8>)
                .ok_or_else(|| BadRow::new(Space::State, key, "not an alarm"))?;
            let alarm = alarm.first().copied().unwrap_or_default();
            alarms.push(AlarmMember { member_id: u64::from_be_bytes(*id), alarm: alarm.into() });
            Ok(true)
        })?;
        Ok(alarms)
    }

    /// # Errors
    /// [`ReadError`].
    pub fn members(&self) -> Result<Vec<Member>, ReadError> {
        let (lower, upper) = members_span();
        let mut members = Vec::new();
        self.each(&lower, &upper, |key, row| {
            let member = row.split_first().and_then(|(_, message)| Member::decode(message).ok());
            members.push(member.ok_or_else(|| BadRow::new(Space::State, key, "not a member"))?);
            Ok(true)
        })?;
        Ok(members)
    }

    fn each(
        &self,
        lower: &[u8],
        upper: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let scan = Scan { lower, upper, order: Order::Ascending, fill_cache: false };
        let mut cursor = self.engine.scan(Space::State, scan)?;
        while let Some((key, row)) = cursor.next()? {
            if !visit(key, row)? {
                break;
            }
        }
        Ok(())
    }
}
