//! How old an object is.

/// Age of what was made at `created` (RFC 3339), at `now` seconds since 1970, as people say it.
pub(crate) fn age(created: Option<&str>, now: u64) -> String {
    let Some(then) = created.and_then(seconds) else { return "unknown".to_owned() };
    let past = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(then).max(0);
    match past {
        0..120 => format!("{past}s"),
        120..7200 => format!("{}m", past / 60),
        7200..172_800 => format!("{}h", past / 3600),
        _ => format!("{}d", past / 86_400),
    }
}

/// Seconds since 1970 of a time such as `2026-01-31T08:15:00.5+01:00`.
fn seconds(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u32>().ok().map(i64::from);
    let between = |at: usize, one_of: &str| text.get(at..=at).filter(|mark| one_of.contains(mark));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    between(10, "Tt ")?;
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let (sign, rest) = zone.split_at_checked(1)?;
            let (hours, minutes) = rest.split_once(':')?;
            let minutes = hours.parse::<u8>().ok().map(i64::from)? * 60 + minutes.parse::<u8>().ok().map(i64::from)?;
            if sign == "-" { -minutes } else { minutes }
        }
    };
    // Years begin in March, so that the leap day ends them.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - offset * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_any_zone() {
        let check = |text: &str, expected| assert_eq!(seconds(text), expected, "{text}");
        check("1970-01-01T00:00:00Z", Some(0));
        check("2000-02-29T00:00:00Z", Some(951_782_400));
        check("2023-11-14T22:13:20Z", Some(1_700_000_000));
        check("2023-11-15T06:13:20.123+08:00", Some(1_700_000_000));
        check("2023-11-14T12:43:20-09:30", Some(1_700_000_000));
        for text in
            ["", "yesterday", "2023-11-14", "2023-11-14T22:13:20", "2023-11-14T22:13:20+", "é023-11-14T22:13:20Z"]
        {
            check(text, None);
        }
    }

    #[test]
    fn ages_have_one_unit() {
        let check = |past, expected: &str| assert_eq!(age(Some("1970-01-01T00:00:00Z"), past), expected);
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(7200, "2h");
        check(172_800, "2d");
        assert_eq!(age(None, 5), "unknown");
    }
}
