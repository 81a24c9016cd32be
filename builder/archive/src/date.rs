//! Points in time as the archive writes them, to the second and in UTC.
//!
//! A Release file says `Thu, 19 Nov 2026 02:12:54 UTC` (RFC 2822), the lock says `2026-11-19T02:12:54Z` (RFC 3339).
//! The calendar is Gregorian; days are counted from 1970-01-01 with years that start in March, which puts the leap
//! day at a year's end.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01 00:00 UTC; prints as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// A text that is no date.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no date that we know how to read")]
pub struct BadDate(String);

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Timestamp {
    /// This many seconds after the start of 1970.
    pub const fn from_unix(seconds: u64) -> Self {
        Self(seconds)
    }

    /// The clock of this machine.
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()))
    }

    /// Seconds since the start of 1970.
    pub const fn unix(self) -> u64 {
        self.0
    }

    /// Reads the form of a Release file; the zone must be UTC, the name of the day is not checked.
    ///
    /// # Errors
    /// [`BadDate`] for every other form.
    pub fn from_rfc2822(text: &str) -> Result<Self, BadDate> {
        let read = || {
            let (_weekday, rest) = text.split_once(", ")?;
            let mut words = rest.split_ascii_whitespace();
            let (day, month, year) = (words.next()?, words.next()?, words.next()?);
            let month = MONTHS.iter().position(|name| *name == month)?;
            let time = words.next()?;
            if !matches!(words.next()?, "UTC" | "GMT" | "+0000") || words.next().is_some() {
                return None;
            }
            Self::civil(number(year, 4, 4)?, u64::try_from(month).ok()? + 1, number(day, 1, 2)?, time)
        };
        read().ok_or_else(|| BadDate(crate::names::shortened(text)))
    }

    fn civil(year: u64, month: u64, day: u64, time: &str) -> Option<Self> {
        let mut clock = time.split(':').map(|part| number(part, 2, 2));
        let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let length = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        let fits = (1970..=9999).contains(&year) && (1..=length).contains(&day);
        if !fits || hour > 23 || minute > 59 || second > 60 || clock.next().is_some() {
            return None;
        }
        let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
        let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
        Some(Self(((days - EPOCH_DAYS) * 24 + hour) * 3600 + minute * 60 + second.min(59)))
    }

    fn date(self) -> (u64, u64, u64) {
        let days = self.0 / 86_400 + EPOCH_DAYS;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (year * 365 + year / 4 - year / 100);
        let month = (of_year * 5 + 2) / 153;
        let day = of_year - (month * 153 + 2) / 5 + 1;
        let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        (era * 400 + year + carry, month, day)
    }
}

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;

fn number(text: &str, shortest: usize, longest: usize) -> Option<u64> {
    let digits = (shortest..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

impl FromStr for Timestamp {
    type Err = BadDate;

    /// Reads the form that [`Timestamp`] prints.
    fn from_str(text: &str) -> Result<Self, BadDate> {
        let read = || {
            let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
            let mut date = date.split('-');
            let (year, month, day) = (date.next()?, date.next()?, date.next()?);
            if date.next().is_some() {
                return None;
            }
            Self::civil(number(year, 4, 4)?, number(month, 2, 2)?, number(day, 2, 2)?, time)
        };
        read().ok_or_else(|| BadDate(crate::names::shortened(text)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let (hour, minute, second) = (self.0 / 3600 % 24, self.0 / 60 % 60, self.0 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_name_the_same_second() {
        let release = Timestamp::from_rfc2822("Thu, 19 Nov 2026 02:12:54 UTC").unwrap();
        assert_eq!(release, Timestamp::from_unix(1_795_054_374));
        assert_eq!(release.to_string(), "2026-11-19T02:12:54Z");
        assert_eq!("1970-01-01T00:00:00Z".parse(), Ok(Timestamp::from_unix(0)));
        assert_eq!("2000-02-29T23:59:59Z".parse(), Ok(Timestamp::from_unix(951_868_799)));
        assert_eq!(
            Timestamp::from_rfc2822("Sat,  9 Aug 2025 08:00:00 UTC").unwrap().to_string(),
            "2025-08-09T08:00:00Z"
        );
    }

    #[test]
    fn other_zones_and_impossible_days_are_refused() {
        for bad in [
            "",
            "Thu, 19 Nov 2026 02:12:54 CET",
            "Thu, 31 Nov 2026 02:12:54 UTC",
            "Thu, 19 Nov 2026 2:12 UTC",
        ] {
            assert!(Timestamp::from_rfc2822(bad).is_err(), "{bad}");
        }
        for bad in [
            "",
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-01-01 00:00:00",
            "1969-12-31T00:00:00Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(seconds in 0_u64..253_402_300_800) {
            let stamp = Timestamp::from_unix(seconds);
            prop_assert_eq!(stamp.to_string().parse(), Ok(stamp));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in "\\PC*") {
            let _ = Timestamp::from_rfc2822(&text);
            let _ = text.parse::<Timestamp>();
        }
    }
}
