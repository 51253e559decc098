//! What probes have shown of a peer: a record for each health check, and what follows from all of them.
//!
//! A peer has to pass every check. Of several the one that fails speaks for all, so that what it met is told and not
//! the pass of another.

use std::time::Duration;

use crate::health::{ProbeRule, Tick, Verdict};

/// When a probe ended, and how long it took or what it met.
pub(super) type Probed = (Tick, Result<Duration, String>);

/// What one health check has shown.
#[derive(Debug)]
struct Shown {
    rule: ProbeRule,
    verdict: Verdict,
    /// Whether it has ever passed.
    passed: bool,
    last: Option<Probed>,
    /// Probes in a row that ended like the last one.
    in_a_row: u32,
}

/// What probes have shown of one peer.
#[derive(Debug)]
pub(super) struct ProbeRecord {
    checks: Box<[Shown]>,
    since: Tick,
}

/// The same for whoever shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probes {
    /// What all checks have shown together.
    pub verdict: Verdict,
    /// Since when.
    pub since: Tick,
    /// Probes in a row that ended like the last one, of the check that decides.
    pub in_a_row: u32,
}

impl ProbeRecord {
    pub(super) fn new(rules: &[ProbeRule], now: Tick) -> Self {
        let shown = |rule: &ProbeRule| Shown {
            rule: *rule,
            verdict: Verdict::default(),
            passed: false,
            last: None,
            in_a_row: 0,
        };
        Self { checks: rules.iter().map(shown).collect(), since: now }
    }

    /// What all checks have shown together.
    pub(super) fn verdict(&self) -> Verdict {
        let verdicts: Vec<Verdict> = self.checks.iter().map(|check| check.verdict).collect();
        Verdict::of_all(&verdicts)
    }

    /// Since when.
    pub(super) fn since(&self) -> Tick {
        self.since
    }

    /// Whether it has ever passed.
    pub(super) fn has_passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.passed)
    }

    /// Whether a check has to decide before it is trusted. Who has passed before and is doubted waits for those,
    /// too, that a new peer need not wait for.
    pub(super) fn waits(&self) -> bool {
        let waits = |check: &Shown| {
            let unknown = matches!(check.verdict, Verdict::Unknown { .. });
            unknown && (check.rule.mandatory || check.passed)
        };
        self.checks.iter().any(waits)
    }

    /// How the probe ended that says most: the last one of the check that fails, or else of all.
    pub(super) fn last(&self) -> Option<&Probed> {
        self.telling()?.last.as_ref()
    }

    /// What is shown of it; none where nobody is probed.
    pub(super) fn shown(&self) -> Option<Probes> {
        if self.checks.is_empty() {
            return None;
        }
        let in_a_row = self.telling().map_or(0, |check| check.in_a_row);
        Some(Probes { verdict: self.verdict(), since: self.since, in_a_row })
    }

    fn telling(&self) -> Option<&Shown> {
        let failing = self.checks.iter().find(|check| check.verdict.is_failing());
        let ended = |check: &&Shown| check.last.as_ref().map(|(at, _)| *at);
        failing.or_else(|| self.checks.iter().max_by_key(ended))
    }

    /// Writes down how a probe of one check ended; what follows, if that is of another kind than before.
    pub(super) fn note(
        &mut self,
        check: usize,
        result: Result<Duration, String>,
        now: Tick,
    ) -> Option<Verdict> {
        let before = self.verdict();
        let shown = self.checks.get_mut(check)?;
        let passed = result.is_ok();
        let like_the_last = shown.last.as_ref().is_some_and(|(_, last)| last.is_ok() == passed);
        shown.in_a_row = if like_the_last { shown.in_a_row.saturating_add(1) } else { 1 };
        shown.last = Some((now, result));
        shown.verdict = shown.verdict.after(passed, shown.rule);
        shown.passed |= shown.verdict.is_passing();
        let after = self.verdict();
        if std::mem::discriminant(&before) == std::mem::discriminant(&after) {
            return None;
        }
        self.since = now;
        Some(after)
    }

    /// Forgets what has been shown but that it has passed.
    pub(super) fn forget(&mut self, now: Tick) {
        self.checks.iter_mut().for_each(|check| check.verdict = Verdict::default());
        self.since = now;
    }

    /// It has passed before a reload: those checks that are persistent take its word for it.
    pub(super) fn has_passed_before(&mut self) {
        for check in self.checks.iter_mut().filter(|check| check.rule.persistent) {
            (check.verdict, check.passed) = (Verdict::Passing { fails: 0 }, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::{Member, Method, Peer, Status, Upstream};
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_millis(1000 * seconds)
    }

    fn record(checks: usize) -> ProbeRecord {
        let rule = ProbeRule::new(NonZeroU32::MIN, NonZeroU32::MIN);
        ProbeRecord::new(&vec![rule; checks], at(0))
    }

    const PASS: Result<Duration, String> = Ok(Duration::from_millis(1));

    #[test]
    fn a_peer_passes_once_every_check_does() {
        let mut record = record(2);
        assert_eq!(record.note(0, PASS, at(1)), None);
        assert!(record.waits() && !record.has_passed());
        assert!(record.note(1, PASS, at(2)).is_some_and(Verdict::is_passing));
        assert!(!record.waits() && record.has_passed());
    }

    #[test]
    fn what_the_failing_check_met_is_told() {
        let mut record = record(2);
        record.note(0, Err("status 503".into()), at(1));
        record.note(1, PASS, at(2));
        record.note(1, PASS, at(3));
        assert_eq!(record.last(), Some(&(at(1), Err("status 503".into()))));
        let shown = record.shown().expect("it is probed");
        assert_eq!((shown.in_a_row, shown.since), (1, at(1)));
        assert!(record.note(0, PASS, at(4)).is_some_and(Verdict::is_passing));
    }

    #[test]
    fn without_mandatory_a_new_peer_waits_for_nothing_and_a_doubted_one_does() {
        let rule =
            ProbeRule { mandatory: false, ..ProbeRule::new(NonZeroU32::MIN, NonZeroU32::MIN) };
        let mut record = ProbeRecord::new(&[rule], at(0));
        assert!(!record.waits());
        record.note(0, PASS, at(1));
        record.forget(at(2));
        assert!(record.waits());
    }

    #[test]
    fn a_pass_from_before_a_reload_counts_where_the_check_is_persistent() {
        let member = |port: u16| Member::new(([127, 0, 0, 1], port).into());
        for persistent in [false, true] {
            let one = NonZeroU32::MIN;
            let rule = ProbeRule { persistent, ..ProbeRule::new(one, one) };
            let upstream = || Upstream::new("test", &Method::default(), Some(rule));
            let before = upstream();
            before.publish(&[member(1), member(2)], at(0));
            let peers = before.peers();
            before.probed(&peers[0], PASS, at(1));
            before.probed(&peers[1], Err("status 503".into()), at(1));

            let after = upstream();
            after.inherit_passes(&before);
            after.publish(&[member(1), member(2), member(3)], at(2));
            let waits = |peer: &Peer| peer.state(at(2)).status == Status::Waiting;
            let waiting: Vec<bool> = after.peers().iter().map(waits).collect();
            assert_eq!(waiting, [!persistent, true, true]);
        }
    }
}
