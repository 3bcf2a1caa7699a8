//! Days and times as a file has them (RFC 3339 §5.6).

/// Seconds since 1970 of `2027-01-31` (its beginning, in UTC) or `2027-01-31T18:00:00Z`.
pub(super) fn read(text: &str) -> Option<f64> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, time.strip_suffix(['Z', 'z'])?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if leap { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    if !(1970..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let before = year - 1;
    // Days since the first of January of the year 1; 719162 of them were before 1970.
    let years = before * 365 + before / 4 - before / 100 + before / 400;
    let months: u32 = lengths.iter().take(month as usize - 1).sum();
    let days = years + months + day - 1 - 719_162;
    Some(f64::from(days) * 86_400.0 + f64::from(hour * 3600 + minute * 60 + second))
}

/// Three numbers with so many digits each.
fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[u32; 3]> {
    let mut parts = text.split(between);
    let mut out = [0; 3];
    for (number, digits) in out.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn days_and_times_are_seconds_since_1970() {
        for (text, expected) in [
            ("1970-01-01", 0.0),
            ("1970-01-01T00:00:01Z", 1.0),
            ("2000-02-29", 951_782_400.0),
            ("2001-09-09T01:46:40Z", 1_000_000_000.0),
            ("2027-01-31t18:00:00z", 1_801_418_400.0),
            ("9999-12-31T23:59:59Z", 253_402_300_799.0),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "",
            "2027",
            "2027-1-31",
            "2027-00-10",
            "2027-13-01",
            "2027-02-29",
            "1900-02-29",
            "2027-04-31",
            "2027-01-00",
            "1969-12-31",
            "2027-01-31T",
            "2027-01-31T24:00:00Z",
            "2027-01-31T18:00:00",
            "2027-01-31T18:00:00+01:00",
            "2027-01-31-01",
            "+027-01-31",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
