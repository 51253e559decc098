//! Requests at once: `ngx_http_limit_conn_module`. A request holds its place until it is done.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Shards, Told, cost};
use crate::config::model::limits::ConnectionZone;

/// What a key's bytes come on top of: a node of nginx's tree and its counter.
const STATE: usize = 38;

#[derive(Debug)]
struct Shard {
    bytes: u64,
    used: u64,
    counts: HashMap<Box<[u8]>, u32>,
}

/// The states of a `limit_conn_zone`.
#[derive(Debug)]
pub struct ConnectionTable {
    zone: ConnectionZone,
    shards: Shards<Shard>,
    /// What was said of it in the log.
    pub told: Told,
}

impl ConnectionTable {
    /// An empty one.
    #[must_use]
    pub fn new(zone: &ConnectionZone) -> Self {
        let make = |bytes| Shard { bytes, used: 0, counts: HashMap::new() };
        let shards = Shards::new(zone.bytes, make);
        Self { zone: zone.clone(), shards, told: Told::default() }
    }

    /// Whether it is one for this zone.
    #[must_use]
    pub fn is_of(&self, zone: &ConnectionZone) -> bool {
        let ConnectionZone { name, key, bytes } = zone;
        let own = &self.zone;
        own.name == *name && own.bytes == *bytes && own.key.to_string() == key.to_string()
    }

    /// The zone's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.zone.name
    }

    /// A place for another request of a key, of `most`; none where all are taken, and where the table
    /// has no room for another key.
    #[must_use]
    pub fn take(self: &Arc<Self>, key: &[u8], most: u32) -> Option<Slot> {
        let mut shard = self.shards.of(key);
        if let Some(count) = shard.counts.get_mut(key) {
            if *count >= most {
                return None;
            }
            *count += 1;
        } else {
            let room = cost(STATE + key.len());
            if most == 0 || shard.used + room > shard.bytes {
                return None;
            }
            shard.used += room;
            shard.counts.insert(key.into(), 1);
        }
        drop(shard);
        Some(Slot { table: Arc::clone(self), key: key.into() })
    }

    fn give_back(&self, key: &[u8]) {
        let mut shard = self.shards.of(key);
        let Some(count) = shard.counts.get_mut(key) else { return };
        *count -= 1;
        if *count == 0 {
            shard.counts.remove(key);
            shard.used -= cost(STATE + key.len());
        }
    }
}

/// A place that a request holds; dropping it gives it back.
#[derive(Debug)]
pub struct Slot {
    table: Arc<ConnectionTable>,
    key: Box<[u8]>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.table.give_back(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::template::Template;

    fn table(bytes: u64) -> Arc<ConnectionTable> {
        let key = Template::parse("$remote_addr").expect("nginx's own");
        Arc::new(ConnectionTable::new(&ConnectionZone { name: "one".into(), key, bytes }))
    }

    #[test]
    fn a_place_is_given_back_when_the_request_is_gone() {
        let table = table(1 << 20);
        let first = table.take(b"a", 2).expect("there is room");
        let second = table.take(b"a", 2).expect("there is room");
        assert!(table.take(b"a", 2).is_none());
        assert!(table.take(b"b", 2).is_some());
        drop(first);
        assert!(table.take(b"a", 2).is_some());
        drop(second);
        let shards = table.shards.shards.iter();
        let used = shards.map(|s| s.lock().expect("no test panics in it").used).sum::<u64>();
        assert_eq!(used, 0, "what nobody holds takes no room");
    }

    #[test]
    fn a_full_table_refuses_new_keys() {
        let table = table(32 << 10);
        let held: Vec<Slot> =
            (0..10_000_u32).filter_map(|n| table.take(&n.to_be_bytes(), 1)).collect();
        assert_eq!(held.len(), (32 << 10) / 64, "64 bytes a state, as in nginx");
    }
}
