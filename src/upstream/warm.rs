//! Slow start: a peer that is new or back grows to its weight (`slow_start=` of nginx Plus).
//!
//! It grows linearly, in 20 steps as HAProxy's `slowstart`, from the moment it enters the rotation:
//! because it joined an upstream that had peers, its ejection is over, its probes pass again,
//! its name has its address again, or the operator has undrained it. The peers that an upstream
//! begins with have their whole weight at once, since shares are relative; with probes, at their first pass.
//! The weights are part of a set. Whoever makes one asks here; a timer asks again while any peer grows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Peer;
use crate::health::Tick;

/// Steps to the whole weight.
const STEPS: u64 = 20;
/// A step lasts at least so long, or the rotation would be made anew all the time; a shorter
/// `slow_start` has fewer steps.
const SHORTEST_STEP: Duration = Duration::from_millis(100);
/// And at most so long: with many peers that grow, each has its steps at other times.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// How far one peer has grown. Written only under the upstream's lock.
#[derive(Debug, Default)]
pub(super) struct Warmth {
    /// Whether the peer is in rotation.
    rotating: AtomicBool,
    /// Whether it is one of those that the upstream began with, and was not out since.
    original: AtomicBool,
    /// When it began to grow, in milliseconds.
    begun: AtomicU64,
    /// Whether it may not have its whole weight yet.
    growing: AtomicBool,
}

impl Warmth {
    /// The peer is one of those that the upstream begins with.
    pub(super) fn begin_warm(&self) {
        self.original.store(true, Relaxed);
    }

    /// Takes note of whether the peer is in rotation, and if not, whether that is for want of a first probe only.
    pub(super) fn turn(&self, rotating: bool, waiting: bool, now: Tick) {
        let enters = rotating && !self.rotating.swap(rotating, Relaxed);
        if enters && !self.original.load(Relaxed) {
            self.begun.store(now.as_millis(), Relaxed);
            self.growing.store(true, Relaxed);
        }
        if !rotating {
            self.rotating.store(false, Relaxed);
            if !waiting {
                self.original.store(false, Relaxed);
            }
        }
    }

    /// How many of its steps the peer has made, at least one; none when it has its whole weight.
    fn steps(&self, slow_start: Duration, now: Tick) -> Option<u64> {
        if !self.growing.load(Relaxed) {
            return None;
        }
        let grown = now.as_millis().saturating_sub(self.begun.load(Relaxed));
        let whole = u64::try_from(slow_start.as_millis()).unwrap_or(u64::MAX);
        let steps = grown.saturating_mul(STEPS).checked_div(whole).filter(|n| *n < STEPS);
        if steps.is_none() {
            self.growing.store(false, Relaxed);
        }
        steps.map(|steps| steps.max(1))
    }
}

/// The weights of one moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Weights {
    /// For each peer, relative to the others; at least 1.
    pub(super) of: Box<[u32]>,
    /// When to work them out again; none when each peer has its whole weight.
    pub(super) next: Option<Duration>,
}

impl Weights {
    /// Those of peers whose rotation was noted.
    pub(super) fn at(peers: &[Peer], now: Tick) -> Self {
        let steps = |peer: &Peer| peer.warmth().steps(peer.member().slow_start, now);
        let steps: Vec<Option<u64>> = peers.iter().map(steps).collect();
        let growing = || peers.iter().zip(&steps).filter(|(_, steps)| steps.is_some());
        let next = growing().map(|(peer, _)| {
            let step = peer.member().slow_start / STEPS as u32;
            step.clamp(SHORTEST_STEP, LONGEST_STEP)
        });
        let next = next.min();
        let scale = |(peer, steps): (&Peer, &Option<u64>)| {
            let weight = peer.member().weight.max(1);
            match next {
                // Small numbers make short cycles.
                None => weight,
                Some(_) => {
                    let weight = u64::from(weight) * steps.unwrap_or(STEPS);
                    u32::try_from(weight).unwrap_or(u32::MAX)
                }
            }
        };
        Self { of: peers.iter().zip(&steps).map(scale).collect(), next }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::health::{Outcome, ProbeRule};
    use crate::upstream::{Hand, Key, Lease, Member, Method, Tried, Upstream};

    fn at(millis: u64) -> Tick {
        Tick::from_millis(1_000_000 + millis)
    }

    fn member(port: u16) -> Member {
        let slow_start = Duration::from_secs(10);
        Member { slow_start, ..Member::new(([127, 0, 0, 1], port).into()) }
    }

    /// Two peers that have served for long.
    fn upstream(method: &Method) -> Upstream {
        let u = Upstream::new("test", method, None);
        u.publish(&[member(1), member(2)], at(0));
        u
    }

    fn pick(u: &Upstream, now: Tick) -> Lease {
        u.pick(&Key::default(), &Tried::default(), now).expect("a peer is available")
    }

    /// How many of so many requests the peer gets, each answered before the next.
    fn share(u: &Upstream, port: u16, of: usize, now: Tick) -> usize {
        (0..of).filter(|_| pick(u, now).address().port() == port).count()
    }

    #[test]
    fn those_that_an_upstream_begins_with_have_their_weight_at_once() {
        let u = upstream(&Method::RoundRobin);
        assert_eq!(share(&u, 1, 10, at(0)), 5);
        assert_eq!(u.warm(at(0)), None);
    }

    #[test]
    fn a_new_peer_grows_linearly_to_its_weight() {
        let u = upstream(&Method::RoundRobin);
        u.publish(&[member(1), member(2), member(3)], at(0));
        // Steps of two thousandth, then shares of a cycle of 20 + 20 + steps.
        for (millis, steps) in [(0, 1), (999, 1), (1000, 2), (2500, 5), (5000, 10), (9999, 19)] {
            assert_eq!(u.warm(at(millis)), Some(Duration::from_millis(500)));
            assert_eq!(share(&u, 3, 40 + steps, at(millis)), steps, "after {millis} ms");
        }
        assert_eq!(u.warm(at(10_000)), None);
        assert_eq!(share(&u, 3, 30, at(10_000)), 10);
    }

    #[test]
    fn it_grows_to_the_weight_that_is_written() {
        let u = upstream(&Method::RoundRobin);
        u.publish(&[member(1), member(2), Member { weight: 4, ..member(3) }], at(0));
        u.warm(at(5000));
        assert_eq!(share(&u, 3, 40, at(5000)), 20);
    }

    #[test]
    fn one_that_is_readmitted_grows_again() {
        let u = upstream(&Method::RoundRobin);
        u.report(&u.peers()[0], Outcome::ConnectFailure, at(0));
        u.connected(&u.peers()[0], at(3000));
        assert_eq!(share(&u, 1, 21, at(3000)), 1);
        u.warm(at(8000));
        assert_eq!(share(&u, 1, 30, at(8000)), 10);
        u.report(&u.peers()[0], Outcome::ConnectFailure, at(8000));
        u.connected(&u.peers()[0], at(9000));
        assert_eq!(share(&u, 1, 21, at(9000)), 1, "from the beginning");
        assert_eq!(share(&u, 1, 21, at(50_000)), 1, "a request does not work it out");
        assert_eq!(u.warm(at(50_000)), None);
        assert_eq!(share(&u, 1, 20, at(50_000)), 10);
    }

    #[test]
    fn one_that_is_undrained_grows_again() {
        let u = upstream(&Method::RoundRobin);
        u.tell(&u.peers()[0], Hand::Drain, at(0));
        assert_eq!(u.warm(at(0)), None);
        u.tell(&u.peers()[0], Hand::Off, at(1000));
        assert_eq!(share(&u, 1, 21, at(1000)), 1);
    }

    #[test]
    fn with_probes_it_grows_from_the_pass_unless_the_upstream_began_with_it() {
        let (rise, fall) = (NonZeroU32::MIN, NonZeroU32::MIN.saturating_add(1));
        let u = Upstream::new("test", &Method::RoundRobin, Some(ProbeRule::new(rise, fall)));
        u.publish(&[member(1), member(2)], at(0));
        let passes = |index: usize, now| u.probed(&u.peers()[index], Ok(Duration::ZERO), now);
        passes(0, at(10));
        passes(1, at(20));
        assert_eq!(share(&u, 2, 10, at(20)), 5);
        u.publish(&[member(1), member(2), member(3)], at(30));
        assert_eq!(u.warm(at(30)), None, "it waits");
        passes(2, at(5000));
        assert_eq!(share(&u, 3, 41, at(5000)), 1);
        for now in [at(6000), at(7000)] {
            u.probed(&u.peers()[1], Err("refused".to_owned()), now);
        }
        passes(1, at(15_000));
        assert_eq!(share(&u, 2, 41, at(15_000)), 1, "it is back");
    }

    #[test]
    fn when_all_were_out_they_grow_together() {
        let u = upstream(&Method::RoundRobin);
        u.peers().iter().for_each(|p| drop(u.report(p, Outcome::ConnectFailure, at(0))));
        u.connected(&u.peers()[0], at(1000));
        assert_eq!(share(&u, 1, 10, at(1000)), 10);
        u.connected(&u.peers()[1], at(2000));
        u.warm(at(6000));
        // After 5 s and 4 s.
        assert_eq!(share(&u, 2, 18, at(6000)), 8);
    }

    #[test]
    fn without_slow_start_it_has_its_weight_at_once() {
        let u = upstream(&Method::RoundRobin);
        let fast = Member { slow_start: Duration::ZERO, ..member(3) };
        u.publish(&[member(1), member(2), fast], at(0));
        assert_eq!(u.warm(at(0)), None);
        assert_eq!(share(&u, 3, 30, at(0)), 10);
    }

    #[test]
    fn a_step_is_a_twentieth_but_no_timer_runs_wild() {
        for (slow_start, step) in [(1, 100), (4000, 200), (3_600_000, 1000)] {
            let u = upstream(&Method::RoundRobin);
            let new = Member { slow_start: Duration::from_millis(slow_start), ..member(3) };
            u.publish(&[member(1), member(2), new], at(0));
            assert_eq!(u.warm(at(0)), Some(Duration::from_millis(step)));
        }
    }

    #[test]
    fn the_least_busy_methods_hold_as_much_there_as_has_grown() {
        let measure = crate::upstream::Measure::Header;
        let methods = [Method::LeastConn, Method::LeastTime { measure, in_flight: false }];
        for method in methods {
            let u = upstream(&method);
            u.publish(&[member(1), member(2), member(3)], at(0));
            u.warm(at(5000));
            let held: Vec<Lease> = (0..50).map(|_| pick(&u, at(5000))).collect();
            let there = held.iter().filter(|lease| lease.address().port() == 3).count();
            // A half of what each of the others has, of 50; least_time counts the new one, too.
            assert!((9..=10).contains(&there), "{method:?}: {there}");
        }
    }

    #[test]
    fn lots_fall_as_often_as_has_grown() {
        // A fifth by one lot. The second of two that differ is it in 2 * 2/5 * (1/5) / (3/5): 0.267.
        for (method, expected) in [(Method::Random, 2000), (Method::Ewma, 2667)] {
            fastrand::seed(11);
            let u = upstream(&method);
            u.publish(&[member(1), member(2), member(3)], at(0));
            u.warm(at(5000));
            let share = share(&u, 3, 10_000, at(5000));
            // Four standard deviations are 177.
            assert!(share.abs_diff(expected) < 177, "{method:?}: {share}");
        }
    }
}
