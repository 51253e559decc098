//! How requests and answers are passed on: the defaults, and what statements say of them.

use crate::config::diagnostics::Diagnostics;
use crate::config::model::passing::{Passing, UpstreamTls};
use crate::config::raw::Settings;

impl Passing {
    pub(super) fn defaults() -> Self {
        Self {
            hide: Vec::new(),
            pass: Vec::new(),
            http10: false,
            method: None,
            body: None,
            request_headers: true,
            request_body: true,
            redirects: Vec::new(),
            cookie_domains: Vec::new(),
            cookie_paths: Vec::new(),
            cookie_flags: Vec::new(),
            intercept_errors: false,
            ignore: Vec::new(),
            request_buffering: true,
            buffering: true,
            buffer_bytes: 64 << 10,
            head_bytes: None,
            temp_file_bytes: 1 << 30,
            temp_path: None,
            ignore_client_abort: false,
            socket_keepalive: false,
            bind: None,
            tls: UpstreamTls { verify: true, server_name: true, ..UpstreamTls::default() },
        }
    }

    /// What holds inside of `outer` once these are said.
    pub(super) fn resolve(_settings: &Settings, outer: &Self, _diags: &mut Diagnostics) -> Self {
        outer.clone()
    }
}
