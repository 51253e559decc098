//! Sessions that clients take up again: tickets that they keep, and a cache of ours.
//!
//! What a virtual server has of them outlives a reload that leaves its addresses and names alone: a
//! client does not see that there was one. Keys of tickets change every six hours, unless they stand
//! in files. Both end after `ssl_session_timeout`, which rustls leaves to clients.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::crypto::ring::Ticketer;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions,
};

use super::TlsError;
use crate::config::tls::Tls;
use crate::config::tls::certificate;

/// How much of a key's file is its name.
const NAME_BYTES: usize = 16;
/// How long the moment is that stands before a session.
const MOMENT_BYTES: usize = 8;

/// What a virtual server has of sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    tickets: Option<Arc<dyn ProducesTickets>>,
    /// Whether the process has made their keys.
    own_keys: bool,
    cache: Option<(usize, Arc<dyn StoresServerSessions>)>,
}

impl Sessions {
    /// Those of the virtual server that is called `owner`, as far as there are some.
    pub(super) fn of(owner: &str, tls: &Tls) -> Result<Arc<Self>, TlsError> {
        static KEPT: Mutex<Option<HashMap<String, Weak<Sessions>>>> = Mutex::new(None);
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get_or_insert_default();
        kept.retain(|_, sessions| sessions.strong_count() > 0);
        let before = kept.get(owner).and_then(Weak::upgrade);
        let sessions = Arc::new(Self::new(tls, before.as_deref())?);
        kept.insert(owner.to_owned(), Arc::downgrade(&sessions));
        Ok(sessions)
    }

    fn new(tls: &Tls, before: Option<&Self>) -> Result<Self, TlsError> {
        let tickets: Option<Arc<dyn ProducesTickets>> = match &tls.ticket_keys[..] {
            _ if !tls.session_tickets => None,
            [] => {
                let known = before.filter(|before| before.own_keys);
                Some(match known.and_then(|before| before.tickets.clone()) {
                    Some(tickets) => tickets,
                    None => Ticketer::new()?,
                })
            }
            files => Some(Arc::new(FileTickets::new(files)?)),
        };
        let size = tls.session_cache;
        let known = before.and_then(|before| before.cache.clone());
        let known = known.filter(|(known, _)| *known == size);
        let cache = (size > 0)
            .then(|| known.unwrap_or_else(|| (size, ServerSessionMemoryCache::new(size))));
        Ok(Self { tickets, own_keys: tls.ticket_keys.is_empty(), cache })
    }

    /// Tickets that are good for so long.
    pub(super) fn tickets(self: &Arc<Self>, timeout: Duration) -> Option<Arc<dyn ProducesTickets>> {
        let sessions = Arc::clone(self);
        let tickets = self.tickets.clone()?;
        Some(Arc::new(Tickets { tickets, timeout, _sessions: sessions }))
    }

    /// A cache whose sessions are good for so long.
    pub(super) fn cache(self: &Arc<Self>, timeout: Duration) -> Arc<dyn StoresServerSessions> {
        match self.cache.clone() {
            None => Arc::new(NoServerSessionStorage {}),
            Some((_, cache)) => Arc::new(Cache { cache, timeout, _sessions: Arc::clone(self) }),
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A session with the moment when it began.
fn dated(session: &[u8]) -> Vec<u8> {
    [&now().to_be_bytes()[..], session].concat()
}

/// The session, unless it began too long ago.
fn still_good(dated: &[u8], timeout: Duration) -> Option<Vec<u8>> {
    let (moment, session) = dated.split_first_chunk::<MOMENT_BYTES>()?;
    let age = now().checked_sub(u64::from_be_bytes(*moment))?;
    (age < timeout.as_secs().max(1)).then(|| session.to_vec())
}

/// Tickets that end.
struct Tickets {
    tickets: Arc<dyn ProducesTickets>,
    timeout: Duration,
    /// Kept for the next reload.
    _sessions: Arc<Sessions>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.timeout.as_secs()).unwrap_or(u32::MAX).min(self.tickets.lifetime())
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.encrypt(&dated(plain))
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        still_good(&self.tickets.decrypt(cipher)?, self.timeout)
    }
}

/// A cache whose sessions end.
struct Cache {
    cache: Arc<dyn StoresServerSessions>,
    timeout: Duration,
    /// Kept for the next reload.
    _sessions: Arc<Sessions>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl StoresServerSessions for Cache {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.cache.put(key, dated(&value))
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        still_good(&self.cache.get(key)?, self.timeout)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        still_good(&self.cache.take(key)?, self.timeout)
    }

    fn can_cache(&self) -> bool {
        self.cache.can_cache()
    }
}

/// Tickets with keys of files (`ssl_session_ticket_key`): several machines that have the same files take
/// up each other's sessions. The files are nginx's; what is made with their keys is not.
struct FileTickets(Vec<([u8; NAME_BYTES], LessSafeKey)>);

impl fmt::Debug for FileTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileTickets").field(&self.0.len()).finish()
    }
}

impl FileTickets {
    fn new(files: &[PathBuf]) -> Result<Self, TlsError> {
        let mut keys = Vec::with_capacity(files.len());
        for path in files {
            let file = certificate::ticket_key(path)?;
            let unusable = || rustls::Error::General("a ticket key cannot be used".to_owned());
            let (name, secret) = file.split_first_chunk().ok_or_else(unusable)?;
            // One key for one use (RFC 5869): nginx has AES and an HMAC with parts of the file.
            let secret = Salt::new(HKDF_SHA256, name).extract(secret);
            let secret = secret.expand(&[b"robin ticket"], &AES_256_GCM);
            let key = UnboundKey::from(secret.map_err(|_| unusable())?);
            keys.push((*name, LessSafeKey::new(key)));
        }
        Ok(Self(keys))
    }
}

impl ProducesTickets for FileTickets {
    fn enabled(&self) -> bool {
        !self.0.is_empty()
    }

    fn lifetime(&self) -> u32 {
        u32::MAX
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.0.first()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let with = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(with, Aad::from(name), &mut sealed).ok()?;
        Some([&name[..], &nonce[..], &sealed[..]].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = cipher.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (_, key) = self.0.iter().find(|(known, _)| known == name)?;
        let mut opened = sealed.to_vec();
        let with = Nonce::assume_unique_for_key(*nonce);
        let length = key.open_in_place(with, Aad::from(name), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_of_the_same_files_are_read_by_another_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, byte: u8, length: usize| {
            let path = folder.path().join(name);
            std::fs::write(&path, vec![byte; length]).expect("a file");
            path
        };
        let (old, new) = (file("old", 1, 48), file("new", 2, 80));
        let before = FileTickets::new(std::slice::from_ref(&old)).expect("keys");
        let ticket = before.encrypt(b"a session").expect("a ticket");
        let after = FileTickets::new(&[new, old]).expect("keys");
        assert_eq!(after.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        let newer = after.encrypt(b"a session").expect("a ticket");
        assert_eq!(before.decrypt(&newer), None, "the first encrypts");
        let mut broken = ticket;
        *broken.last_mut().expect("it is not empty") ^= 1;
        assert_eq!(after.decrypt(&broken), None);
        FileTickets::new(&[file("short", 3, 47)]).expect_err("47 bytes");
    }

    #[test]
    fn what_a_virtual_server_has_outlives_its_configuration() {
        let tls = Tls { session_cache: 16, ..Tls::default() };
        let timeout = Duration::from_secs(300);
        let first = Sessions::of("outlives", &tls).expect("sessions");
        let ticket = first.tickets(timeout).expect("tickets").encrypt(b"a").expect("a ticket");
        assert!(first.cache(timeout).put(b"key".to_vec(), b"b".to_vec()));
        let second = Sessions::of("outlives", &tls).expect("sessions");
        drop(first);
        let third = Sessions::of("outlives", &tls).expect("sessions");
        drop(second);
        let tickets = |sessions: &Arc<Sessions>| sessions.tickets(timeout).expect("tickets");
        assert_eq!(tickets(&third).decrypt(&ticket).as_deref(), Some(&b"a"[..]));
        assert_eq!(third.cache(timeout).get(b"key").as_deref(), Some(&b"b"[..]));
        let other = Sessions::of("another", &tls).expect("sessions");
        assert_eq!(tickets(&other).decrypt(&ticket), None, "of another virtual server");
        drop(third);
        let late = Sessions::of("outlives", &tls).expect("sessions");
        assert_eq!(tickets(&late).decrypt(&ticket), None, "nobody had it");
    }

    #[test]
    fn a_session_ends() {
        let session = dated(b"a");
        assert_eq!(still_good(&session, Duration::from_secs(5)).as_deref(), Some(&b"a"[..]));
        let old = [&(now() - 6).to_be_bytes()[..], b"a"].concat();
        assert_eq!(still_good(&old, Duration::from_secs(5)), None);
    }
}
