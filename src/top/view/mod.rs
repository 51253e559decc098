//! How the board looks: lines for a width, and the frame that a terminal shows of them.
//!
//! ```text
//! robin top  06:40:11  2 upstreams  3/4 peers up  41 req/s
//!   peer            state              for req/s  share flight   p50   p99  4xx  5xx
//! back-end  2/3 up  27 req/s ▁▂▃▄▅▆▇█
//!   990 2xx  3 4xx  12 5xx (502 9, 504 3)  14 retries  2 ejections  p50 4ms  p99 31ms
//! + 172.18.0.4:5252 up               3m12s    14  50.0%      2   4ms  31ms         6
//! ! 172.18.0.5:5252 ejected for con…    3s     0  49.7%      0   4ms  31ms         6
//!     ejected for connect, 7s left
//! ```
//!
//! Marks and words are those of the dashboard. All text from outside is made printable: no byte of it reaches
//! the terminal as a command.

mod columns;
mod frame;
mod print;

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

pub(super) use frame::{Screen, draw};
pub(super) use print::text;

use super::board::{Board, Group, Happening, Peer, SECONDS};
use crate::health::Short;
use columns::{Columns, shown};

/// The first line: when it is, and how all stand.
fn header(board: &Board) -> Line<'static> {
    let peers = board.groups.iter().flat_map(Group::counts);
    let (up, all) = peers.fold((0, 0), |(up, all), (more, of)| (up + more, all + of));
    let upstreams = match board.groups.len() {
        0 => "no upstreams yet".to_owned(),
        1 => format!("1 upstream  {up}/{all} peers up"),
        count => format!("{count} upstreams  {up}/{all} peers up"),
    };
    let rate = match board.mean() {
        0.0 => String::new(),
        mean => format!("  {} req/s", rate(mean)),
    };
    let own = match board.own.total() {
        0 => String::new(),
        own => format!("  {} of no upstream", short_count(own)),
    };
    Line::from(vec![
        Span::styled("robin top", Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {}  {upstreams}{rate}{own}", clock(board.now))),
    ])
}

/// The titles, and what stands below them.
fn body(board: &Board, width: usize) -> (Line<'static>, Vec<Line<'static>>) {
    let columns = Columns::fitting(board, width);
    let mut lines = Vec::new();
    for group in &board.groups {
        lines.push(heading(board, group, width));
        lines.extend(totals(group, width));
        if let Some(trouble) = &group.trouble {
            let text = cut(&format!("  {}", clean(trouble)), width);
            lines.push(Line::from(Span::styled(text, Style::new().fg(Color::Red))));
        }
        for peer in shown(group, board.now) {
            lines.extend(columns.rows(board, group, peer));
        }
    }
    (columns.titles(), lines)
}

/// An upstream's name, how many of its peers are up, and how often it is asked.
fn heading(board: &Board, group: &Group, width: usize) -> Line<'static> {
    let [(up, all), (backups_up, backups)] = group.counts();
    let (text, colour) = match (up, all) {
        (_, 0) => ("no addresses".to_owned(), Color::Red),
        (0, all) => (format!("NONE of {all} up"), Color::Red),
        (up, all) if up < all => (format!("{up}/{all} up"), Color::Yellow),
        (up, all) => (format!("{up}/{all} up"), Color::Green),
    };
    let backups = match backups {
        0 => String::new(),
        all => format!(", backups {backups_up}/{all}"),
    };
    let panic = if group.panic { ", panic" } else { "" };
    let source = match board.has_several_sources() && !group.source.is_empty() {
        true => format!("{}/", clean(&group.source)),
        false => String::new(),
    };
    let name = format!("{source}{}", clean(&group.name));
    let rate = format!("  {} req/s ", rate(group.rate.mean(board.now)));
    let used: usize =
        [&name, "  ", &text, &backups, panic, &rate].iter().map(|s| s.chars().count()).sum();
    let room = width.saturating_sub(used).min(SECONDS);
    let spark = sparkline(&group.rate.latest(room, board.now));
    Line::from(vec![
        Span::styled(name, Style::new().add_modifier(Modifier::BOLD)),
        Span::raw("  "),
        Span::styled(format!("{text}{backups}{panic}"), Style::new().fg(colour)),
        Span::raw(rate),
        Span::styled(spark, Style::new().fg(Color::Cyan)),
    ])
}

/// What has come of the upstream's requests; nothing before there is any.
fn totals(group: &Group, width: usize) -> Option<Line<'static>> {
    let mut parts = Vec::new();
    for (class, count) in group.statuses.classes() {
        if count == 0 {
            continue;
        }
        let first = class.chars().next();
        let of_class = |status: &u16| status.to_string().chars().next() == first;
        let errors = group.errors.iter().filter(|(status, _)| of_class(status));
        let mut errors: Vec<(u16, u64)> = errors.map(|(status, count)| (*status, *count)).collect();
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let errors = errors.iter().take(3).map(|(s, count)| format!("{s} {}", short_count(*count)));
        let errors = errors.collect::<Vec<_>>().join(", ");
        let errors = if errors.is_empty() { errors } else { format!(" ({errors})") };
        parts.push(format!("{} {class}{errors}", short_count(count)));
    }
    let ejections: u64 = group.peers.iter().map(|peer: &Peer| peer.ejections).sum();
    for (count, one, many) in
        [(group.retries, "retry", "retries"), (ejections, "ejection", "ejections")]
    {
        if count > 0 {
            let word = if count == 1 { one } else { many };
            parts.push(format!("{} {word}", short_count(count)));
        }
    }
    for (name, percent) in [("p50", 50), ("p99", 99)] {
        let millis = group.times.percentile(percent);
        parts.extend(millis.map(|millis| format!("{name} {}", time(Some(millis)))));
    }
    let text = cut(&format!("  {}", parts.join("  ")), width);
    let line = Line::from(Span::styled(text, Style::new().add_modifier(Modifier::DIM)));
    (!parts.is_empty()).then_some(line)
}

/// The latest events, so many at most, the newest last.
fn events(board: &Board, width: usize, most: usize) -> Vec<Line<'static>> {
    let skipped = board.events.len().saturating_sub(most);
    board.events.iter().skip(skipped).map(|event| happening(event, width)).collect()
}

fn happening(event: &Happening, width: usize) -> Line<'static> {
    let colour = match event.level.as_str() {
        "ERROR" => Color::Red,
        "WARN" => Color::Yellow,
        _ => Color::Reset,
    };
    let begin = format!("{} {:5} ", clock(event.at), clean(&event.level));
    let room = width.saturating_sub(begin.chars().count());
    Line::from(vec![
        Span::styled(begin, Style::new().fg(colour)),
        Span::raw(cut(&clean(&event.text), room)),
    ])
}

/// The time of day, in local time.
fn clock(at: u64) -> String {
    let at = i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    match at.filter(|at| at.as_millisecond() > 0) {
        Some(at) => at.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string(),
        None => "--:--:--".to_owned(),
    }
}

/// Text as printable ASCII, as in robin's logs; what is escaped there stays so.
fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' | '…' => clean.push(c),
            other => {
                let mut bytes = [0; 4];
                for byte in other.encode_utf8(&mut bytes).bytes() {
                    clean += &format!("\\x{byte:02X}");
                }
            }
        }
    }
    clean
}

/// Text, cut to so many characters.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain((width > 0).then_some('…')).collect()
}

/// A bar for each count; the highest is as high as it gets.
fn sparkline(counts: &[f64]) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = counts.iter().copied().fold(0.0, f64::max);
    let bar = |count: &f64| match most > 0.0 && *count > 0.0 {
        true => BARS[((count / most * 8.0).ceil() as usize).clamp(1, 8)],
        false => BARS[0],
    };
    counts.iter().map(bar).collect()
}

fn rate(mean: f64) -> String {
    match mean {
        mean if mean <= 0.0 => "0".into(),
        mean if mean < 9.95 => format!("{mean:.1}"),
        mean => short_count(mean.round() as u64),
    }
}

/// A count in at most five characters.
fn short_count(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{}k", count / 1000),
        1_000_000..1_000_000_000 => format!("{}M", count / 1_000_000),
        _ => format!("{}G", count / 1_000_000_000),
    }
}

fn percent(share: Option<f64>) -> String {
    share.map(|share| format!("{share:.1}%")).unwrap_or_default()
}

fn time(millis: Option<f64>) -> String {
    let Some(millis) = millis else { return String::new() };
    match Duration::try_from_secs_f64(millis.max(0.0) / 1000.0).unwrap_or_default() {
        time if time.as_millis() == 0 => "<1ms".into(),
        time => Short(time).to_string(),
    }
}

#[cfg(test)]
mod tests;
