//! Why no peer could be picked, in the words of the log and of the 502.

use std::fmt;

/// Why no peer could be picked; its text reaches the log and the error page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPeer {
    /// Discovery has not found an address.
    NoAddresses,
    /// There are peers, and every one is out.
    Unavailable(Census),
}

/// Peers by what keeps them from a request; each is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Peers known.
    pub peers: u32,
    /// Out because of failures of traffic.
    pub ejected: u32,
    /// Out by configuration.
    pub down: u32,
    /// For bound sessions only.
    pub draining: u32,
    /// Without an address in DNS, and not reached since.
    pub absent: u32,
    /// Out because of failed probes.
    pub failing: u32,
    /// New, and not yet passed by a probe while others have been.
    pub waiting: u32,
    /// At `max_conns`.
    pub full: u32,
    /// In rotation, but this request has tried them.
    pub tried: u32,
}

impl NoPeer {
    /// Whether there are peers that a request with so many attempts cannot all have tried: then nginx tells of the
    /// attempt that found none.
    #[must_use]
    pub fn has_untried(&self, attempts: usize) -> bool {
        match self {
            Self::NoAddresses => true,
            Self::Unavailable(census) => attempts < (census.peers - census.down) as usize,
        }
    }
}

impl std::error::Error for NoPeer {}

impl fmt::Display for NoPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddresses => f.write_str("no addresses yet"),
            Self::Unavailable(census) => census.fmt(f),
        }
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.peers, if self.peers == 1 { "peer" } else { "peers" })?;
        for (count, words) in [
            (self.ejected, "ejected"),
            (self.down, "down"),
            (self.draining, "draining"),
            (self.absent, "absent from DNS"),
            (self.failing, "failing probes"),
            (self.waiting, "not probed yet"),
            (self.full, "full"),
            (self.tried, "tried"),
        ] {
            if count > 0 {
                write!(f, ", {count} {words}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_there_is_is_listed() {
        let text = |census| NoPeer::Unavailable(census).to_string();
        let none = Census::default();
        for (census, expected) in [
            (Census { peers: 3, ejected: 2, down: 1, ..none }, "3 peers, 2 ejected, 1 down"),
            (Census { peers: 5, absent: 5, ..none }, "5 peers, 5 absent from DNS"),
            (Census { peers: 2, failing: 2, ..none }, "2 peers, 2 failing probes"),
            (
                Census { peers: 2, failing: 1, waiting: 1, ..none },
                "2 peers, 1 failing probes, 1 not probed yet",
            ),
            (Census { peers: 1, tried: 1, ..none }, "1 peer, 1 tried"),
            (Census { peers: 2, full: 1, tried: 1, ..none }, "2 peers, 1 full, 1 tried"),
        ] {
            assert_eq!(text(census), expected);
        }
        assert_eq!(NoPeer::NoAddresses.to_string(), "no addresses yet");
    }
}
