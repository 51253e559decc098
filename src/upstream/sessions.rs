//! The sessions of `sticky learn`: which peer each of them is bound to.
//!
//! A session is known by the MD5 of its id, so that an entry has one size whatever a client sends.
//! It ends when no answer has prolonged it for `timeout`, or when it was prolonged least recently of
//! all and the table is full (`ngx_http_upstream_sticky_sess_expire`). Looking one up does not
//! prolong it, as in nginx. Large tables are cut into parts with a lock each, by the session's
//! first byte; then the least recent of a part goes.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use md5::{Digest, Md5};

use crate::config::model::Learn;
use crate::health::Tick;

/// How many sessions make it worth to cut the table into parts, and into how many.
const LARGE: usize = 1024;
const PARTS: usize = 16;

/// The peer of a session.
#[derive(Debug)]
struct Session {
    sid: Arc<str>,
    ends: Tick,
}

/// The MD5 of a session's id.
type Id = [u8; 16];

/// A bounded table of sessions.
#[derive(Debug)]
pub struct Sessions {
    timeout: Duration,
    parts: Box<[Mutex<LruCache<Id, Session>>]>,
}

impl Sessions {
    /// An empty table.
    #[must_use]
    pub fn new(learn: &Learn) -> Self {
        let parts = if learn.sessions < LARGE { 1 } else { PARTS };
        let capacity = NonZeroUsize::new(learn.sessions.div_ceil(parts));
        // Without a limit of its own the cache would ask for all of its memory at once.
        let part = || {
            let mut part = LruCache::unbounded();
            part.resize(capacity.unwrap_or(NonZeroUsize::MIN));
            Mutex::new(part)
        };
        Self { timeout: learn.timeout, parts: (0..parts).map(|_| part()).collect() }
    }

    /// What the peer is known by that the session is bound to.
    #[must_use]
    pub fn lookup(&self, id: &[u8], now: Tick) -> Option<Arc<str>> {
        let id = Md5::digest(id).into();
        let part = self.part(&id);
        let session = part.peek(&id).filter(|session| now < session.ends)?;
        Some(Arc::clone(&session.sid))
    }

    /// Binds the session to the peer that has answered it and prolongs it. One that is not known is
    /// begun only if it is to be.
    pub fn learn(&self, id: &[u8], sid: &Arc<str>, begin: bool, now: Tick) {
        let id: Id = Md5::digest(id).into();
        let mut part = self.part(&id);
        // The least recently prolonged end first.
        while part.peek_lru().is_some_and(|(_, session)| session.ends <= now) {
            part.pop_lru();
        }
        let session = Session { sid: Arc::clone(sid), ends: now.after(self.timeout) };
        match part.get_mut(&id) {
            Some(known) => *known = session,
            None if begin => drop(part.push(id, session)),
            None => {}
        }
    }

    /// How many there are, those included that have ended and not made room yet.
    #[must_use]
    pub fn count(&self) -> usize {
        self.parts.iter().map(|part| locked(part).len()).sum()
    }

    fn part(&self, id: &Id) -> MutexGuard<'_, LruCache<Id, Session>> {
        locked(&self.parts[usize::from(id[0]) % self.parts.len()])
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Entries are whole at any time: a poisoned lock is as good as any.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(sessions: usize) -> Sessions {
        let timeout = Duration::from_secs(10);
        Sessions::new(&Learn { create: vec![], lookup: vec![], sessions, timeout, header: false })
    }

    fn at(seconds: u64) -> Tick {
        Tick::from_millis(1_000_000 + seconds * 1000)
    }

    fn sid(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn a_session_stays_with_the_peer_that_answered_last() {
        let table = table(10);
        assert_eq!(table.lookup(b"s", at(0)), None);
        table.learn(b"s", &sid("a"), true, at(0));
        assert_eq!(table.lookup(b"s", at(1)).as_deref(), Some("a"));
        table.learn(b"s", &sid("b"), false, at(1));
        assert_eq!(table.lookup(b"s", at(1)).as_deref(), Some("b"));
        table.learn(b"other", &sid("b"), false, at(1));
        assert_eq!(table.lookup(b"other", at(1)), None, "it was not to be begun");
    }

    #[test]
    fn answers_prolong_a_session_and_lookups_do_not() {
        let table = table(10);
        table.learn(b"s", &sid("a"), true, at(0));
        table.learn(b"s", &sid("a"), false, at(9));
        assert!(table.lookup(b"s", at(18)).is_some());
        assert_eq!(table.lookup(b"s", at(19)), None);
        table.learn(b"s", &sid("a"), false, at(19));
        assert_eq!(table.count(), 0, "one that has ended is not prolonged");
    }

    #[test]
    fn the_one_prolonged_least_recently_makes_room() {
        let table = table(2);
        for id in [b"1", b"2"] {
            table.learn(id, &sid("a"), true, at(0));
        }
        table.learn(b"1", &sid("a"), false, at(1));
        table.learn(b"3", &sid("a"), true, at(1));
        assert_eq!(table.lookup(b"2", at(1)), None);
        assert!(table.lookup(b"1", at(1)).is_some() && table.lookup(b"3", at(1)).is_some());
    }

    #[test]
    fn a_large_table_never_grows_above_its_limit() {
        let table = table(1600);
        for n in 0_u32..10_000 {
            table.learn(&n.to_be_bytes(), &sid("a"), true, at(0));
        }
        assert_eq!(table.count(), 1600);
    }
}
