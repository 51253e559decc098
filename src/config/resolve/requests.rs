//! How the requests of a virtual server are read.

use crate::config::diagnostics::Diagnostics;
use crate::config::model::Requests;
use crate::config::raw::Settings;

impl Requests {
    /// What a virtual server says of it.
    pub(super) fn resolve(_settings: &Settings, _diags: &mut Diagnostics) -> Self {
        Self::default()
    }
}
