//! Variables of the upstream. What is told of several tries stands in a list; a colon stands where
//! an internal redirect has led to another upstream (`ngx_http_upstream_addr_variable`).

use http::header;

use super::request::cookie_in;
use super::{Facts, append_display};
use crate::config::model::Action;
use crate::config::template::Known;
use crate::observe::access::Attempt;
use crate::observe::text::push_seconds;

impl Facts<'_> {
    /// Appends a variable of the upstream; none where it is of another kind.
    pub(super) fn append_of_upstream(&self, known: Known, out: &mut Vec<u8>) -> Option<bool> {
        match known {
            Known::ProxyHost => {
                let host = self.proxy_host();
                out.extend_from_slice(host.unwrap_or_default().as_bytes());
                return Some(host.is_some());
            }
            Known::ProxyPort => return Some(self.append_proxy_port(out)),
            // There is no cache.
            Known::UpstreamCacheStatus => return Some(false),
            _ => {}
        }
        let so_far = &self.scene.so_far;
        if let Some(upstream) = so_far.without_peer.filter(|_| so_far.attempts.is_empty()) {
            return without_peer(known, upstream, out);
        }
        let told = self.append_attempts(known, out)?;
        if let Some(upstream) = so_far.without_peer {
            out.extend_from_slice(b", ");
            without_peer(known, upstream, out);
        }
        Some(told)
    }

    /// Appends what is told of each attempt.
    fn append_attempts(&self, known: Known, out: &mut Vec<u8>) -> Option<bool> {
        let so_far = &self.scene.so_far;
        let mut list = |append: fn(&Attempt, &mut Vec<u8>)| {
            for (index, attempt) in so_far.attempts.iter().enumerate() {
                match index {
                    0 => {}
                    _ if attempt.measured.redirected => out.extend_from_slice(b" : "),
                    _ => out.extend_from_slice(b", "),
                }
                append(attempt, out);
            }
            Some(!so_far.attempts.is_empty())
        };
        match known {
            Known::UpstreamAddr => list(|attempt, out| append_display(&attempt.address, out)),
            Known::UpstreamStatus => {
                list(|attempt, out| match attempt.status.or(attempt.measured.failed) {
                    Some(status) => append_display(status, out),
                    None => out.push(b'-'),
                })
            }
            Known::UpstreamConnectTime => list(|attempt, out| time(attempt.measured.connect, out)),
            Known::UpstreamHeaderTime => list(|attempt, out| time(attempt.measured.header, out)),
            Known::UpstreamResponseTime if so_far.ended => {
                list(|attempt, out| push_seconds(out, attempt.measured.end.unwrap_or(attempt.time)))
            }
            // As nginx, before that nothing is told of when a body ends, though it may have ended.
            Known::UpstreamResponseTime => list(|attempt, out| {
                time(attempt.error.as_ref().map(|_| attempt.time), out);
            }),
            Known::UpstreamResponseLength => {
                list(|attempt, out| append_display(attempt.measured.body_bytes, out))
            }
            Known::UpstreamBytesReceived => list(|attempt, out| {
                append_display(attempt.measured.body_bytes + attempt.measured.head_bytes, out);
            }),
            Known::UpstreamBytesSent => {
                list(|attempt, out| append_display(attempt.measured.sent_bytes, out))
            }
            _ => None,
        }
    }

    /// Host and port of the target as written, or as worked out.
    fn proxy_host(&self) -> Option<&str> {
        let aimed = Some(self.course.proxy_host.as_str()).filter(|host| !host.is_empty());
        let written = || match &self.course.route(self.scene.config)?.action {
            Action::Proxy(proxy) => Some(proxy.host.as_str()),
            _ => None,
        };
        aimed.or_else(written)
    }

    fn append_proxy_port(&self, out: &mut Vec<u8>) -> bool {
        let Some(host) = self.proxy_host() else { return false };
        let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
        let route = self.course.route(self.scene.config);
        let tls = route.is_some_and(|route| matches!(&route.action, Action::Proxy(p) if p.tls));
        out.extend_from_slice(port.unwrap_or(if tls { "443" } else { "80" }).as_bytes());
        true
    }

    /// The first cookie of this name that the last peer has set.
    pub(super) fn upstream_cookie(&self, name: &str) -> Option<&[u8]> {
        let lines = self.scene.so_far.upstream?.get_all(header::SET_COOKIE).iter();
        // Only the cookie itself, not its attributes.
        let mut cookies = lines.filter_map(|line| line.as_bytes().split(|b| *b == b';').next());
        cookies.find_map(|cookie| cookie_in(cookie, name))
    }
}

/// As nginx tells of an upstream that had no peer.
fn without_peer(known: Known, upstream: &str, out: &mut Vec<u8>) -> Option<bool> {
    out.extend_from_slice(match known {
        Known::UpstreamAddr => upstream.as_bytes(),
        Known::UpstreamStatus => b"502",
        Known::UpstreamConnectTime | Known::UpstreamHeaderTime => b"-",
        Known::UpstreamResponseTime => b"0.000",
        Known::UpstreamResponseLength | Known::UpstreamBytesReceived | Known::UpstreamBytesSent => {
            b"0"
        }
        _ => return None,
    });
    Some(true)
}

fn time(time: Option<std::time::Duration>, out: &mut Vec<u8>) {
    match time {
        Some(time) => push_seconds(out, time),
        None => out.push(b'-'),
    }
}
