//! Dates from seconds.

use alloc::format;
use alloc::string::String;

/// The date and time (UTC) so many seconds after the beginning of 1970, and the number itself.
pub fn utc_date(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC ({seconds})")
}

/// Year, month and day so many days after 1970-01-01 (H. Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`): years that begin in March, in eras of 400.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let is_next_year = u64::from(month >= 10);
    let first = (153 * month + 2) / 5;
    (era * 400 + year + is_next_year, month + 3 - 12 * is_next_year, day - first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As date(1) has them.
    #[test]
    fn dates() {
        assert_eq!(utc_date(0), "1970-01-01 00:00:00 UTC (0)");
        assert_eq!(utc_date(951_825_599), "2000-02-29 11:59:59 UTC (951825599)");
        assert_eq!(utc_date(1_795_273_842), "2026-11-21 15:10:42 UTC (1795273842)");
        assert_eq!(utc_date(4_107_542_400), "2100-03-01 00:00:00 UTC (4107542400)");
        assert!(utc_date(u64::MAX).ends_with("(18446744073709551615)"), "hostile, and no panic");
    }
}
