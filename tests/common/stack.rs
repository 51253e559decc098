//! Robins with what stands behind them.

use std::net::SocketAddr;

use super::dns::DnsServer;
use super::net::free_address;
use super::origin::{Behaviour, Origin};
use super::robin::Robin;

/// One origin, and robin before it.
pub struct Stack {
    /// What answers.
    pub origin: Origin,
    /// What is asked.
    pub robin: Robin,
}

/// All requests go to one origin; `settings` is YAML.
pub fn stack(behaviour: Behaviour, settings: &str) -> Stack {
    let origin = Origin::start(free_address(), behaviour);
    let robin = Robin::with(&format!("{settings}\nroutes: {{ /: {} }}", origin.address()));
    Stack { origin, robin }
}

/// Robin before those that have the name `api.test` and this port, which are looked up and probed ten times
/// a second; where it listens.
pub fn before_a_name(dns: &DnsServer, port: u16) -> (SocketAddr, Robin) {
    let listen = free_address();
    let yaml = format!(
        "listen: {listen}\nresolver: {}\nupstreams:\n  back-end:\n    servers: [api.test:{port}]\n    \
         refresh: 100ms\n    health_check: {{ http: /healthz, every: 100ms }}\n\
         routes: {{ /: back-end }}\n",
        dns.address()
    );
    (listen, Robin::start(listen, &yaml))
}
