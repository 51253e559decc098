//! Words that stand for a value: times, sizes, numbers, switches, statuses.
//!
//! Times and sizes are nginx's notation: `1m` is a minute as a time and a mebibyte as a size, a
//! bare number is seconds or bytes. What nginx accepts in silence and nobody means (`1s2m`,
//! `10 m`) is refused.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Units of time in milliseconds, the longest first.
const TIMES: [(&str, u64); 8] = [
    ("y", 365 * 86_400_000),
    ("M", 30 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Units of size in bytes, the largest first.
const SIZES: [(char, u64); 3] = [('g', 1 << 30), ('m', 1 << 20), ('k', 1 << 10)];

/// A time beyond this is a slip; adding it to a moment must not overflow.
const LONGEST: Duration = Duration::from_millis(100 * TIMES[0].1);

/// Why a word is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadWord {
    /// It is nothing of the kind.
    #[error("is not {0}")]
    Not(&'static str),
    /// It is larger than anyone means.
    #[error("is too large")]
    TooLarge,
}

/// Reads a time: `10s`, `500ms`, `1h30m`, or plain seconds.
///
/// # Errors
/// [`BadWord`] for anything else.
pub(crate) fn duration(text: &str) -> Result<Duration, BadWord> {
    const NOT: BadWord = BadWord::Not("a time");
    let mut rest = text;
    let mut millis = 0_u64;
    let mut shorter_than = u64::MAX;
    if rest.is_empty() {
        return Err(NOT);
    }
    while !rest.is_empty() {
        let (digits, after) = split_digits(rest).ok_or(NOT)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == ' ').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        // As in nginx, blanks may follow a unit: "1h 30m".
        let after = after.trim_start_matches(' ');
        let unit = if unit.is_empty() && after.is_empty() { "s" } else { unit };
        let factor = TIMES.iter().find(|(name, _)| *name == unit).ok_or(NOT)?.1;
        if factor >= shorter_than {
            return Err(NOT);
        }
        shorter_than = factor;
        let number: u64 = digits.parse().map_err(|_| BadWord::TooLarge)?;
        millis = number
            .checked_mul(factor)
            .and_then(|n| n.checked_add(millis))
            .ok_or(BadWord::TooLarge)?;
        rest = after;
    }
    let duration = Duration::from_millis(millis);
    if duration > LONGEST { Err(BadWord::TooLarge) } else { Ok(duration) }
}

/// Writes a time so that [`duration`] reads the same one.
#[must_use]
pub(crate) fn print_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // Weeks and longer surprise more than they shorten.
    let units = TIMES.iter().skip_while(|(name, _)| *name != "d");
    match units.into_iter().find(|(_, factor)| millis != 0 && millis.is_multiple_of(*factor)) {
        Some((name, factor)) => format!("{}{name}", millis / factor),
        None => "0s".to_owned(),
    }
}

/// Reads a size: `10m`, `8k`, `1g`, or plain bytes.
///
/// # Errors
/// [`BadWord`] for anything else.
pub(crate) fn size(text: &str) -> Result<u64, BadWord> {
    const NOT: BadWord = BadWord::Not("a size");
    let (digits, unit) = split_digits(text).ok_or(NOT)?;
    let mut letters = unit.chars();
    let factor = match (letters.next().map(|c| c.to_ascii_lowercase()), letters.next()) {
        (None, _) => 1,
        (Some(unit), None) => SIZES.iter().find(|(name, _)| *name == unit).ok_or(NOT)?.1,
        _ => return Err(NOT),
    };
    let number: u64 = digits.parse().map_err(|_| BadWord::TooLarge)?;
    number.checked_mul(factor).ok_or(BadWord::TooLarge)
}

/// Writes a size so that [`size`] reads the same one.
#[must_use]
pub(crate) fn print_size(bytes: u64) -> String {
    match SIZES.iter().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor)) {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => bytes.to_string(),
    }
}

/// Reads a switch: `on`, `true`, `yes`, or `off`, `false`, `no`.
#[must_use]
pub(crate) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" => Some(true),
        "off" | "false" | "no" => Some(false),
        _ => None,
    }
}

/// Reads a whole number without a sign, in the digits that people write.
#[must_use]
pub(crate) fn number(text: &str) -> Option<u64> {
    let (digits, rest) = split_digits(text)?;
    digits.parse().ok().filter(|_| rest.is_empty())
}

/// Reads a percentage without a fraction: `20%`.
#[must_use]
pub(crate) fn percent(text: &str) -> Option<u64> {
    text.strip_suffix('%').and_then(number)
}

/// Writes a percentage so that [`percent`] reads the same one.
#[must_use]
pub(crate) fn print_percent(percent: u16) -> String {
    format!("{percent}%")
}

/// Reads `0.5%` as hundredths of a percent: at most two decimals, above zero.
#[must_use]
pub(crate) fn hundredths(text: &str) -> Option<u64> {
    let number = text.strip_suffix('%')?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + decimals.len() == 0 || decimals.len() > 2 {
        return None;
    }
    if !digits(whole) || !digits(decimals) {
        return None;
    }
    let number = format!("{whole}{decimals:0<2}").parse().ok()?;
    (number > 0).then_some(number)
}

/// Writes a share so that [`hundredths`] reads the same one.
#[must_use]
pub(crate) fn print_hundredths(share: u16) -> String {
    match (share / 100, share % 100) {
        (whole, 0) => format!("{whole}%"),
        (whole, rest) => format!("{whole}.{rest:02}%"),
    }
}

/// Reads statuses: `200` or `200-399`.
#[must_use]
pub(crate) fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    let one = |text: &str| {
        let status = number(text.trim())?;
        u16::try_from(status).ok().filter(|status| (100..=599).contains(status))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (one(first)?, one(last)?),
        None => (one(text)?, one(text)?),
    };
    (first <= last).then_some(first..=last)
}

/// Statuses as [`statuses`] reads them.
pub(crate) struct PrintStatuses<'a>(pub &'a RangeInclusive<u16>);

impl fmt::Display for PrintStatuses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

/// The digits that a text begins with, at least one, and what follows them.
fn split_digits(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_nginx_s() {
        let millis = |text| duration(text).map(|d| d.as_millis());
        for (text, expected) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("1m", 60_000),
            ("1h30m", 5_400_000),
            ("1s500ms", 1500),
            ("7", 7000),
            ("1m30", 90_000),
            ("1h 3m", 3_780_000),
            ("0", 0),
        ] {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "s", "-1s", "1.5s", "1 s", "1s2m", "1s1s", "10sec", "1m30m", "1é"] {
            assert_eq!(duration(text), Err(BadWord::Not("a time")), "{text}");
        }
        for text in ["101y", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(duration(text), Err(BadWord::TooLarge), "{text}");
        }
    }

    #[test]
    fn sizes_are_nginx_s() {
        for (text, expected) in [("8k", 8192), ("10m", 10 << 20), ("1G", 1 << 30), ("5", 5)] {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "m", "1.5m", "10mb", "-1", "1t"] {
            assert_eq!(size(text), Err(BadWord::Not("a size")), "{text}");
        }
        assert_eq!(size("18446744073709551615k"), Err(BadWord::TooLarge));
    }

    #[test]
    fn what_is_no_percentage_is_refused() {
        for text in ["", "%", "20", "20 %", "-1%", "0.5%", "20%%"] {
            assert_eq!(percent(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        for millis in [0, 1, 999, 1000, 1500, 60_000, 90_000, 86_400_000, 8 * 86_400_000] {
            let time = Duration::from_millis(millis);
            assert_eq!(duration(&print_duration(time)), Ok(time));
        }
        for bytes in [0, 1, 1023, 1024, 1 << 20, 3 << 30, 1 << 41] {
            assert_eq!(size(&print_size(bytes)), Ok(bytes));
        }
        assert_eq!(percent(&print_percent(20)), Some(20));
        for range in [200..=200, 200..=399] {
            assert_eq!(statuses(&PrintStatuses(&range).to_string()), Some(range));
        }
    }

    #[test]
    fn statuses_have_three_digits_and_an_order() {
        for text in ["99", "600", "399-200", "2xx", "200-", "", "-200"] {
            assert_eq!(statuses(text), None, "{text}");
        }
    }
}
