//! One object, read from its text for as long as it is being built.

use bytes::Bytes;
use serde_json::Value;
use tidegate_base::{Budget, ByteSize, Holder, Lease};

use super::{Meter, ReadError, Spec, read_json};

/// Most that the values of one object may take. Twice what the admin API lets a body take, so that it stores nothing which
/// cannot be read again.
const VALUES_MAX: ByteSize = ByteSize::mib(24);

/// Kind and spec of an object, and what pays for them. Dropped once it is built: what is kept is the text.
pub struct Given {
    pub kind: String,
    pub spec: Value,
    built: u64,
    _values: Meter,
    _building: Lease,
}

/// Why a text is no object.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It never will be.
    #[error("{0}")]
    Wrong(String),
    #[error("no memory is free to build it: it is tried again")]
    NoRoom,
}

impl Given {
    /// # Errors
    /// [`Unread`]
    pub fn read(name: &str, text: &Bytes, budget: &Budget) -> Result<Self, Unread> {
        let mut meter = Meter::new(budget, VALUES_MAX);
        let value = read_json(text, &mut meter).map_err(|error| match error {
            ReadError::NoRoom => Unread::NoRoom,
            ReadError::Syntax(_) | ReadError::TooLarge(..) => Unread::Wrong(error.to_string()),
        })?;
        let spec = Spec::new(value).map_err(|problems| {
            Unread::Wrong(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        if spec.name() != name {
            return Err(Unread::Wrong(format!("the spec names itself {:?}", spec.name())));
        }
        let building = building(&meter, budget).ok_or(Unread::NoRoom)?;
        let (_, kind, spec) = spec.into_parts();
        Ok(Self { kind, spec, built: built_bytes(&meter, text), _values: meter, _building: building })
    }

    /// What it takes once it is built.
    pub const fn built_bytes(&self) -> u64 {
        self.built
    }
}

/// Pays for what checking and building make of values on their way: a copy without what has no effect, and the settings.
pub(crate) fn building(meter: &Meter, budget: &Budget) -> Option<Lease> {
    budget.try_lease(Holder::Gateway, meter.bytes())
}

/// What is built of values: strings, tables and trees of about the size of the values, of which the meter counts twice as
/// much, since they grow by doubling; and at least every string of the text.
pub(crate) fn built_bytes(meter: &Meter, text: &[u8]) -> u64 {
    (meter.bytes() / 2).max(text.len() as u64)
}
