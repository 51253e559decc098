//! Bytes a second: how much may be sent at a moment (`ngx_http_write_filter`).

use std::time::Duration;

/// How fast an answer is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Bytes a second; 0 sets no limit.
    pub bytes: u64,
    /// How many bytes go out before it holds.
    pub after: u64,
}

/// What may be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// So many bytes may be sent.
    Bytes(u64),
    /// Nothing may, for so long.
    Wait(Duration),
}

impl Rate {
    /// Whether it limits anything.
    #[must_use]
    pub fn is_some(self) -> bool {
        self.bytes > 0
    }

    /// What may be sent, `elapsed` after the request began, when `sent` bytes were. A second that has
    /// begun counts as a whole one, as in nginx.
    #[must_use]
    pub fn allowed(self, elapsed: Duration, sent: u64) -> Allowed {
        if !self.is_some() {
            return Allowed::Bytes(u64::MAX);
        }
        let (rate, sent) = (i128::from(self.bytes), i128::from(sent));
        let room = rate * i128::from(elapsed.as_secs() + 1) - (sent - i128::from(self.after));
        if room > 0 {
            return Allowed::Bytes(u64::try_from(room).unwrap_or(u64::MAX));
        }
        let millis = -room * 1000 / rate + 1;
        Allowed::Wait(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
    }

    /// How long to wait after bytes were sent, the last of them `count` of `sent`.
    #[must_use]
    pub fn pause(self, sent: u64, count: u64) -> Duration {
        if !self.is_some() {
            return Duration::ZERO;
        }
        let before = (sent - count.min(sent)).saturating_sub(self.after);
        let limited = sent.saturating_sub(self.after) - before;
        Duration::from_millis(limited.saturating_mul(1000) / self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_that_has_begun_counts_whole() {
        let rate = Rate { bytes: 1000, after: 0 };
        let millis = Duration::from_millis;
        for (elapsed, sent, expected) in [
            (0, 0, Allowed::Bytes(1000)),
            (0, 999, Allowed::Bytes(1)),
            (0, 1000, Allowed::Wait(millis(1))),
            (0, 2000, Allowed::Wait(millis(1001))),
            (999, 1000, Allowed::Wait(millis(1))),
            (1000, 1000, Allowed::Bytes(1000)),
        ] {
            assert_eq!(rate.allowed(millis(elapsed), sent), expected, "{elapsed} ms, {sent}");
        }
    }

    #[test]
    fn what_comes_first_is_free() {
        let rate = Rate { bytes: 1000, after: 500 };
        assert_eq!(rate.allowed(Duration::ZERO, 0), Allowed::Bytes(1500));
        assert_eq!(rate.pause(500, 500), Duration::ZERO);
        assert_eq!(rate.pause(1500, 1500), Duration::from_secs(1));
        assert_eq!(rate.pause(2000, 500), Duration::from_millis(500));
    }

    #[test]
    fn without_a_rate_all_goes_out() {
        assert_eq!(Rate::default().allowed(Duration::ZERO, 7), Allowed::Bytes(u64::MAX));
        assert_eq!(Rate::default().pause(7, 7), Duration::ZERO);
    }
}
