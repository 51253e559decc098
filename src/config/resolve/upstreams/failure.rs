//! How failures of traffic are judged.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use crate::config::diagnostics::Diagnostics;
use crate::config::model::{Ejection, Passive};
use crate::config::raw::{self, Word};
use crate::config::resolve::leaf::Zero;

/// What holds where `passive` names no number.
const FAILURES: NonZeroU16 = NonZeroU16::MIN.saturating_add(4);
const PERCENT: u8 = 80;
const REQUESTS: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
const WINDOW: Duration = Duration::from_secs(10);

pub(super) fn passive(upstream: &raw::Upstream, diags: &mut Diagnostics) -> Option<Passive> {
    let raw = upstream.passive.as_ref()?;
    refuse_max_fails(upstream, raw, diags);
    let ejection = ejection(raw, diags);
    match (&raw.consecutive, &raw.success_rate) {
        (Some(word), None) => {
            let of_rate = [("requests", &raw.requests), ("window", &raw.window)];
            for (key, word) in of_rate {
                if let Some(word) = word {
                    diags
                        .error(&word.place, format!("`{key}` without `success_rate`"))
                        .expected("it belongs beside `success_rate`");
                }
            }
            let failures = diags.number("consecutive", number(word), 1..=u64::from(u16::MAX));
            let failures = failures.and_then(NonZeroU16::new).unwrap_or(FAILURES);
            Some(Passive::Consecutive { failures, ejection })
        }
        (None, Some(word)) => {
            let percent = diags.percent("success_rate", number(word), 1..=100).unwrap_or(PERCENT);
            let requests = diags.number("requests", raw.requests.as_ref(), 1..=u64::from(u32::MAX));
            let window = diags.time("window", raw.window.as_ref(), Zero::Refused);
            Some(Passive::SuccessRate {
                percent,
                requests: requests.and_then(NonZeroU32::new).unwrap_or(REQUESTS),
                window: window.unwrap_or(WINDOW),
                ejection,
            })
        }
        (Some(first), Some(second)) => {
            diags
                .error(&second.place, "`passive` is either `consecutive` or `success_rate`")
                .expected("this one")
                .also(&first.place, "and this one");
            None
        }
        (None, None) => {
            if !raw.broken {
                diags
                    .error(&raw.place, "`passive` does not say by what")
                    .expected("expected `consecutive` or `success_rate` in it");
            }
            None
        }
    }
}

/// The number that a word names; `on` leaves it at the usual one.
fn number(word: &Word) -> Option<&Word> {
    Some(word).filter(|word| word.value != "on")
}

fn ejection(raw: &raw::Passive, diags: &mut Diagnostics) -> Ejection {
    let default = Ejection::default();
    let first = diags.time("eject", raw.eject.as_ref(), Zero::Refused);
    let longest = diags.time("eject_max", raw.eject_max.as_ref(), Zero::Refused);
    if let (Some(first), Some(longest), Some(word), Some(short)) =
        (first, longest, &raw.eject, &raw.eject_max)
        && longest < first
    {
        diags
            .error(&short.place, "`eject_max` is shorter than `eject`")
            .expected("expected at least as long")
            .also(&word.place, "the first ejection");
    }
    let first = first.unwrap_or_else(|| default.first.min(longest.unwrap_or(default.first)));
    Ejection { first, longest: longest.unwrap_or(default.longest).max(first) }
}

/// What nginx judges by has no say beside `passive`.
fn refuse_max_fails(upstream: &raw::Upstream, raw: &raw::Passive, diags: &mut Diagnostics) {
    for line in upstream.servers.iter().flat_map(|list| &list.items) {
        let said = [("max_fails", &line.max_fails), ("fail_timeout", &line.fail_timeout)];
        for (key, word) in said {
            if let Some(word) = word {
                diags
                    .error(&word.place, format!("`{key}` has no say beside `passive`"))
                    .expected("this one")
                    .also(&raw.place, "and this one");
            }
        }
    }
}
