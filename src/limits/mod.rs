//! How much a client may ask for: requests a second, requests at once, bytes a second.
//!
//! The rules are nginx's (`ngx_http_limit_req_module`, `ngx_http_limit_conn_module`, the write filter)
//! as pure functions of a moment that is an argument. The tables behind them are live state: all
//! threads share them, and a reload keeps those whose zone says the same. A table holds as many
//! states as its size allows and never more: that of requests then forgets who came longest ago, that
//! of connections refuses. Locks are held for a lookup, one of several by the key's hash.
//!
//! What a refusal means to a client, and who is told, is not decided here.

mod connections;
pub mod rate;
pub mod requests;
mod told;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::model::limits::{ConnectionZone, RequestZone};
pub use connections::{ConnectionTable, Slot};
pub use requests::{Asked, RequestTable, Verdict};
pub use told::{Stop, Sum, Told, Turn};

/// A key longer than this is not counted, as in nginx.
pub const LONGEST_KEY: usize = 65_535;

/// The tables of a configuration, in the order of its zones.
#[derive(Debug, Default)]
pub struct Tables {
    /// For requests a second.
    pub requests: Vec<Arc<RequestTable>>,
    /// For requests at once.
    pub connections: Vec<Arc<ConnectionTable>>,
}

impl Tables {
    /// Tables for these zones; those of `known` stay whose zone says the same.
    #[must_use]
    pub fn new(requests: &[RequestZone], connections: &[ConnectionZone], known: &Self) -> Self {
        let request_table = |zone: &RequestZone| {
            let same = known.requests.iter().find(|table| table.is_of(zone));
            same.map_or_else(|| Arc::new(RequestTable::new(zone)), Arc::clone)
        };
        let connection_table = |zone: &ConnectionZone| {
            let same = known.connections.iter().find(|table| table.is_of(zone));
            same.map_or_else(|| Arc::new(ConnectionTable::new(zone)), Arc::clone)
        };
        Self {
            requests: requests.iter().map(request_table).collect(),
            connections: connections.iter().map(connection_table).collect(),
        }
    }
}

/// What a state costs that needs so many bytes, as nginx's slab hands them out: the next power of two.
fn cost(bytes: usize) -> u64 {
    bytes.max(8).next_power_of_two() as u64
}

/// One lock for each part of a table.
#[derive(Debug)]
struct Shards<T> {
    shards: Vec<Mutex<T>>,
    hasher: RandomState,
}

impl<T> Shards<T> {
    /// A part of a table holds at least this many bytes: states fill them unevenly.
    const LEAST: u64 = 256 << 10;
    const MOST: u64 = 16;

    /// Parts of a table of so many bytes; `make` gets the bytes of one.
    fn new(bytes: u64, make: impl Fn(u64) -> T) -> Self {
        let count = (bytes / Self::LEAST).clamp(1, Self::MOST);
        let shards = (0..count).map(|_| Mutex::new(make(bytes / count))).collect();
        Self { shards, hasher: RandomState::new() }
    }

    fn of(&self, key: &[u8]) -> MutexGuard<'_, T> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0);
        let shard = &self.shards[hash % self.shards.len()];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
