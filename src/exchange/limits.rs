//! Whether a request may go on now, later or not: the limits of its route, asked once a request.
//!
//! What is decided is left in the [`Course`]: the places it holds among requests at once, what
//! `$limit_req_status` says, and whom the log is to be told of.

use std::time::Duration;

use log::Level;

use super::Course;
use super::failure::Failure;
use super::variables::Scene;
use crate::config::model::limits::{Beyond, Limits};
use crate::config::template::Template;
use crate::config::words;
use crate::health::Tick;
use crate::limits::{Asked, LONGEST_KEY, Stop, Turn, Verdict, rate::Rate, requests};

/// What limits have said to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It went on.
    Passed,
    /// It had to wait.
    Delayed,
    /// It was refused.
    Rejected,
    /// It would have had to wait.
    DelayedDryRun,
    /// It would have been refused.
    RejectedDryRun,
}

impl Said {
    /// nginx's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::Delayed => "DELAYED",
            Self::Rejected => "REJECTED",
            Self::DelayedDryRun => "DELAYED_DRY_RUN",
            Self::RejectedDryRun => "REJECTED_DRY_RUN",
        }
    }
}

/// Which table a request was stopped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// [`crate::limits::Tables::requests`] at this index.
    Requests(usize),
    /// [`crate::limits::Tables::connections`] at this index.
    Connections(usize),
}

/// A request that was stopped, for the log: the first of a zone in a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// By which zone.
    pub table: Table,
    /// What was said to it.
    pub said: Said,
    /// How severe that is.
    pub level: Level,
    /// Thousandths of a request above the rate.
    pub excess: u64,
}

/// Whether a request goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Passage {
    /// Now.
    Through,
    /// After this time.
    Wait(Duration),
    /// Not at all.
    Refused(Failure),
}

/// Asks the limits of where the request stands: requests a second before requests at once, as nginx.
pub fn pass(course: &mut Course, scene: &Scene<'_>, now: Tick) -> Passage {
    let Some(settings) = course.settings(scene.config) else { return Passage::Through };
    let limits = &settings.limits;
    if course.limit_req.is_none() && !limits.requests.is_empty() {
        match requests_a_second(limits, course, scene, now) {
            Passage::Through => {}
            stopped => return stopped,
        }
    }
    if course.limit_conn.is_none() && !limits.connections.is_empty() {
        return requests_at_once(limits, course, scene);
    }
    Passage::Through
}

/// What the key of a zone makes of a request; none where nothing is counted.
fn key(template: &Template, course: &Course, scene: &Scene<'_>) -> Option<Vec<u8>> {
    let key = scene.with(course).text(template);
    (!key.is_empty() && key.len() <= LONGEST_KEY).then_some(key)
}

fn requests_a_second(
    limits: &Limits,
    course: &mut Course,
    scene: &Scene<'_>,
    now: Tick,
) -> Passage {
    let zones = &scene.config.zones.requests;
    let counted = limits.requests.iter().filter_map(|limit| {
        let table = scene.tables.requests.get(limit.zone)?;
        Some((limit, table, key(&zones.get(limit.zone)?.key, course, scene)?))
    });
    let counted: Vec<_> = counted.collect();
    if counted.is_empty() {
        return Passage::Through;
    }
    let asked = counted.iter().map(|(limit, table, key)| Asked { limit, table, key });
    let asked: Vec<Asked<'_>> = asked.collect();
    let Beyond { status, level, dry_run } = limits.beyond_requests;
    let (by, excess, refused) = match requests::ask(&asked, now) {
        Verdict::Passed => {
            course.limit_req = Some(Said::Passed);
            return Passage::Through;
        }
        Verdict::Delayed { wait, by, excess } => (by, excess, Err(wait)),
        Verdict::Rejected { by, excess, after } => (by, excess, Ok(after)),
    };
    let said = match (&refused, dry_run) {
        (Err(_), false) => Said::Delayed,
        (Err(_), true) => Said::DelayedDryRun,
        (Ok(_), false) => Said::Rejected,
        (Ok(_), true) => Said::RejectedDryRun,
    };
    course.limit_req = Some(said);
    let Asked { limit, table, .. } = asked[by];
    let stop = match &refused {
        _ if dry_run => Stop::DryRun { refused: refused.is_ok() },
        Ok(_) => Stop::Refused,
        Err(_) => Stop::Delayed,
    };
    if table.told.note(stop) == Turn::First {
        let level = if refused.is_ok() { level } else { less(level) };
        course.stopped.push(Stopped { table: Table::Requests(limit.zone), said, level, excess });
    }
    match refused {
        _ if dry_run => Passage::Through,
        Err(wait) => Passage::Wait(wait),
        Ok(after) => Passage::Refused(Failure::Limited {
            what: "requests a second",
            zone: table.name().to_owned(),
            status,
            retry_after: limit.retry_after.then_some(after),
        }),
    }
}

/// As nginx, what is only delayed is one less severe.
fn less(level: Level) -> Level {
    match level {
        Level::Error => Level::Warn,
        _ => Level::Info,
    }
}

fn requests_at_once(limits: &Limits, course: &mut Course, scene: &Scene<'_>) -> Passage {
    let Beyond { status, level, dry_run } = limits.beyond_connections;
    for limit in &limits.connections {
        let zone = scene.config.zones.connections.get(limit.zone);
        let Some((zone, table)) = zone.zip(scene.tables.connections.get(limit.zone)) else {
            continue;
        };
        let Some(key) = key(&zone.key, course, scene) else { continue };
        if let Some(slot) = table.take(&key, limit.most) {
            course.limit_conn = Some(Said::Passed);
            course.slots.push(slot);
            continue;
        }
        course.slots.clear();
        let said = if dry_run { Said::RejectedDryRun } else { Said::Rejected };
        course.limit_conn = Some(said);
        let stop = if dry_run { Stop::DryRun { refused: true } } else { Stop::Refused };
        if table.told.note(stop) == Turn::First {
            let table = Table::Connections(limit.zone);
            course.stopped.push(Stopped { table, said, level, excess: 0 });
        }
        if dry_run {
            return Passage::Through;
        }
        return Passage::Refused(Failure::Limited {
            what: "requests at once",
            zone: table.name().to_owned(),
            status,
            retry_after: limit.retry_after.then_some(Duration::from_secs(1)),
        });
    }
    Passage::Through
}

/// How fast the answer is sent: what was set for this request before what the route says.
#[must_use]
pub fn rate(course: &Course, scene: &Scene<'_>) -> Rate {
    let Some(settings) = course.settings(scene.config) else { return Rate::default() };
    let size = |template: &Option<Template>| size(template.as_ref(), course, scene);
    let bytes = course.limit_rate.unwrap_or_else(|| size(&settings.limits.rate));
    let after = if bytes == 0 { 0 } else { size(&settings.limits.rate_after) };
    Rate { bytes, after }
}

/// How fast the answer of a peer is read.
#[must_use]
pub fn upstream_rate(course: &Course, scene: &Scene<'_>) -> Rate {
    let Some(settings) = course.settings(scene.config) else { return Rate::default() };
    Rate { bytes: size(settings.limits.upstream_rate.as_ref(), course, scene), after: 0 }
}

/// As in nginx, what is no size sets no limit.
fn size(template: Option<&Template>, course: &Course, scene: &Scene<'_>) -> u64 {
    let Some(template) = template else { return 0 };
    let text = scene.with(course).text(template);
    std::str::from_utf8(&text).ok().and_then(|text| words::size(text).ok()).unwrap_or(0)
}
