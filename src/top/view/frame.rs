//! The frame in a terminal: header, titles, what fits of the body, the latest events, and the keys.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{body, clean, events, header};
use crate::top::board::Board;

/// What the user has asked to see.
#[derive(Clone, Debug, Default)]
pub(in crate::top) struct Screen {
    /// Lines of the body above the first one that is shown; too many are as many as there are.
    pub(in crate::top) scrolled: usize,
    /// Lines that a page has, as the last frame had room for.
    pub(in crate::top) page: usize,
    /// Whether the keys are explained.
    pub(in crate::top) help: bool,
    /// Whether it stands still.
    pub(in crate::top) paused: bool,
    /// Without colours.
    pub(in crate::top) plain: bool,
    /// What else is to be said: that the input has ended, that robin does not answer.
    pub(in crate::top) note: String,
}

const HELP: [&str; 16] = [
    "q, Esc, Ctrl-C     quit",
    "Up, Down, k, j     scroll by a line",
    "PageUp, PageDown   scroll by a page",
    "Home, End          to the first line, to the last",
    "p, Space           stand still, and go on",
    "?, h               this, and back",
    "",
    "+ serves           ! is out because something is wrong",
    "~ has yet to prove itself    - is out on purpose, or gone",
    "",
    "req/s    the mean of the last ten seconds",
    "share    of the upstream's attempts",
    "flight   attempts under way",
    "p50 p99  within which half, and 99 of 100, of the latest answers came",
    "4xx 5xx none    attempts that were answered so, or not at all",
    "The bars are requests of the last seconds, a second each.",
];

/// Draws it.
pub(in crate::top) fn draw(frame: &mut Frame<'_>, board: &Board, screen: &mut Screen) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let mut lines = vec![header(board)];
    let room = height.saturating_sub(2);
    if screen.help {
        lines.extend(HELP.iter().take(room).map(|line| Line::from(*line)));
    } else {
        let (titles, body) = body(board, width);
        lines.push(titles);
        let room = room.saturating_sub(1);
        let told = events_room(room, body.len(), board.events.len());
        let shown = room - told;
        screen.page = shown.max(1);
        screen.scrolled = screen.scrolled.min(body.len().saturating_sub(shown));
        lines.extend(body.into_iter().skip(screen.scrolled).take(shown));
        if told > 0 {
            lines.resize(2 + shown, Line::default());
            let dim = Style::new().add_modifier(Modifier::DIM);
            lines.push(Line::from(Span::styled("events", dim)));
            lines.extend(events(board, width, told - 1));
        }
    }
    lines.resize(height.saturating_sub(1), Line::default());
    lines.push(footer(screen, width));
    if screen.plain {
        for span in lines.iter_mut().flat_map(|line| &mut line.spans) {
            span.style = Style::new();
        }
    }
    frame.render_widget(Paragraph::new(lines), Rect { ..area });
}

/// How many lines the events get with their title: what the body leaves, a third at least, none where
/// there is hardly room for peers.
fn events_room(room: usize, body: usize, events: usize) -> usize {
    const LEAST: usize = 9;
    if room < LEAST || events == 0 {
        return 0;
    }
    (room / 3).max(room.saturating_sub(body)).min(events + 1)
}

/// What there is to be said, and the keys.
fn footer(screen: &Screen, width: usize) -> Line<'static> {
    let paused = if screen.paused { "paused  " } else { "" };
    let note = match screen.note.as_str() {
        "" => paused.to_owned(),
        note => format!("{paused}{}  ", clean(note)),
    };
    let keys = if width < 60 { "q quit  ? help" } else { "q quit  ? help  p pause  arrows scroll" };
    Line::from(vec![
        Span::styled(note, Style::new().fg(Color::Yellow)),
        Span::styled(keys, Style::new().add_modifier(Modifier::DIM)),
    ])
}
