//! Panic mode: when too many peers of a tier are out for failures, all are used, because then it is the judgement that
//! is likely wrong, or the rest cannot bear it (Envoy's panic threshold).
//!
//! It is judged when a set is made, never by a request. What is out on purpose (down, draining) or is not there (absent)
//! does not count. One whose last sign was a failed connect is not used: that is no judgement, nobody is there; where
//! only such are out there is no panic. Primaries panic only while no backup is available: it is for this that
//! there are backups.

use super::set::Gate;
use super::{Change, Event, Hand, Peer, Tier, Upstream};
use crate::health::Tick;

/// How many peers of a tier are out for failures while all are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panic {
    /// Out for failures of traffic or of probes.
    pub out: u32,
    /// Peers that could serve but for that.
    pub of: u32,
}

/// Panic mode has begun or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanicTurn {
    /// Where.
    pub tier: Tier,
    /// That it has begun; none that it has ended.
    pub panic: Option<Panic>,
}

/// How it stands with both tiers.
pub(super) type Panics = [Option<Panic>; 2];

/// Judges both tiers and opens the gates of peers that are used although they are out.
pub(super) fn press(peers: &[Peer], gates: &mut [Gate], percent: Option<u8>) -> Panics {
    let Some(percent) = percent else { return Panics::default() };
    let backup = peers.iter().zip(&*gates).any(|(peer, gate)| {
        peer.member().tier == Tier::Backup && *gate == Gate::Open && peer.standing().is_up()
    });
    let primaries = if backup { None } else { press_tier(peers, gates, Tier::Primary, percent) };
    [primaries, press_tier(peers, gates, Tier::Backup, percent)]
}

fn press_tier(peers: &[Peer], gates: &mut [Gate], tier: Tier, percent: u8) -> Option<Panic> {
    let mut panic = Panic { out: 0, of: 0 };
    let mut pressed = Vec::new();
    for (index, (peer, gate)) in peers.iter().zip(&*gates).enumerate() {
        let drains = peer.member().drain || peer.hand() == Hand::Drain;
        if peer.member().tier != tier || drains {
            continue;
        }
        let out = match gate {
            Gate::Failing => true,
            Gate::Open => !peer.standing().is_up(),
            Gate::Waiting => false,
            Gate::Down | Gate::Draining | Gate::Absent | Gate::Pressed => continue,
        };
        panic.of += 1;
        panic.out += u32::from(out);
        if out && !peer.refuses() {
            pressed.push(index);
        }
    }
    let too_many = u64::from(panic.out) * 100 > u64::from(panic.of) * u64::from(percent);
    if !too_many || pressed.is_empty() {
        return None;
    }
    for index in pressed {
        gates[index] = Gate::Pressed;
    }
    Some(panic)
}

/// What has changed since it was last told.
pub(super) fn turns(told: &mut Panics, now: Panics) -> Vec<PanicTurn> {
    let changed = |tier: &Tier| told[*tier as usize].is_some() != now[*tier as usize].is_some();
    let changed: Vec<Tier> = [Tier::Primary, Tier::Backup].into_iter().filter(changed).collect();
    *told = now;
    changed.into_iter().map(|tier| PanicTurn { tier, panic: now[tier as usize] }).collect()
}

impl Upstream {
    /// Takes note of whether a connect to the peer, by a request or by us, has succeeded. It takes nobody out and
    /// brings nobody back; whether a peer that is out may be used in panic depends on it.
    pub fn connects(&self, peer: &Peer, connects: bool, now: Tick) -> Option<Event> {
        let news = peer.set_refuses(!connects) && self.policy().panic.is_some();
        let out = || peer.verdict().is_failing() || !peer.standing().is_up();
        (news && out()).then(|| self.turned(peer, now, Change::Connects(connects)))?
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::super::{Key, Member, Policy, Tried};
    use super::*;
    use crate::health::{Outcome, ProbeRule};

    fn at(seconds: u64) -> Tick {
        Tick::from_millis(1_000_000 + seconds * 1000)
    }

    fn member(port: u16) -> Member {
        Member::new(([127, 0, 0, 1], port).into())
    }

    fn backup(port: u16) -> Member {
        Member { tier: Tier::Backup, ..member(port) }
    }

    fn upstream(members: &[Member]) -> Upstream {
        let upstream = Upstream::with("test", Policy { panic: Some(50), ..Policy::default() });
        upstream.publish(members, at(0));
        upstream
    }

    fn five() -> Upstream {
        upstream(&[1, 2, 3, 4, 5].map(member))
    }

    /// Ejects peers for what they answer, by their places; what that makes of panic.
    fn eject(u: &Upstream, places: &[usize]) -> Vec<PanicTurn> {
        report(u, places, Outcome::Failure, at(0))
    }

    fn report(u: &Upstream, places: &[usize], outcome: Outcome, now: Tick) -> Vec<PanicTurn> {
        let peers = u.peers();
        let events = places.iter().filter_map(|place| u.report(&peers[*place], outcome, now));
        events.flat_map(|event| event.panics).collect()
    }

    /// Who gets the next requests, in order of the ports.
    fn served(u: &Upstream, count: usize, now: Tick) -> Vec<u16> {
        let pick = || u.pick(&Key::default(), &Tried::default(), now).expect("a peer is used");
        let mut ports: Vec<u16> = (0..count).map(|_| pick().address().port()).collect();
        ports.sort_unstable();
        ports
    }

    fn began(tier: Tier, out: u32, of: u32) -> PanicTurn {
        PanicTurn { tier, panic: Some(Panic { out, of }) }
    }

    const OVER: PanicTurn = PanicTurn { tier: Tier::Primary, panic: None };

    #[test]
    fn a_success_in_panic_brings_its_peer_back_and_may_end_it() {
        let u = five();
        for index in 0..3 {
            u.report(&u.peers()[index], Outcome::Failure, at(1));
        }
        assert_eq!(u.snapshot(at(1)).panics[0], Some(Panic { out: 3, of: 5 }));
        let event = u.report(&u.peers()[0], Outcome::Success, at(2)).expect("it is back");
        assert_eq!(event.change, Change::Readmitted);
        assert_eq!(u.snapshot(at(2)).panics[0], None);
        assert_eq!(u.report(&u.peers()[1], Outcome::Success, at(2)), None, "panic is over");
    }

    #[test]
    fn when_more_than_the_share_is_out_all_are_used() {
        let u = five();
        assert_eq!(eject(&u, &[0, 1]), []);
        assert_eq!(served(&u, 6, at(1)), [3, 3, 4, 4, 5, 5]);
        assert_eq!(eject(&u, &[2]), [began(Tier::Primary, 3, 5)]);
        assert_eq!(served(&u, 10, at(1)), [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
        assert_eq!(eject(&u, &[3, 4]), [], "it is told once");
        assert_eq!(served(&u, 5, at(1)), [1, 2, 3, 4, 5]);
        let state = u.snapshot(at(1));
        assert_eq!(state.panics, [Some(Panic { out: 5, of: 5 }), None]);
        assert_eq!(state.primaries.available, 5);
        let words = "ejected for answer, 9s left, used in panic";
        assert_eq!(state.peers[0].reason(at(1)), words);
    }

    #[test]
    fn half_is_not_more_than_half() {
        let u = upstream(&[1, 2].map(member));
        assert_eq!(eject(&u, &[0]), []);
        assert_eq!(eject(&u, &[1]), [began(Tier::Primary, 2, 2)]);
    }

    #[test]
    fn it_ends_when_enough_have_proved_themselves() {
        let u = five();
        eject(&u, &[0, 1, 2]);
        // Their time is over: each gets one attempt from the next requests.
        let trial = |_| u.pick(&Key::default(), &Tried::default(), at(10)).expect("a peer");
        let trials: Vec<u16> = (0..3).map(trial).map(|lease| lease.address().port()).collect();
        assert_eq!(trials, [1, 2, 3]);
        assert_eq!(report(&u, &[0], Outcome::Success, at(10)), [OVER]);
        assert_eq!(served(&u, 6, at(10)), [1, 1, 4, 4, 5, 5]);
    }

    #[test]
    fn one_whose_last_sign_was_a_failed_connect_is_not_used() {
        let u = five();
        eject(&u, &[0, 1]);
        let connect = |places: &[usize], now| report(&u, places, Outcome::ConnectFailure, now);
        assert_eq!(connect(&[2], at(0)), [began(Tier::Primary, 3, 5)]);
        assert_eq!(served(&u, 4, at(1)), [1, 2, 4, 5]);
        // A request finds out that nobody is there any more.
        assert_eq!(connect(&[0], at(1)), []);
        assert_eq!(served(&u, 3, at(1)), [2, 4, 5]);
        assert_eq!(connect(&[1], at(1)), [OVER], "only such are out");
        assert_eq!(served(&u, 4, at(1)), [4, 4, 5, 5]);
        assert!(u.unreachable(&u.peers()[1], at(1)).is_none(), "that is known");
        // One takes connects again, but it was ejected for what it answers.
        let event = u.connects(&u.peers()[0], true, at(1)).expect("it is out");
        assert_eq!(event.panics, [began(Tier::Primary, 3, 5)]);
        assert_eq!(served(&u, 3, at(1)), [1, 4, 5]);
    }

    #[test]
    fn what_is_out_on_purpose_does_not_count() {
        let down = |port| Member { down: true, ..member(port) };
        let drain = Member { drain: true, ..member(5) };
        let u = upstream(&[member(1), member(2), down(3), down(4), drain]);
        assert_eq!(eject(&u, &[0]), []);
        assert_eq!(eject(&u, &[1]), [began(Tier::Primary, 2, 2)]);
        assert_eq!(served(&u, 4, at(1)), [1, 1, 2, 2]);
        let event = u.tell(&u.peers()[0], Hand::Down, at(1)).expect("it is told");
        assert_eq!(event.panics, [], "one of one is out");
        assert_eq!(served(&u, 2, at(1)), [2, 2]);
    }

    #[test]
    fn primaries_panic_only_while_no_backup_is_available() {
        let u = upstream(&[member(1), member(2), member(3), backup(4)]);
        assert_eq!(eject(&u, &[0, 1]), []);
        assert_eq!(served(&u, 2, at(1)), [3, 3]);
        assert_eq!(eject(&u, &[2]), []);
        assert_eq!(served(&u, 2, at(1)), [4, 4]);
        assert_eq!(eject(&u, &[3]), [began(Tier::Primary, 3, 3), began(Tier::Backup, 1, 1)]);
        assert_eq!(served(&u, 3, at(1)), [1, 2, 3]);
    }

    #[test]
    fn failing_probes_count_and_a_pass_ends_it() {
        let one = NonZeroU32::MIN;
        let probes = [ProbeRule::new(one, one)].into();
        let u = Upstream::with("test", Policy { panic: Some(50), probes, ..Policy::default() });
        u.publish(&[1, 2, 3].map(member), at(0));
        let probe = |place: usize, result: Result<Duration, String>| {
            let event = u.probed(&u.peers()[place], result, at(0));
            event.map(|event| event.panics).unwrap_or_default()
        };
        let failed = || Err("status 503".to_owned());
        (0..3).for_each(|place| drop(probe(place, Ok(Duration::ZERO))));
        assert_eq!(probe(0, failed()), []);
        assert_eq!(served(&u, 4, at(1)), [2, 2, 3, 3]);
        assert_eq!(probe(1, failed()), [began(Tier::Primary, 2, 3)]);
        assert_eq!(served(&u, 3, at(1)), [1, 2, 3]);
        assert_eq!(probe(1, Ok(Duration::ZERO)), [OVER]);
        assert_eq!(served(&u, 4, at(1)), [2, 2, 3, 3]);
        // It waits for what it drains for, whatever its probes say.
        u.tell(&u.peers()[0], Hand::Drain, at(1));
        assert_eq!(probe(1, failed()), []);
        assert_eq!(served(&u, 2, at(1)), [3, 3]);
    }

    #[test]
    fn without_a_share_nobody_panics() {
        let u = Upstream::with("test", Policy::default());
        u.publish(&[1, 2, 3].map(member), at(0));
        assert_eq!(eject(&u, &[0, 1]), []);
        assert_eq!(served(&u, 2, at(1)), [3, 3]);
    }
}
