//! Points in time as people write them, in UTC.

use std::time::Duration;

/// A moment since 1970, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) year: u64,
    pub(crate) month: u64,
    pub(crate) day: u64,
    pub(crate) hour: u64,
    pub(crate) minute: u64,
    pub(crate) second: u64,
    pub(crate) milli: u32,
}

impl Moment {
    /// `wall`: time since 1970.
    pub(crate) fn new(wall: Duration) -> Self {
        let seconds = wall.as_secs();
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Days are counted from 1 March of year 0, so that the leap day ends a year; 400 years have 146,097 days.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        Self { year, month, day, hour, minute, second, milli: wall.subsec_millis() }
    }

    /// As RFC 3339 has it, without a zone: `2026-01-31T08:15:00`.
    pub(crate) fn date_time(&self) -> String {
        let Self { year, month, day, hour, minute, second, .. } = self;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }

    /// As access logs have it: `31/Jan/2026:08:15:00 +0000`.
    pub(crate) fn local(&self) -> String {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let Self { year, month, day, hour, minute, second, .. } = self;
        let name = usize::try_from(*month).ok().and_then(|month| MONTHS.get(month - 1)).unwrap_or(&"");
        format!("{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_dates() {
        for (seconds, date_time, local) in [
            (0, "1970-01-01T00:00:00", "01/Jan/1970:00:00:00 +0000"),
            (951_782_400, "2000-02-29T00:00:00", "29/Feb/2000:00:00:00 +0000"),
            (1_798_761_599, "2026-12-31T23:59:59", "31/Dec/2026:23:59:59 +0000"),
        ] {
            let moment = Moment::new(Duration::from_secs(seconds));
            assert_eq!((&*moment.date_time(), &*moment.local()), (date_time, local));
        }
    }
}
