//! Another attempt: the question put to `exchange`, and what it takes out of the upstream's budget.
//!
//! What was taken for an attempt that then finds no peer is given back.

use super::{Client, Exchange, is_answered};
use crate::config::model::{Retry, RetryBudget};
use crate::exchange::failure::{self, Failure};
use crate::health::{Tick, clock};
use crate::observe::event;

impl Exchange {
    /// Whether another attempt may be made after `failure` of the present one.
    pub(super) fn may_retry(&mut self, session: &dyn Client, failure: &Failure) -> bool {
        // It was asked before, when the head of the answer was here.
        if self.next.is_some() {
            return true;
        }
        let attempted = failure::Attempted {
            method: &session.req_header().method,
            replayable: self.body.is_whole() || session.keeps_body(),
            answered: is_answered(session),
            // The present attempt is not among the finished ones yet.
            attempts: self.attempts.len() + 1,
            elapsed: clock::since(self.body.since(self.began)),
        };
        let mut spent = false;
        let Some(rule) = self.settings().map(|settings| &settings.retry) else { return false };
        let may = failure::may_retry(failure, &attempted, rule, |budget| {
            spent = self.spend(budget);
            spent
        });
        self.spent = spent;
        may
    }

    /// Takes an attempt out of the budget, if it is in there.
    fn spend(&self, rule: RetryBudget) -> bool {
        let Some(served) = self.served() else { return false };
        let now = Tick::now();
        let granted = served.upstream.withdraw(rule, now);
        if !granted {
            event::retries_spent(&served.spent, served.upstream.name(), now);
        }
        granted
    }

    /// Gives back what was taken for an attempt that is not made.
    pub(super) fn refund(&mut self) {
        if std::mem::take(&mut self.spent)
            && let Some(served) = self.served()
        {
            served.upstream.refund(Tick::now());
        }
    }

    /// Counts the request, where retries may cost a share of all.
    pub(super) fn deposit(&self) {
        let rule: Option<&Retry> = self.settings().map(|settings| &settings.retry);
        if rule.is_some_and(|rule| rule.budget.is_some())
            && let Some(served) = self.served()
        {
            served.upstream.deposit(Tick::now());
        }
    }
}
