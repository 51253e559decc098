//! What is happening, copied out for whoever shows it, and the words for it.
//!
//! There is one vocabulary for why a peer gets no traffic: the dashboard, `robin peers`, the log
//! line of an outage and the page that a client sees then all ask [`PeerState::reason`].

use std::time::Duration;

use super::{Blame, Departure, Hand, Member, Panic, PeerAddress, Probes, QueueState, StatusCounts};
use crate::health::{Cause, Short, Standing, Tick};

/// How a peer stands: the one thing that says most about why it gets traffic or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// In rotation.
    Up,
    /// As many attempts in flight as `max_conns` allows.
    Full,
    /// Out because of failures of traffic.
    Ejected {
        /// When it may be tried again.
        until: Tick,
        /// What the last failure was.
        cause: Cause,
    },
    /// One attempt is under way and decides.
    Probation,
    /// New: no probe has decided yet.
    Waiting,
    /// Out because of failed probes.
    Failing,
    /// Its name has no address, and no connect has succeeded since.
    Absent,
    /// Only sessions that are bound to it reach it, by configuration or by the operator's hand.
    Draining,
    /// Out by configuration or by the operator's hand.
    Down,
}

impl Status {
    /// The same in a word, that of a peer at `max_conns` being `up`: it changes with each request.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Up | Self::Full => "up",
            Self::Ejected { .. } => "ejected",
            Self::Probation => "probation",
            Self::Waiting => "waiting",
            Self::Failing => "failing",
            Self::Absent => "absent",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

/// One peer at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerState {
    /// Its address.
    pub address: PeerAddress,
    /// What configuration and discovery say of it.
    pub member: Member,
    /// How it stands.
    pub status: Status,
    /// Since when it has stood so.
    pub since: Tick,
    /// What traffic has shown of it.
    pub standing: Standing,
    /// Since when.
    pub standing_since: Tick,
    /// What probes have shown of it; none where there are none.
    pub probes: Option<Probes>,
    /// When the last probe ended, and how long it took or what it met.
    pub last_probe: Option<(Tick, Result<Duration, String>)>,
    /// Attempts begun since it appeared.
    pub requests: u64,
    /// Attempts that have failed since it appeared.
    pub failures: u64,
    /// Attempts begun and not ended.
    pub in_flight: u32,
    /// The average time until the head of an answer was here; none before the first.
    pub average: Option<Duration>,
    /// The time within which half of the latest heads came; none before there were twenty.
    pub median: Option<Duration>,
    /// The time within which 99 of 100 came.
    pub slowest: Option<Duration>,
    /// What came of its attempts.
    pub statuses: StatusCounts,
    /// Connections that were made.
    pub opened: u64,
    /// Attempts over a connection that had served before.
    pub reused: u64,
    /// How often traffic took it out.
    pub ejections: u64,
    /// Probes that passed.
    pub probes_passed: u64,
    /// Probes that failed.
    pub probes_failed: u64,
    /// What the operator has said of it.
    pub hand: Hand,
    /// What ejected it last, where ejections grow.
    pub blame: Option<Blame>,
    /// Whether it is used although it is out, because too many are.
    pub pressed: bool,
}

/// A probe's error may hold a text from the configuration: what is shown of it, in characters.
const LONGEST_ERROR: usize = 100;

impl PeerState {
    /// Why it gets traffic or none, in words that need nothing beside them.
    #[must_use]
    pub fn reason(&self, now: Tick) -> String {
        let mut words = self.state(now);
        if let (Status::Failing, Some((_, Err(error)))) = (self.status, &self.last_probe) {
            words += ": ";
            words.extend(error.chars().take(LONGEST_ERROR));
        }
        if self.hand == Hand::Drain && !matches!(self.status, Status::Draining | Status::Down) {
            words += ", draining by hand";
        }
        if self.pressed {
            words += ", used in panic";
        }
        words
    }

    /// The same, for a reader who sees beside it what the last probe met.
    #[must_use]
    pub fn state(&self, now: Tick) -> String {
        let by_hand = |word: &str, hand| match self.hand == hand {
            true => format!("{word} by hand"),
            false => word.to_owned(),
        };
        match self.status {
            Status::Up if self.member.absent => "up, though absent from DNS".into(),
            Status::Up => "up".into(),
            Status::Full => format!("full ({} in flight)", self.in_flight),
            Status::Ejected { until, cause } => {
                let cause = match cause {
                    Cause::Connect => "connect",
                    Cause::Answer => "answer",
                };
                let blame = match self.blame {
                    None => String::new(),
                    Some(Blame { fails, of: None }) => format!(", {fails} in a row"),
                    Some(Blame { fails, of: Some(of) }) => format!(", {fails} of {of} failed"),
                };
                match until.since(now) {
                    Duration::ZERO => format!("ejected for {cause}{blame}, trial due"),
                    left => format!("ejected for {cause}{blame}, {} left", Short(left)),
                }
            }
            Status::Probation => "on probation".into(),
            Status::Waiting => "waiting for first probe".into(),
            Status::Failing => "failing probes".into(),
            Status::Absent => "absent from DNS".into(),
            Status::Draining => by_hand("draining", Hand::Drain),
            Status::Down => by_hand("down", Hand::Down),
        }
    }
}

/// How many peers of a tier a request could get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierCount {
    /// In rotation and below `max_conns`.
    pub available: usize,
    /// All.
    pub total: usize,
}

/// An upstream at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamState {
    /// Its name.
    pub name: String,
    /// How many primaries serve.
    pub primaries: TierCount,
    /// How many backups could serve.
    pub backups: TierCount,
    /// Whether the primaries, and the backups, are in panic mode.
    pub panics: [Option<Panic>; 2],
    /// How its queue stands; none where there is none.
    pub queue: Option<QueueState>,
    /// Peers that have left lately.
    pub left: Vec<Departure>,
    /// Its peers, in order of their server lines.
    pub peers: Vec<PeerState>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_millis(1000 * seconds)
    }

    fn peer(status: Status) -> PeerState {
        PeerState {
            address: ([10, 0, 0, 1], 80).into(),
            member: Member::new(([10, 0, 0, 1], 80).into()),
            status,
            since: at(0),
            standing: Standing::default(),
            standing_since: at(0),
            probes: None,
            last_probe: None,
            requests: 0,
            failures: 0,
            in_flight: 8,
            average: None,
            median: None,
            slowest: None,
            statuses: StatusCounts::default(),
            opened: 0,
            reused: 0,
            ejections: 0,
            probes_passed: 0,
            probes_failed: 0,
            hand: Hand::Off,
            blame: None,
            pressed: false,
        }
    }

    #[test]
    fn each_state_has_its_words() {
        for (status, words) in [
            (Status::Up, "up"),
            (Status::Full, "full (8 in flight)"),
            (
                Status::Ejected { until: at(17), cause: Cause::Connect },
                "ejected for connect, 7s left",
            ),
            (
                Status::Ejected { until: at(9), cause: Cause::Answer },
                "ejected for answer, trial due",
            ),
            (Status::Probation, "on probation"),
            (Status::Waiting, "waiting for first probe"),
            (Status::Failing, "failing probes"),
            (Status::Absent, "absent from DNS"),
            (Status::Draining, "draining"),
            (Status::Down, "down"),
        ] {
            assert_eq!(peer(status).reason(at(10)), words);
        }
    }

    #[test]
    fn the_operators_word_is_named() {
        let told = |status, hand| PeerState { hand, ..peer(status) }.reason(at(10));
        assert_eq!(told(Status::Draining, Hand::Drain), "draining by hand");
        assert_eq!(told(Status::Down, Hand::Down), "down by hand");
        assert_eq!(told(Status::Failing, Hand::Drain), "failing probes, draining by hand");
        assert_eq!(told(Status::Down, Hand::Drain), "down");
    }

    #[test]
    fn what_took_it_out_is_named_where_ejections_grow() {
        let status = Status::Ejected { until: at(17), cause: Cause::Answer };
        let words = |fails, of| {
            PeerState { blame: Some(Blame { fails, of }), ..peer(status) }.reason(at(10))
        };
        assert_eq!(words(5, None), "ejected for answer, 5 in a row, 7s left");
        assert_eq!(words(12, Some(30)), "ejected for answer, 12 of 30 failed, 7s left");
        let pressed = PeerState { pressed: true, ..peer(Status::Failing) };
        assert_eq!(pressed.reason(at(10)), "failing probes, used in panic");
    }

    #[test]
    fn what_the_last_probe_met_is_named_and_cut() {
        let met = |error: &str| {
            let last_probe = Some((at(9), Err(error.to_owned())));
            PeerState { last_probe, ..peer(Status::Failing) }.reason(at(10))
        };
        let error = "status 500, expected 200-399";
        assert_eq!(met(error), "failing probes: status 500, expected 200-399");
        assert_eq!(met(&"x".repeat(1000)).len(), "failing probes: ".len() + LONGEST_ERROR);
    }
}
