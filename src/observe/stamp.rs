//! The time stamps of both logs, in local time as nginx's (`TZ`, then `/etc/localtime`).
//!
//! The zone is found once: looking it up may read files, which no request may wait for.

use std::cell::RefCell;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The zone of this process; UTC where none is set.
pub(super) fn local_zone() -> TimeZone {
    static ZONE: LazyLock<TimeZone> = LazyLock::new(TimeZone::system);
    ZONE.clone()
}

/// The time of an event line, as `2026-11-21T06:40:11.123+01:00`.
pub(super) fn event_time(at: SystemTime, zone: TimeZone) -> String {
    zoned(at, zone).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

/// The time of a line in nginx's error log, as `2026/11/21 06:40:11`.
pub(super) fn error_time(at: SystemTime, zone: TimeZone) -> String {
    zoned(at, zone).strftime("%Y/%m/%d %H:%M:%S").to_string()
}

thread_local! {
    static LOCAL: RefCell<AccessStamp> = RefCell::new(AccessStamp::new(local_zone()));
}

/// Appends the time as in the combined log format, without its brackets.
pub(crate) fn push_local(out: &mut Vec<u8>, at: SystemTime) {
    LOCAL.with_borrow_mut(|stamp| {
        let bracketed = stamp.at(at);
        let bare = bracketed.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
        out.extend_from_slice(bare.unwrap_or(bracketed));
    });
}

/// Appends the time as in ISO 8601: `2026-11-21T06:40:11+01:00`.
pub(crate) fn push_iso8601(out: &mut Vec<u8>, at: SystemTime) {
    let text = zoned(at, local_zone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    out.extend_from_slice(text.as_bytes());
}

/// The time of a syslog message (RFC 3164, section 4.1.2), as `Nov  1 06:40:11`.
pub(super) fn syslog_time(at: SystemTime) -> String {
    zoned(at, local_zone()).strftime("%b %e %H:%M:%S").to_string()
}

fn zoned(at: SystemTime, zone: TimeZone) -> Zoned {
    // A clock set before 1970 or past the year 9999 costs the stamp, not the request.
    Timestamp::try_from(at).unwrap_or_default().to_zoned(zone)
}

/// The stamp of an access-log line, made anew once a second.
pub(super) struct AccessStamp {
    zone: TimeZone,
    second: Option<u64>,
    text: String,
}

impl AccessStamp {
    /// A stamp in this zone.
    pub(super) fn new(zone: TimeZone) -> Self {
        Self { zone, second: None, text: String::new() }
    }

    /// The time, as `[21/Nov/2026:06:40:11 +0000]`.
    pub(super) fn at(&mut self, at: SystemTime) -> &[u8] {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            let zoned = zoned(at, self.zone.clone());
            self.text = zoned.strftime("[%d/%b/%Y:%H:%M:%S %z]").to_string();
        }
        self.text.as_bytes()
    }
}

/// The stamp of a line for machines, but for its milliseconds made anew once a second.
pub(super) struct IsoStamp {
    zone: TimeZone,
    second: Option<u64>,
    time: String,
    offset: String,
}

impl IsoStamp {
    /// A stamp in this zone.
    pub(super) fn new(zone: TimeZone) -> Self {
        Self { zone, second: None, time: String::new(), offset: String::new() }
    }

    /// Appends the time, as `2026-11-21T06:40:11.123+00:00`.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, at: SystemTime) {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            let zoned = zoned(at, self.zone.clone());
            self.time = zoned.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            self.offset = zoned.strftime("%:z").to_string();
        }
        out.extend_from_slice(self.time.as_bytes());
        let millis = since.subsec_millis();
        let digit = |place: u32| b'0' + (millis / place % 10) as u8;
        out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
        out.extend_from_slice(self.offset.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a valid POSIX zone")
    }

    #[test]
    fn access_stamps_follow_the_zone_and_the_second() {
        let mut stamp = AccessStamp::new(berlin());
        assert_eq!(stamp.at(moment(1_795_243_211_100)), b"[21/Nov/2026:07:40:11 +0100]");
        assert_eq!(stamp.at(moment(1_795_243_211_999)), b"[21/Nov/2026:07:40:11 +0100]");
        assert_eq!(stamp.at(moment(1_795_243_212_000)), b"[21/Nov/2026:07:40:12 +0100]");
        assert_eq!(stamp.at(moment(1_782_000_000_000)), b"[21/Jun/2026:02:00:00 +0200]");
    }

    #[test]
    fn event_times_have_milliseconds_and_an_offset() {
        let at = moment(1_795_243_211_123);
        assert_eq!(event_time(at, TimeZone::UTC), "2026-11-21T06:40:11.123+00:00");
        assert_eq!(event_time(at, berlin()), "2026-11-21T07:40:11.123+01:00");
        assert_eq!(error_time(at, berlin()), "2026/11/21 07:40:11");
    }

    #[test]
    fn stamps_for_machines_are_those_of_event_lines() {
        let mut stamp = IsoStamp::new(berlin());
        for millis in [1_795_243_211_007, 1_795_243_211_999, 1_795_243_212_120, 1_782_000_000_000] {
            let mut out = Vec::new();
            stamp.push(&mut out, moment(millis));
            assert_eq!(String::from_utf8_lossy(&out), event_time(moment(millis), berlin()));
        }
    }

    #[test]
    fn a_clock_before_1970_is_no_panic() {
        let at = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert!(AccessStamp::new(TimeZone::UTC).at(at).starts_with(b"[31/Dec/1969"));
    }
}
