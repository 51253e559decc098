//! The directives of nginx that robin refuses, and what to do instead.
//!
//! A name is in one group; what works in part is a row of [`super::table`] and not here.

/// Directives with one answer.
#[derive(Debug)]
pub(super) struct Group {
    /// Whether it is only a matter of time.
    pub(super) later: bool,
    /// What to do instead.
    pub(super) instead: &'static str,
    names: &'static [&'static str],
}

/// The group of a directive.
pub(super) fn find(name: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.names.contains(&name))
}

impl Group {
    /// The directives of it.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().copied()
    }
}

/// Every group.
pub(super) fn groups() -> impl Iterator<Item = &'static Group> {
    GROUPS.iter()
}

/// Every name.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|group| group.names).copied()
}

const fn later(instead: &'static str, names: &'static [&'static str]) -> Group {
    Group { later: true, instead, names }
}

const fn never(instead: &'static str, names: &'static [&'static str]) -> Group {
    Group { later: false, instead, names }
}

#[rustfmt::skip]
const GROUPS: &[Group] = &[
    later("robin sends files as they are, in the order of their names: leave it out", &[
        "random_index",
        "charset_map",
        "flv", "mp4", "mp4_buffer_size", "mp4_max_buffer_size", "mp4_limit_rate",
        "mp4_limit_rate_after", "mp4_start_key_frame", "slice",
    ]),
    later("`ssl_crl` has lists of revocations", &["ssl_ocsp_cache", "ssl_ocsp_responder"]),
    later("robin's TLS is rustls, which has no such setting", &[
        "ssl_conf_command", "ssl_engine", "ssl_key_log",
    ]),
    later("names of servers are looked up all the time: write them into `upstream`", &["state"]),
    later("robin shares connections to servers among clients", &["ntlm"]),
    never("`sticky cookie` does the same", &["sticky_cookie_insert"]),
    later("robin passes the request and the answer on as they are: leave it out", &[
        "proxy_force_ranges", "proxy_allow_upstream",
    ]),
    later("robin's TLS is rustls, which has no such setting", &[
        "proxy_ssl_conf_command", "proxy_ssl_key_log",
        "grpc_ssl_conf_command", "grpc_ssl_key_log",
    ]),
    later("let the upstream refuse or count", &[
        "limit_zone",
        "secure_link", "secure_link_md5", "secure_link_secret", "referer_hash_bucket_size",
        "referer_hash_max_size", "valid_referers", "auth_jwt", "auth_jwt_claim_set",
        "auth_jwt_header_set", "auth_jwt_key_cache", "auth_jwt_key_file", "auth_jwt_key_request",
        "auth_jwt_leeway", "auth_jwt_require", "auth_jwt_type",
    ]),
    later("the health dashboard in the log says what is up", &["api", "status_zone"]),
    never("robin has no cache: leave it out", &[
        "proxy_cache_background_update", "proxy_cache_bypass", "proxy_cache_convert_head",
        "proxy_cache_key", "proxy_cache_lock", "proxy_cache_lock_age", "proxy_cache_lock_timeout",
        "proxy_cache_max_range_offset", "proxy_cache_methods", "proxy_cache_min_uses",
        "proxy_cache_path", "proxy_cache_purge", "proxy_cache_revalidate", "proxy_cache_use_stale",
        "proxy_cache_valid", "proxy_no_cache", "proxy_store_access",
    ]),
    never("let the program speak HTTP (gunicorn, php with a web server) and `proxy_pass` to it", &[
        "fastcgi_pass", "fastcgi_bind", "fastcgi_buffer_size", "fastcgi_buffering",
        "fastcgi_buffers", "fastcgi_busy_buffers_size", "fastcgi_cache",
        "fastcgi_cache_background_update", "fastcgi_cache_bypass", "fastcgi_cache_key",
        "fastcgi_cache_lock", "fastcgi_cache_lock_age", "fastcgi_cache_lock_timeout",
        "fastcgi_cache_max_range_offset", "fastcgi_cache_methods", "fastcgi_cache_min_uses",
        "fastcgi_cache_path", "fastcgi_cache_purge", "fastcgi_cache_revalidate",
        "fastcgi_cache_use_stale", "fastcgi_cache_valid", "fastcgi_catch_stderr",
        "fastcgi_connect_timeout", "fastcgi_force_ranges", "fastcgi_hide_header",
        "fastcgi_ignore_client_abort", "fastcgi_ignore_headers", "fastcgi_index",
        "fastcgi_intercept_errors", "fastcgi_keep_conn", "fastcgi_limit_rate",
        "fastcgi_max_temp_file_size", "fastcgi_next_upstream", "fastcgi_next_upstream_timeout",
        "fastcgi_next_upstream_tries", "fastcgi_no_cache", "fastcgi_param",
        "fastcgi_pass_header", "fastcgi_pass_request_body", "fastcgi_pass_request_headers",
        "fastcgi_read_timeout", "fastcgi_request_buffering", "fastcgi_send_lowat",
        "fastcgi_send_timeout", "fastcgi_socket_keepalive", "fastcgi_split_path_info",
        "fastcgi_store", "fastcgi_store_access", "fastcgi_temp_file_write_size",
       
        "uwsgi_pass", "uwsgi_bind", "uwsgi_buffer_size", "uwsgi_buffering", "uwsgi_buffers",
        "uwsgi_busy_buffers_size", "uwsgi_cache", "uwsgi_cache_background_update",
        "uwsgi_cache_bypass", "uwsgi_cache_key", "uwsgi_cache_lock", "uwsgi_cache_lock_age",
        "uwsgi_cache_lock_timeout", "uwsgi_cache_max_range_offset", "uwsgi_cache_methods",
        "uwsgi_cache_min_uses", "uwsgi_cache_path", "uwsgi_cache_purge",
        "uwsgi_cache_revalidate", "uwsgi_cache_use_stale", "uwsgi_cache_valid",
        "uwsgi_connect_timeout", "uwsgi_force_ranges", "uwsgi_hide_header",
        "uwsgi_ignore_client_abort", "uwsgi_ignore_headers", "uwsgi_intercept_errors",
        "uwsgi_limit_rate", "uwsgi_max_temp_file_size", "uwsgi_modifier1", "uwsgi_modifier2",
        "uwsgi_next_upstream", "uwsgi_next_upstream_timeout", "uwsgi_next_upstream_tries",
        "uwsgi_no_cache", "uwsgi_param", "uwsgi_pass_header", "uwsgi_pass_request_body",
        "uwsgi_pass_request_headers", "uwsgi_read_timeout", "uwsgi_request_buffering",
        "uwsgi_send_timeout", "uwsgi_socket_keepalive", "uwsgi_ssl_certificate",
        "uwsgi_ssl_certificate_key", "uwsgi_ssl_ciphers", "uwsgi_ssl_conf_command",
        "uwsgi_ssl_crl", "uwsgi_ssl_name", "uwsgi_ssl_password_file", "uwsgi_ssl_protocols",
        "uwsgi_ssl_server_name", "uwsgi_ssl_session_reuse", "uwsgi_ssl_trusted_certificate",
        "uwsgi_ssl_verify", "uwsgi_ssl_verify_depth", "uwsgi_store", "uwsgi_store_access",
        "uwsgi_string", "uwsgi_temp_file_write_size",
        "scgi_pass", "scgi_bind", "scgi_buffer_size", "scgi_buffering", "scgi_buffers",
        "scgi_busy_buffers_size", "scgi_cache", "scgi_cache_background_update",
        "scgi_cache_bypass", "scgi_cache_key", "scgi_cache_lock", "scgi_cache_lock_age",
        "scgi_cache_lock_timeout", "scgi_cache_max_range_offset", "scgi_cache_methods",
        "scgi_cache_min_uses", "scgi_cache_path", "scgi_cache_purge", "scgi_cache_revalidate",
        "scgi_cache_use_stale", "scgi_cache_valid", "scgi_connect_timeout", "scgi_force_ranges",
        "scgi_hide_header", "scgi_ignore_client_abort", "scgi_ignore_headers",
        "scgi_intercept_errors", "scgi_limit_rate", "scgi_max_temp_file_size",
        "scgi_next_upstream", "scgi_next_upstream_timeout", "scgi_next_upstream_tries",
        "scgi_no_cache", "scgi_param", "scgi_pass_header", "scgi_pass_request_body",
        "scgi_pass_request_headers", "scgi_read_timeout", "scgi_request_buffering",
        "scgi_send_timeout", "scgi_socket_keepalive", "scgi_store", "scgi_store_access",
        "scgi_temp_file_write_size",
        "memcached_pass", "memcached_bind", "memcached_buffer_size", "memcached_connect_timeout",
        "memcached_gzip_flag", "memcached_next_upstream", "memcached_next_upstream_timeout",
        "memcached_next_upstream_tries", "memcached_read_timeout", "memcached_send_timeout",
        "memcached_socket_keepalive",
    ]),
    never("robin proxies HTTP only: publish the other port from its own container", &[
        "stream", "mail", "auth_http", "auth_http_header", "auth_http_pass_client_cert",
        "auth_http_timeout", "imap_auth", "imap_capabilities", "imap_client_buffer", "pop3_auth",
        "pop3_capabilities", "smtp_auth", "smtp_capabilities", "smtp_client_buffer",
        "smtp_greeting_delay", "protocol", "starttls", "xclient", "proxy_pass_error_message",
        "proxy_smtp_auth", "proxy_protocol", "proxy_protocol_timeout", "proxy_responses",
        "proxy_requests", "proxy_timeout", "proxy_upload_rate", "proxy_download_rate",
        "proxy_half_close", "proxy_session_drop", "proxy_ssl", "preread_buffer_size",
        "preread_timeout", "ssl_preread", "ssl_handshake_timeout", "ssl_alpn", "pass", "zone_sync",
        "tunnel_pass", "mgmt",
    ]),
    never("let the upstream make the page", &[
        "ssi", "ssi_last_modified", "ssi_min_file_chunk", "ssi_silent_errors", "ssi_types",
        "ssi_value_length", "sub_filter", "sub_filter_last_modified", "sub_filter_once",
        "sub_filter_types", "addition_types", "add_after_body", "add_before_body",
        "image_filter", "image_filter_buffer", "image_filter_interlace",
        "image_filter_jpeg_quality", "image_filter_sharpen", "image_filter_transparency",
        "image_filter_webp_quality", "xml_entities", "xslt_last_modified", "xslt_param",
        "xslt_string_param", "xslt_stylesheet", "xslt_types", "f4f", "f4f_buffer_size", "hls",
        "hls_buffers", "hls_forward_args", "hls_fragment", "hls_mp4_buffer_size",
        "hls_mp4_max_buffer_size",
    ]),
    never("a program behind `proxy_pass` can do this", &[
        "perl", "perl_modules", "perl_require", "perl_set", "js_access", "js_body_filter",
        "js_content", "js_fetch_buffer_size", "js_fetch_ciphers",
        "js_fetch_max_response_buffer_size", "js_fetch_protocols", "js_fetch_timeout",
        "js_fetch_trusted_certificate", "js_fetch_verify", "js_fetch_verify_depth", "js_filter",
        "js_header_filter", "js_import", "js_include", "js_path", "js_periodic", "js_preload_object",
        "js_preread", "js_set", "js_shared_dict_zone", "js_var", "dav_access", "dav_methods",
        "create_full_put_path", "min_delete_depth", "mirror", "mirror_request_body",
        "session_log", "session_log_format", "session_log_zone", "userid", "userid_domain",
        "userid_expires", "userid_flags", "userid_mark", "userid_name", "userid_p3p",
        "userid_path", "userid_service", "geoip_city", "geoip_country", "geoip_org",
        "geoip_proxy", "geoip_proxy_recursive", "ancient_browser", "ancient_browser_value",
        "modern_browser", "modern_browser_value", "keyval", "keyval_zone", "otel_span_attr", "otel_span_name",
        "google_perftools_profiles",
    ]),
    never("robin has no modules: leave it out", &["load_module"]),
    never("robin speaks HTTP/1.1 to clients: leave it out", &[
        "http3", "http3_hq", "http3_max_concurrent_streams", "http3_stream_buffer_size",
        "quic_active_connection_id_limit", "quic_bpf", "quic_gso", "quic_host_key", "quic_retry",
    ]),
];
