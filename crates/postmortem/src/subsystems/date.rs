//! Dates of the dead kernel, as `date -u` writes them.

/// Days of 400 years, which repeat.
const CYCLE: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];

/// The date and time of so many seconds since 1970: `Sat Nov 28 20:55:11 UTC 2026`. Years begin in
/// March here, so that the day that some years have more is the last one.
pub(crate) fn utc(seconds: u64) -> String {
    let days = (seconds / 86400) as i64;
    let (cycle, day) = ((days + EPOCH) / CYCLE, (days + EPOCH) % CYCLE);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = 400 * cycle + year + i64::from(month >= 10);
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[month.clamp(0, 11) as usize]);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} UTC {year}")
}

#[cfg(test)]
mod tests {
    /// `LC_ALL=C date -u -d @SECONDS`
    #[test]
    fn dates_are_those_of_date() {
        for (seconds, date) in [
            (0, "Thu Jan  1 00:00:00 UTC 1970"),
            (951_827_696, "Tue Feb 29 12:34:56 UTC 2000"),
            (1_709_251_199, "Thu Feb 29 23:59:59 UTC 2024"),
            (1_795_899_311, "Sat Nov 28 20:55:11 UTC 2026"),
            (4_107_542_400, "Mon Mar  1 00:00:00 UTC 2100"),
        ] {
            assert_eq!(super::utc(seconds), date);
        }
        assert!(super::utc(u64::MAX).ends_with(char::is_numeric));
    }
}
