//! The rewrite module: from steps to instructions.

use super::routes::Routes;
use crate::config::diagnostics::Diagnostics;
use crate::config::model::program::Program;
use crate::config::model::{Route, RouteSettings};
use crate::config::raw::Step;

/// The program of a route, or of a server for `route` none; the blocks of its `if`s become routes.
pub(super) fn program(
    _steps: &[Step],
    _route: Option<usize>,
    _settings: &RouteSettings,
    _routes: &mut Routes<'_>,
    _diags: &mut Diagnostics,
) -> Program {
    Program::new()
}

/// Gives `try_files` and `error_page` the indices of the named routes that they lead to.
pub(super) fn link_named(_routes: &mut [Route], _diags: &mut Diagnostics) {}
