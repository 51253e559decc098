//! The table of peers: which columns a width has room for, and what stands in them.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::{clean, cut, percent, rate, sparkline, time};
use crate::health::Short;
use crate::observe::view::State;
use crate::top::board::{Board, Group, Peer, Standing};

/// A column that may be left out.
struct Column {
    title: &'static str,
    width: usize,
    cell: fn(&Board, &Group, &Peer) -> String,
}

/// In the order in which they get room.
const COLUMNS: [Column; 11] = [
    Column { title: "req/s", width: 5, cell: |board, _, peer| rate(peer.rate.mean(board.now)) },
    Column { title: "share", width: 6, cell: |_, group, peer| percent(group.share(peer)) },
    Column { title: "flight", width: 6, cell: |_, _, peer| number(peer.in_flight) },
    Column { title: "p99", width: 5, cell: |_, _, peer| time(peer.percentiles().1) },
    Column { title: "5xx", width: 4, cell: |_, _, peer| count(peer.statuses.server_error) },
    Column { title: "p50", width: 5, cell: |_, _, peer| time(peer.percentiles().0) },
    Column { title: "4xx", width: 4, cell: |_, _, peer| count(peer.statuses.client_error) },
    Column { title: "none", width: 4, cell: |_, _, peer| count(peer.statuses.none) },
    Column { title: "ejected", width: 7, cell: |_, _, peer| count(peer.ejections) },
    Column { title: "tier", width: 6, cell: |_, _, peer| tier(peer) },
    Column { title: "server", width: 16, cell: |_, _, peer| clean(&peer.host) },
];
/// How they stand beside each other: by their places above.
const ORDER: [usize; 11] = [10, 9, 0, 1, 2, 5, 3, 6, 4, 7, 8];

const LEAST_STATE: usize = 16;
const LEAST_SPARK: usize = 12;
const MOST_SPARK: usize = 60;

/// The columns of one frame.
pub(super) struct Columns {
    peer: usize,
    state: usize,
    /// Which of [`COLUMNS`] there are.
    shown: Vec<usize>,
    spark: usize,
}

impl Columns {
    /// Those that fit, for what is to be shown.
    pub(super) fn fitting(board: &Board, width: usize) -> Self {
        let peers = || board.groups.iter().flat_map(|group| shown(group, board.now));
        let peer =
            peers().map(|peer| peer.address.chars().count()).max().unwrap_or(0).clamp(15, 47);
        let needed = peers().map(|peer| peer.words(board.now).chars().count()).max().unwrap_or(0);
        // The mark, the address, the state, how long.
        let mut left = width.saturating_sub(2 + peer + 1 + LEAST_STATE + 1 + 5);
        let mut shown = Vec::new();
        for (place, column) in COLUMNS.iter().enumerate() {
            let says = |group: &Group| {
                group.peers.iter().any(|peer| !(column.cell)(board, group, peer).is_empty())
            };
            let wanted = place < 7 || board.groups.iter().any(says);
            if wanted && left > column.width {
                left -= column.width + 1;
                shown.push(place);
            }
        }
        let more = needed.saturating_sub(LEAST_STATE).min(left);
        let spark = left - more;
        let spark = if spark > LEAST_SPARK { (spark - 1).min(MOST_SPARK) } else { 0 };
        Self { peer, state: LEAST_STATE + more, shown, spark }
    }

    fn in_order(&self) -> impl Iterator<Item = &'static Column> {
        let shown = ORDER.iter().filter(|place| self.shown.contains(place));
        shown.filter_map(|place| COLUMNS.get(*place))
    }

    /// The titles.
    pub(super) fn titles(&self) -> Line<'static> {
        let (peer, state) = (self.peer, self.state);
        let mut text = format!("  {:peer$} {:state$} {:>5}", "peer", "state", "for");
        if self.spark > 0 {
            text += &format!(" {:spark$}", "requests", spark = self.spark);
        }
        for Column { title, width, .. } in self.in_order() {
            text += &format!(" {title:>width$}");
        }
        let style = Style::new().add_modifier(Modifier::DIM);
        Line::from(Span::styled(text.trim_end().to_owned(), style))
    }

    /// A peer's line; a second one where its state needs more room.
    pub(super) fn rows(&self, board: &Board, group: &Group, peer: &Peer) -> Vec<Line<'static>> {
        let words = clean(&peer.words(board.now));
        let (paint, mark) = match peer.standing {
            None => (Style::new(), ' '),
            Some(standing) => (paint(standing), standing.mark()),
        };
        let (address, state) = (self.peer, self.state);
        let lasting = peer.since.map(|since| board.now.saturating_sub(since));
        let lasting =
            lasting.map(|millis| Short(std::time::Duration::from_secs(millis / 1000)).to_string());
        let mut rest = format!(" {:>5}", lasting.unwrap_or_default());
        if self.spark > 0 {
            let counts = peer.rate.latest(self.spark, board.now);
            rest += &format!(" {}", sparkline(&counts));
        }
        for Column { width, cell, .. } in self.in_order() {
            let cell = cut(&cell(board, group, peer), *width);
            rest += &format!(" {cell:>width$}");
        }
        let line = Line::from(vec![
            Span::styled(format!("{mark} "), paint.add_modifier(Modifier::BOLD)),
            Span::raw(format!("{:address$} ", cut(&clean(&peer.address), address))),
            Span::styled(format!("{:state$}", cut(&words, state)), paint),
            Span::raw(rest.trim_end().to_owned()),
        ]);
        let mut lines = vec![line];
        if words.chars().count() > state {
            lines.push(Line::from(Span::styled(format!("    {words}"), paint)));
        }
        lines
    }
}

/// How long a peer that left is listed, as in the dashboard.
const LISTED: u64 = 600_000;

/// The peers of an upstream that are to be seen.
pub(super) fn shown(group: &Group, now: u64) -> impl Iterator<Item = &Peer> {
    group.peers.iter().filter(move |peer| {
        let gone = peer.since.map_or(0, |since| now.saturating_sub(since));
        peer.standing != Some(Standing::Left) || gone < LISTED
    })
}

fn paint(standing: Standing) -> Style {
    use State::{Absent, Down, Draining, Ejected, Failing, Full, Probation, Up, Waiting};
    Style::new().fg(match standing {
        Standing::In(Up | Full) => Color::Green,
        Standing::In(Ejected | Failing) => Color::Red,
        Standing::In(Probation | Waiting) => Color::Yellow,
        Standing::In(Absent | Draining | Down) | Standing::Left => Color::DarkGray,
    })
}

fn number(number: Option<u64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// A count of what should not be: nothing where there is none.
fn count(count: u64) -> String {
    match count {
        0 => String::new(),
        count => super::short_count(count),
    }
}

fn tier(peer: &Peer) -> String {
    if peer.backup { "backup".into() } else { String::new() }
}
