//! Requests a second: nginx's leaky bucket (`ngx_http_limit_req_module`), in thousandths of a request.
//!
//! Each request adds 1000 to the excess of its key, each millisecond takes the rate away. One whose
//! excess is above the burst is refused and not counted; one above the delay waits until it is not.
//! A request may be under several limits: it is counted in all of them or, refused by one, in none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Shards, Told, cost};
use crate::config::model::limits::{RequestLimit, RequestZone};
use crate::health::Tick;

/// What a key's first 80 bytes are to nginx: a node of its tree and what is counted.
const STATE: usize = 80;

/// How long a state is kept that has not been asked for, before it may make room for others.
const UNUSED: u64 = 60_000;

/// What is counted of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    /// Requests above the rate, in thousandths.
    excess: u64,
    /// When it was counted last; none where it is yet to be.
    last: Option<Tick>,
}

impl Bucket {
    /// The excess with one more request at `now`; `rate` in thousandths of a request a second.
    fn with_one_more(self, rate: u64, now: Tick) -> u64 {
        let Some(last) = self.last else { return 0 };
        let millis = now.as_millis().saturating_sub(last.as_millis());
        let leaked = i128::from(rate) * i128::from(millis) / 1000;
        let excess = i128::from(self.excess) - leaked + 1000;
        u64::try_from(excess.max(0)).unwrap_or(u64::MAX)
    }

    fn put(&mut self, excess: u64, now: Tick) {
        self.excess = excess;
        self.last = Some(self.last.map_or(now, |last| last.max(now)));
    }
}

/// A place of the list, by how long ago it was asked for.
#[derive(Debug)]
struct Node {
    key: Arc<[u8]>,
    bucket: Bucket,
    /// How many requests have looked and not counted yet.
    held: u32,
    newer: usize,
    older: usize,
}

const NONE: usize = usize::MAX;

/// A part of a table.
#[derive(Debug)]
struct Shard {
    rate: u64,
    bytes: u64,
    used: u64,
    places: HashMap<Arc<[u8]>, usize>,
    nodes: Vec<Node>,
    free: Vec<usize>,
    newest: usize,
    oldest: usize,
}

/// What a table says to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It may go on with this excess.
    Room(u64),
    /// Its excess is above the burst.
    Busy(u64),
    /// There is no room for another key.
    Full,
}

impl Shard {
    fn new(rate: u64, bytes: u64) -> Self {
        Self {
            rate,
            bytes,
            used: 0,
            places: HashMap::new(),
            nodes: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
        }
    }

    /// `ngx_http_limit_req_lookup`: counts the request with `last`, else holds its place.
    fn look(&mut self, key: &[u8], burst: u64, last: bool, now: Tick) -> Found {
        if let Some(place) = self.places.get(key).copied() {
            self.unlink(place);
            self.link(place);
            let node = &mut self.nodes[place];
            let excess = node.bucket.with_one_more(self.rate, now);
            if excess > burst {
                return Found::Busy(excess);
            }
            if last {
                node.bucket.put(excess, now);
            } else {
                node.held += 1;
            }
            return Found::Room(excess);
        }
        let room = cost(STATE + key.len());
        self.expire(false, now);
        if self.used + room > self.bytes {
            self.expire(true, now);
        }
        if self.used + room > self.bytes {
            return Found::Full;
        }
        let bucket = Bucket { excess: 0, last: last.then_some(now) };
        self.insert(key, bucket, u32::from(!last));
        Found::Room(0)
    }

    /// `ngx_http_limit_req_account`: counts a request whose place is held; its excess.
    fn account(&mut self, key: &[u8], now: Tick) -> u64 {
        let Some(place) = self.places.get(key).copied() else { return 0 };
        let node = &mut self.nodes[place];
        let excess = node.bucket.with_one_more(self.rate, now);
        node.bucket.put(excess, now);
        node.held = node.held.saturating_sub(1);
        excess
    }

    /// Lets go of a place.
    fn release(&mut self, key: &[u8]) {
        if let Some(place) = self.places.get(key) {
            let node = &mut self.nodes[*place];
            node.held = node.held.saturating_sub(1);
        }
    }

    /// `ngx_http_limit_req_expire`: forgets one or two keys that have leaked empty and were not
    /// asked for in a minute; by force the oldest as well.
    fn expire(&mut self, force: bool, now: Tick) {
        for turn in usize::from(!force)..3 {
            let place = self.oldest;
            let Some(node) = self.nodes.get(place) else { return };
            if node.held > 0 {
                return;
            }
            if turn != 0 {
                let unused = node
                    .bucket
                    .last
                    .map_or(u64::MAX, |last| now.as_millis().saturating_sub(last.as_millis()));
                if unused < UNUSED || node.bucket.with_one_more(self.rate, now) > 1000 {
                    return;
                }
            }
            self.remove(place);
        }
    }

    fn insert(&mut self, key: &[u8], bucket: Bucket, held: u32) {
        let key: Arc<[u8]> = key.into();
        self.used += cost(STATE + key.len());
        let node = Node { key: Arc::clone(&key), bucket, held, newer: NONE, older: NONE };
        let place = match self.free.pop() {
            Some(place) => {
                self.nodes[place] = node;
                place
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.places.insert(key, place);
        self.link(place);
    }

    fn remove(&mut self, place: usize) {
        self.unlink(place);
        // The place is used again; only the key's memory is given back.
        let key = std::mem::replace(&mut self.nodes[place].key, Arc::from([]));
        self.places.remove(&key);
        self.used -= cost(STATE + key.len());
        self.free.push(place);
    }

    /// Takes a place out of the list.
    fn unlink(&mut self, place: usize) {
        let (newer, older) = (self.nodes[place].newer, self.nodes[place].older);
        match self.nodes.get_mut(newer) {
            Some(node) => node.older = older,
            None => self.newest = older,
        }
        match self.nodes.get_mut(older) {
            Some(node) => node.newer = newer,
            None => self.oldest = newer,
        }
    }

    /// Makes a place the newest.
    fn link(&mut self, place: usize) {
        let before = self.newest;
        self.nodes[place].newer = NONE;
        self.nodes[place].older = before;
        match self.nodes.get_mut(before) {
            Some(node) => node.newer = place,
            None => self.oldest = place,
        }
        self.newest = place;
    }
}

/// The states of a `limit_req_zone`.
#[derive(Debug)]
pub struct RequestTable {
    zone: RequestZone,
    shards: Shards<Shard>,
    /// What was said of it in the log.
    pub told: Told,
}

impl RequestTable {
    /// An empty one.
    #[must_use]
    pub fn new(zone: &RequestZone) -> Self {
        let rate = zone.rate;
        let shards = Shards::new(zone.bytes, |bytes| Shard::new(rate, bytes));
        Self { zone: zone.clone(), shards, told: Told::default() }
    }

    /// Whether it is one for this zone. Slots of variables change with a reload, names do not.
    #[must_use]
    pub fn is_of(&self, zone: &RequestZone) -> bool {
        let RequestZone { name, key, rate, bytes } = zone;
        let own = &self.zone;
        own.name == *name
            && own.rate == *rate
            && own.bytes == *bytes
            && own.key.to_string() == key.to_string()
    }

    /// The zone's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.zone.name
    }

    /// How many bytes its states take, as nginx counts them; at most the zone's size.
    #[must_use]
    pub fn used(&self) -> u64 {
        let lock = |shard: &std::sync::Mutex<Shard>| {
            shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).used
        };
        self.shards.shards.iter().map(lock).sum()
    }
}

/// One limit, its table, and the key of a request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The limit.
    pub limit: &'a RequestLimit,
    /// The table of its zone.
    pub table: &'a RequestTable,
    /// What the zone's key makes of the request: not empty.
    pub key: &'a [u8],
}

/// What limits say to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on at once.
    Passed,
    /// It goes on later.
    Delayed {
        /// How much later.
        wait: Duration,
        /// Which of the limits says so.
        by: usize,
        /// Its excess, in thousandths of a request.
        excess: u64,
    },
    /// It is refused.
    Rejected {
        /// By which of the limits.
        by: usize,
        /// Its excess, in thousandths of a request.
        excess: u64,
        /// When the limit would let it through, were nobody else to ask.
        after: Duration,
    },
}

/// The time in which a rate takes so much away.
fn time_for(excess: u64, rate: u64) -> Duration {
    Duration::from_millis(excess.saturating_mul(1000) / rate.max(1))
}

/// Asks limits in their order (`ngx_http_limit_req_handler`).
#[must_use]
pub fn ask(asked: &[Asked<'_>], now: Tick) -> Verdict {
    let shard = |n: usize| asked[n].table.shards.of(asked[n].key);
    let rate = |n: usize| asked[n].table.zone.rate;
    let mut last_excess = 0;
    for (n, one) in asked.iter().enumerate() {
        let last = n + 1 == asked.len();
        let found = shard(n).look(one.key, one.limit.burst, last, now);
        let refused = match found {
            Found::Room(excess) => {
                last_excess = excess;
                continue;
            }
            Found::Busy(excess) => Some((excess, time_for(excess - one.limit.burst, rate(n)))),
            // All states are held by requests of this moment.
            Found::Full => None,
        };
        (0..n).for_each(|before| shard(before).release(asked[before].key));
        let (excess, after) = refused.unwrap_or_default();
        return Verdict::Rejected { by: n, excess, after };
    }
    let mut longest = (Duration::ZERO, 0, 0);
    for (n, one) in asked.iter().enumerate().rev() {
        let last = n + 1 == asked.len();
        let excess = if last { last_excess } else { shard(n).account(one.key, now) };
        let wait = time_for(excess.saturating_sub(one.limit.delay), rate(n));
        if wait > longest.0 {
            longest = (wait, n, excess);
        }
    }
    match longest {
        (Duration::ZERO, ..) => Verdict::Passed,
        (wait, by, excess) => Verdict::Delayed { wait, by, excess },
    }
}

#[cfg(test)]
mod tests;
