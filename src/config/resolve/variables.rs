//! The variables that a configuration makes: `set`, groups of patterns, `map`, `geo`, `split_clients`.

use crate::config::diagnostics::Diagnostics;
use crate::config::model::program::UserVariable;
use crate::config::raw;

/// Gives every variable its slot, before any template is read.
pub(super) fn declare(_raw: &raw::Config, _diags: &mut Diagnostics) {}

/// The variables in the order of their slots.
pub(super) fn variables(_raw: &raw::Config, _diags: &mut Diagnostics) -> Vec<UserVariable> {
    Vec::new()
}
