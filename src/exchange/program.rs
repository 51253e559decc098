//! Running the rewrite module's instructions.

use super::Course;
use super::flow::{Disk, Next};
use super::variables::Scene;
use crate::config::model::Config;
use crate::config::model::program::Program;
use crate::config::pattern::Pattern;

/// How a program has ended.
pub(super) enum Ran {
    /// It has run to its end.
    Through {
        /// Whether the path was changed so that a route must be looked for again.
        search: bool,
    },
    /// The request has come to something.
    Ended(Next),
}

/// Runs a program.
pub(super) async fn run(
    _program: &Program,
    _course: &mut Course,
    _scene: &Scene<'_>,
    _disk: &impl Disk,
) -> Ran {
    Ran::Through { search: false }
}

/// The named groups of a pattern with the slots of their variables.
pub(super) fn slots<'a>(
    pattern: &'a Pattern,
    config: &'a Config,
) -> impl Iterator<Item = (usize, usize)> + 'a {
    pattern.named().iter().filter_map(|(group, name)| {
        let slot = config.variables.iter().position(|v| v.name.eq_ignore_ascii_case(name))?;
        Some((*group, slot))
    })
}
