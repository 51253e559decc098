//! What discovery and configuration say of a peer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::model::Tier;
use crate::health::PassiveRule;
use crate::upstream::PeerAddress;
use crate::upstream::balance::ketama;

/// What discovery and configuration say of a peer: all that is not its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The address, which is the peer's identity.
    pub address: PeerAddress,
    /// The host of its server line, where that is a name.
    pub host: Option<Arc<str>>,
    /// Which of several equal server lines it belongs to, for nginx allows them; default 0. Each of
    /// them makes a peer of its own.
    pub copy: u16,
    /// Share of requests relative to the others of its tier; default 1, at least 1.
    pub weight: u32,
    /// Primary or backup.
    pub tier: Tier,
    /// Out by configuration; only an edit brings it back.
    pub down: bool,
    /// Its name has no address at present (NXDOMAIN or an empty answer); this is the last one known.
    pub absent: bool,
    /// Attempts in flight at most; default 0, which sets no limit.
    pub max_conns: u32,
    /// When failures of traffic eject it.
    pub passive: PassiveRule,
    /// How long it takes to grow to its weight when it is new or back; default zero.
    pub slow_start: Duration,
    /// Whether only sessions that are bound to it reach it; default false.
    pub drain: bool,
    /// What `sticky` knows it by; default: the MD5 of its address.
    pub route: Option<Arc<str>>,
    /// What `hash … consistent` knows its server line by; default [`Member::line_of`] the address.
    pub line: u32,
}

impl Member {
    /// A primary at `address` with every default.
    #[must_use]
    pub fn new(address: PeerAddress) -> Self {
        let line = match &address {
            PeerAddress::Tcp(SocketAddr::V4(v4)) => Self::line_of(&v4.ip().to_string(), v4.port()),
            PeerAddress::Tcp(SocketAddr::V6(v6)) => {
                Self::line_of(&format!("[{}]", v6.ip()), v6.port())
            }
            PeerAddress::Unix(path) => ketama::line(&path.to_string_lossy(), None),
        };
        Self {
            address,
            host: None,
            copy: 0,
            weight: 1,
            tier: Tier::Primary,
            down: false,
            absent: false,
            max_conns: 0,
            passive: PassiveRule::default(),
            slow_start: Duration::ZERO,
            drain: false,
            route: None,
            line,
        }
    }

    /// What no two peers of an upstream share.
    pub(in crate::upstream) fn key(&self) -> (&PeerAddress, u16) {
        (&self.address, self.copy)
    }

    /// The number for a server line's host and port, made as nginx does for its ring.
    #[must_use]
    pub fn line_of(host: &str, port: u16) -> u32 {
        ketama::line(host, Some(port))
    }
}
