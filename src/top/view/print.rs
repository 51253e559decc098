//! One frame as text: `robin top --once`.

use std::fmt::Write as _;

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;

use super::{body, events, header};
use crate::top::board::Board;

/// Events at its end.
const EVENTS: usize = 10;

/// All of the board, a line each, no line wider than `width`.
pub(in crate::top) fn text(board: &Board, width: usize, colours: bool) -> String {
    let (titles, body) = body(board, width);
    let mut lines = vec![header(board)];
    if !body.is_empty() {
        lines.push(titles);
        lines.extend(body);
    }
    let events = events(board, width, EVENTS);
    if !events.is_empty() {
        lines.push(Line::from("events"));
        lines.extend(events);
    }
    lines.iter().map(|line| printed(line, width, colours)).collect()
}

fn printed(line: &Line<'_>, width: usize, colours: bool) -> String {
    let mut text = String::new();
    let mut room = width;
    for span in &line.spans {
        let content: String = span.content.chars().take(room).collect();
        room -= content.chars().count();
        match sequence(span.style).filter(|_| colours && !content.is_empty()) {
            None => text += &content,
            Some(sequence) => {
                let _ = write!(text, "\u{1b}[{sequence}m{content}\u{1b}[0m");
            }
        }
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// The parameters of the sequence that sets a style (ECMA-48, SGR).
fn sequence(style: Style) -> Option<String> {
    let colour = match style.fg {
        Some(Color::Red) => Some("31"),
        Some(Color::Green) => Some("32"),
        Some(Color::Yellow) => Some("33"),
        Some(Color::Cyan) => Some("36"),
        Some(Color::DarkGray) => Some("90"),
        _ => None,
    };
    let has = |modifier| style.add_modifier.contains(modifier);
    let bold = has(Modifier::BOLD).then_some("1");
    let dim = has(Modifier::DIM).then_some("2");
    let all: Vec<&str> = [bold, dim, colour].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(";"))
}
