//! Certificates of a virtual server.

use crate::config::diagnostics::Diagnostics;
use crate::config::model::Tls;
use crate::config::raw::Settings;

/// What a virtual server shows who connects with TLS.
pub(super) fn server(_settings: &Settings, _diags: &mut Diagnostics) -> Option<Tls> {
    None
}
