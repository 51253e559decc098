//! Which nginx this is, as `-v` and `-V` print it.
//!
//! Scripts and nginx's own tests read from `-V` what they may configure: a module that nginx
//! builds unless told not to is there unless the line says `--without-…`, any other only
//! where it says `--with-…`. Each module stands here with one of its directives, and is said to be
//! here if that directive works.

use std::fmt::Write as _;

use crate::config;
use crate::config::model::NGINX_VERSION;

/// A module of nginx.
struct Module {
    /// As `./configure` calls it.
    name: &'static str,
    /// Whether nginx has it unless told otherwise.
    built_in: bool,
    /// A directive that is of no use without it.
    directive: &'static str,
}

const fn built_in(name: &'static str, directive: &'static str) -> Module {
    Module { name, built_in: true, directive }
}

const fn optional(name: &'static str, directive: &'static str) -> Module {
    Module { name, built_in: false, directive }
}

#[rustfmt::skip]
const MODULES: &[Module] = &[
    optional("http_ssl_module", "ssl_certificate"),
    optional("http_v2_module", "http2"),
    optional("http_v3_module", "http3"),
    optional("http_realip_module", "set_real_ip_from"),
    optional("http_addition_module", "add_after_body"),
    optional("http_sub_module", "sub_filter"),
    optional("http_dav_module", "dav_methods"),
    optional("http_flv_module", "flv"),
    optional("http_mp4_module", "mp4"),
    optional("http_gunzip_module", "gunzip"),
    optional("http_gzip_static_module", "gzip_static"),
    optional("http_auth_request_module", "auth_request"),
    optional("http_random_index_module", "random_index"),
    optional("http_secure_link_module", "secure_link"),
    optional("http_slice_module", "slice"),
    optional("http_stub_status_module", "stub_status"),
    optional("mail", "mail"),
    optional("stream", "stream"),
    built_in("http_charset_module", "charset"),
    built_in("http_gzip_module", "gzip"),
    built_in("http_ssi_module", "ssi"),
    built_in("http_userid_module", "userid"),
    built_in("http_access_module", "deny"),
    built_in("http_auth_basic_module", "auth_basic"),
    built_in("http_mirror_module", "mirror"),
    built_in("http_autoindex_module", "autoindex"),
    built_in("http_geo_module", "geo"),
    built_in("http_map_module", "map"),
    built_in("http_split_clients_module", "split_clients"),
    built_in("http_referer_module", "valid_referers"),
    built_in("http_rewrite_module", "rewrite"),
    built_in("http_proxy_module", "proxy_pass"),
    built_in("http_fastcgi_module", "fastcgi_pass"),
    built_in("http_uwsgi_module", "uwsgi_pass"),
    built_in("http_scgi_module", "scgi_pass"),
    built_in("http_grpc_module", "grpc_pass"),
    built_in("http_tunnel_module", "tunnel_pass"),
    built_in("http_memcached_module", "memcached_pass"),
    built_in("http_limit_conn_module", "limit_conn"),
    built_in("http_limit_req_module", "limit_req"),
    built_in("http_empty_gif_module", "empty_gif"),
    built_in("http_browser_module", "modern_browser"),
    built_in("http_upstream_hash_module", "hash"),
    built_in("http_upstream_ip_hash_module", "ip_hash"),
    built_in("http_upstream_least_conn_module", "least_conn"),
    built_in("http_upstream_least_time_module", "least_time"),
    built_in("http_upstream_random_module", "random"),
    built_in("http_upstream_keepalive_module", "keepalive"),
    built_in("http_upstream_zone_module", "zone"),
    built_in("http_upstream_sticky_module", "sticky"),
    built_in("http-cache", "proxy_cache_path"),
];

/// The line that `-v` prints.
pub(super) fn version() -> String {
    format!("nginx version: nginx/{NGINX_VERSION} (robin/{})\n", env!("CARGO_PKG_VERSION"))
}

/// What `-V` prints.
pub(super) fn all() -> String {
    let here = |module: &Module| config::nginx_directive_works(module.directive);
    let mut text = version();
    if MODULES.iter().any(|module| module.name == "http_ssl_module" && here(module)) {
        text.push_str("built with rustls\nTLS SNI support enabled\n");
    }
    text.push_str("configure arguments:");
    for module in MODULES {
        // Writing into a String cannot fail.
        let _ = match (module.built_in, here(module)) {
            (true, false) => write!(text, " --without-{}", module.name),
            (false, true) => write!(text, " --with-{}", module.name),
            _ => Ok(()),
        };
    }
    text.push('\n');
    text
}

/// What `-h` prints.
pub(super) fn help() -> String {
    version()
        + "\
Usage: nginx [-?hvVtTq] [-s ORDER] [-p PREFIX] [-e FILE] [-c FILE] [-g DIRECTIVES]

  -?, -h         print this
  -v             print the version
  -V             print the version and which modules are here
  -t             check the configuration
  -T             check the configuration and print its files
  -q             with -t, say nothing but what is wrong
  -s ORDER       tell the running process: stop, quit, reload or reopen
  -p PREFIX      where relative names of files begin (default: /etc/nginx/)
  -e FILE        the error log until the configuration names one (default: /var/log/nginx/error.log)
  -c FILE        the configuration (default: /etc/nginx/nginx.conf)
  -g DIRECTIVES  directives to read before those of the configuration

Called as `robin` it has subcommands too: see robin --help.
"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_here_is_said_to_be_left_out() {
        let text = all();
        assert!(text.starts_with("nginx version: nginx/1."), "{text}");
        assert!(text.contains(" --without-http_fastcgi_module"), "{text}");
        assert!(!text.contains("http_proxy_module"), "{text}");
        assert!(!text.contains("--with-mail"), "{text}");
    }

    #[test]
    fn each_module_stands_once() {
        for (n, module) in MODULES.iter().enumerate() {
            assert!(MODULES[n + 1..].iter().all(|other| other.name != module.name));
        }
    }
}
