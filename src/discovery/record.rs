//! What is known of one host name, and how an answer changes that.

use super::{Address, Answer, Event, Found, Reason};
use crate::config::model::Host;
use crate::health::Tick;

/// Whether a name's last lookup was good, and if not which news of it has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Condition {
    /// Good, or not known yet: nothing to recover from.
    #[default]
    Good,
    /// The last lookup failed; older addresses stand in.
    Kept,
    /// It has no address any more.
    Gone,
    /// It never had one.
    Unresolved,
}

/// A host name and what is known of it.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) condition: Condition,
    /// The last good answer.
    pub(super) known: Option<Found>,
    /// Why the last lookup was not good.
    pub(super) reason: Option<Reason>,
    /// Lookups that were good.
    pub(super) good: u64,
    /// Lookups that were not.
    pub(super) bad: u64,
    /// When the last good one ended.
    pub(super) good_at: Option<Tick>,
}

impl Record {
    /// The last good answer's, also while it is gone.
    pub(super) fn addresses(&self) -> &[Address] {
        self.known.as_ref().map_or(&[], |found| &found.addresses)
    }

    /// Takes an answer into account and returns what there is to tell.
    pub(super) fn learn(&mut self, answer: Answer, host: &Host, now: Tick) -> Option<Event> {
        let before = self.condition;
        // That a name is gone is an answer, too.
        if matches!(&answer, Answer::Failed(_)) {
            self.bad += 1;
        } else {
            self.good += 1;
            self.good_at = Some(now);
        }
        let host = || host_name(host);
        match answer {
            Answer::Found(mut found) => {
                self.reason = found.missing.take();
                if self.reason.is_some() && before != Condition::Gone {
                    found = found.with_old(self.addresses());
                }
                let addresses = found.addresses.len();
                self.known = Some(found);
                if let Some(error) = self.reason.clone() {
                    self.condition = Condition::Kept;
                    let event = Event::RefreshFailed { host: host(), error, kept: addresses };
                    return (before != Condition::Kept).then_some(event);
                }
                self.condition = Condition::Good;
                (before != Condition::Good).then(|| Event::Recovered { host: host(), addresses })
            }
            Answer::Gone(reason) | Answer::Failed(reason) if self.known.is_none() => {
                self.condition = Condition::Unresolved;
                self.reason = Some(reason.clone());
                let event = Event::Unresolved { host: host(), error: reason };
                (before != Condition::Unresolved).then_some(event)
            }
            Answer::Gone(reason) => {
                self.condition = Condition::Gone;
                self.reason = Some(reason.clone());
                (before != Condition::Gone).then(|| Event::Gone { host: host(), reason })
            }
            // What is gone stays gone until it is found: a failure brings no address back.
            Answer::Failed(_) if before == Condition::Gone => None,
            Answer::Failed(error) => {
                self.condition = Condition::Kept;
                self.reason = Some(error.clone());
                let kept = self.addresses().len();
                let event = Event::RefreshFailed { host: host(), error, kept };
                (before != Condition::Kept).then_some(event)
            }
        }
    }
}

/// The host as written.
pub(super) fn host_name(host: &Host) -> String {
    match host {
        Host::Address(ip) => ip.to_string(),
        Host::Unix(path) => format!("unix:{}", path.display()),
        Host::Name(name) | Host::Service(name) => name.clone(),
    }
}
