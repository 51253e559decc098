//! Files and answers: the defaults, and what statements say of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::diagnostics::Diagnostics;
use crate::config::model::program::Root;
use crate::config::model::site::{
    Answers, Clients, Expires, Files, Gzip, GzipProxied, GzipStatic, IfModifiedSince, Symlinks,
};
use crate::config::raw::Settings;
use crate::config::template::Template;

impl Files {
    pub(super) fn defaults() -> Self {
        let types = [("html", "text/html"), ("gif", "image/gif"), ("jpg", "image/jpeg")];
        let types: HashMap<_, _> = types.map(|(e, t)| (e.to_owned(), t.to_owned())).into();
        Self {
            root: Root::default(),
            index: vec![Template::literal("index.html")],
            try_files: None,
            types: Arc::new(types),
            default_type: "text/plain".to_owned(),
            autoindex: None,
            etag: true,
            if_modified_since: IfModifiedSince::Exact,
            max_ranges: None,
            log_not_found: true,
            symlinks: Symlinks::Followed,
            gzip_static: GzipStatic::Off,
        }
    }

    /// What holds inside of `outer` once these are said.
    pub(super) fn resolve(_settings: &Settings, outer: &Self, _diags: &mut Diagnostics) -> Self {
        Self { try_files: None, ..outer.clone() }
    }
}

impl Answers {
    pub(super) fn defaults() -> Self {
        Self {
            headers: Vec::new(),
            trailers: Vec::new(),
            expires: Expires::Off,
            charset: None,
            charset_types: [
                "text/html",
                "text/xml",
                "text/plain",
                "text/vnd.wap.wml",
                "application/javascript",
                "application/rss+xml",
            ]
            .map(str::to_owned)
            .to_vec(),
            gzip: Gzip {
                enabled: false,
                level: 1,
                min_length: 20,
                types: vec!["text/html".to_owned()],
                http10: false,
                proxied: GzipProxied::default(),
                vary: false,
                disable: Vec::new(),
            },
            error_pages: Vec::new(),
            recursive_error_pages: false,
            absolute_redirect: true,
            port_in_redirect: true,
            server_name_in_redirect: false,
            chunked: true,
        }
    }

    /// What holds inside of `outer` once these are said.
    pub(super) fn resolve(_settings: &Settings, outer: &Self, _diags: &mut Diagnostics) -> Self {
        outer.clone()
    }
}

impl Clients {
    pub(super) fn defaults() -> Self {
        Self {
            limit_except: None,
            body_buffer_bytes: 16 << 10,
            body_timeout: Duration::from_mins(1),
            body_temp_path: None,
            body_in_file: false,
            send_timeout: Duration::from_mins(1),
            keepalive_requests: 1000,
        }
    }

    /// What holds inside of `outer` once these are said.
    pub(super) fn resolve(_settings: &Settings, outer: &Self, _diags: &mut Diagnostics) -> Self {
        outer.clone()
    }
}
