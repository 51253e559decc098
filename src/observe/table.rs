//! Rows of cells under headings, with columns as wide as what stands in them.

use std::fmt;

use super::text;

/// On which side of its column a cell stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table of `N` columns; one whose cells are all empty is left out.
pub(super) struct Table<const N: usize> {
    columns: [(&'static str, Align); N],
    lines: Vec<Line<N>>,
    fit: Option<Fit>,
}

/// What to do where a table is wider than `limit`: the columns of `shorten` are cut, one after the
/// other and none to less than [`Fit::LEAST`], then those of `drop` are left out.
#[derive(Clone, Copy)]
pub(super) struct Fit {
    pub(super) limit: usize,
    pub(super) shorten: &'static [usize],
    pub(super) drop: &'static [usize],
}

impl Fit {
    const LEAST: usize = 14;
}

enum Line<const N: usize> {
    Heading(String),
    Row(char, [String; N]),
}

impl<const N: usize> Table<N> {
    /// An empty table with these columns.
    pub(super) fn new(columns: [(&'static str, Align); N]) -> Self {
        Self { columns, lines: Vec::new(), fit: None }
    }

    /// The same, as wide as that allows.
    pub(super) fn fitting(self, fit: Fit) -> Self {
        Self { fit: Some(fit), ..self }
    }

    /// Appends a line of its own over the rows that follow.
    pub(super) fn heading(&mut self, text: String) {
        self.lines.push(Line::Heading(text));
    }

    /// Appends a row with its mark.
    pub(super) fn row(&mut self, mark: char, cells: [String; N]) {
        self.lines.push(Line::Row(mark, cells));
    }

    fn rows(&self) -> impl Iterator<Item = &[String; N]> {
        self.lines.iter().filter_map(|line| match line {
            Line::Heading(_) => None,
            Line::Row(_, cells) => Some(cells),
        })
    }

    /// The width of each column, in characters; none where it is left out.
    fn widths(&self) -> [Option<usize>; N] {
        let mut widths = std::array::from_fn(|column| {
            let widest = self.rows().map(|cells| cells[column].chars().count()).max();
            let title = self.columns[column].0.len();
            widest.filter(|width| *width > 0).map(|width| width.max(title))
        });
        if let Some(fit) = self.fit {
            let excess = |widths: &[Option<usize>; N]| {
                // The mark with its indent, and two spaces before each column but the first.
                let all: usize = widths.iter().flatten().map(|width| width + 2).sum();
                (all + 4).saturating_sub(fit.limit)
            };
            for column in fit.shorten {
                let most = excess(&widths);
                widths[*column] = widths[*column].map(|width| match width {
                    ..Fit::LEAST => width,
                    _ => width.saturating_sub(most).max(Fit::LEAST),
                });
            }
            for column in fit.drop {
                if excess(&widths) > 0 {
                    widths[*column] = None;
                }
            }
        }
        widths
    }

    fn line<'a>(
        &self,
        mark: char,
        cells: impl Iterator<Item = &'a str>,
        widths: [Option<usize>; N],
    ) -> String {
        let mut line = format!("    {mark}");
        for ((cell, width), (_, align)) in cells.zip(widths).zip(self.columns) {
            let Some(width) = width else { continue };
            // The mark is one space from the first column, columns are two from each other.
            let gap = if line.len() == 5 { " " } else { "  " };
            let cell = text::cut(cell, width);
            line += &match align {
                Align::Left => format!("{gap}{cell:width$}"),
                Align::Right => format!("{gap}{cell:>width$}"),
            };
        }
        line.truncate(line.trim_end().len());
        line
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    /// Every line after a newline, so that the table can follow a title.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        if self.rows().next().is_some() {
            let titles = self.columns.iter().map(|(title, _)| *title);
            write!(f, "\n{}", self.line(' ', titles, widths))?;
        }
        self.lines.iter().try_for_each(|line| match line {
            Line::Heading(text) => write!(f, "\n  {text}"),
            Line::Row(mark, cells) => {
                write!(f, "\n{}", self.line(*mark, cells.iter().map(String::as_str), widths))
            }
        })
    }
}
