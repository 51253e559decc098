//! What is asked and answered: one JSON object a line.
//!
//! ```text
//! {"do":"peers"}
//! {"upstreams":[{"name":"back-end","trouble":null,"peers":[{"address":"172.18.0.4:5252",…}]}]}
//!
//! {"do":"drain","what":"172.18.0.4:5252","timeout_ms":30000}
//! {"told":[{"upstream":"back-end","peer":"172.18.0.4:5252","changed":true,"reason":"draining by hand","in_flight":2}]}
//! {"in_flight":1}
//! {"drained":true}
//!
//! {"do":"reload"}
//! {"done":"reloaded; upstreams added: api"}
//! ```
//!
//! `upgrade` is answered as `reload` is; a configuration that is refused with `{"refused":"…"}`, which holds what
//! `robin -t` prints. `undrain`, `down` and `up` are answered with `told` alone, and what cannot be done with `{"error":"…"}`.
//! `in_flight` comes at once where it is not 0, and then once a second. An answer is a public format: adding is free,
//! renaming is a breaking change.

use serde::{Deserialize, Serialize};

use crate::observe::status::StatusView;
use crate::observe::view::UpstreamView;

/// What is asked. `what` is a peer's address as it is printed, `upstream/address`, an upstream's
/// name, or the host of a server line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Ask {
    /// Every upstream with its peers.
    Peers,
    /// All that is known of the process.
    Status,
    /// Give peers no new request but of sessions that are bound to them, and wait until nothing is
    /// in flight.
    Drain {
        /// Which.
        what: String,
        /// How long to wait. Default: for ever.
        #[serde(default)]
        timeout_ms: Option<u64>,
    },
    /// Take `drain` back.
    Undrain {
        /// Which.
        what: String,
    },
    /// Give peers no request.
    Down {
        /// Which.
        what: String,
    },
    /// Take `drain` and `down` back.
    Up {
        /// Which.
        what: String,
    },
    /// Read the configuration again.
    Reload,
    /// Start the binary again and let it take the place of this process.
    Upgrade,
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Every upstream with its peers.
    Upstreams(Vec<UpstreamView>),
    /// All that is known of the process.
    Status(Box<StatusView>),
    /// The peers that were meant.
    Told(Vec<Told>),
    /// Requests in flight on those that are drained.
    InFlight(u64),
    /// The last line of `drain`: whether nothing is in flight; else the time is over, and they are draining still.
    Drained(bool),
    /// What was done.
    Done(String),
    /// Why it is not done, in one or more lines that are ready to be printed.
    Refused(String),
    /// Why it cannot be done.
    Error(String),
}

/// A peer that was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its upstream.
    pub upstream: String,
    /// Its address.
    pub peer: String,
    /// Whether it had not been told so before.
    pub changed: bool,
    /// How it stands now, in words.
    pub reason: String,
    /// Requests in flight on it.
    pub in_flight: u32,
}
