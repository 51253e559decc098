//! A connection to a peer that can be ended from outside while Pingora holds it.
//!
//! Pingora reads from a connection until its timeouts, and keeps it in a pool that nobody else can
//! look into. Both end at once when the system says that the connection has ended, and anyone who
//! knows its descriptor can make the system say so (shutdown(2)). A [`Wire`] knows it while Pingora
//! has it open, and travels with it, also through the pool, as what Pingora's digest of a
//! connection lets us add. It costs a request a few atomic operations, and no wrapper reads or
//! writes a byte: a stream of our own would not be a socket to Pingora's pool, which asks the
//! system about its sockets.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{Digest, GetProxyDigest as _};
use pingora::upstreams::peer::{Tracer, Tracing};
use tokio::time::Instant;

use crate::health::clock;
use crate::upstream::{Connection, Peer};

/// What stands in the place of users once there will be none.
const GONE: u32 = u32::MAX;

/// One connection to a peer.
#[derive(Debug)]
pub(super) struct Wire {
    /// None once Pingora closes it; the number may then be another's.
    descriptor: Mutex<Option<RawFd>>,
    peer: Peer,
    /// What [`Peer::generation`] was when it was made.
    generation: u32,
    made: Instant,
    /// Attempts that have used it.
    uses: AtomicU64,
    /// Attempts that use it: one, or for a moment two where the first has not said that it ended;
    /// [`GONE`] once it was ended while none did.
    users: AtomicU32,
    cut: AtomicBool,
    /// Whether no attempt begins to use it any more.
    retired: AtomicBool,
}

impl Wire {
    /// Makes `stream`, a connection to `peer` with this descriptor, known to its peer, and itself to
    /// whoever gets it. The attempt that has made it is its first user.
    pub(super) fn attach(stream: &mut Stream, descriptor: RawFd, peer: &Peer) -> Result<()> {
        let wire = Self::known(descriptor, peer);
        stream.tracer = Some(Tracer(Box::new(Watched(Arc::clone(&wire)))));
        // There is no proxy between us and the peer; nothing else that we may add travels along.
        let nothing = Box::new(ResponseHeader::build(200, Some(0))?);
        stream.set_proxy_digest(ProxyDigest::new(nothing, Some(Box::new(wire))));
        Ok(())
    }

    /// The same for a connection that does not go to Pingora; dropping the second, which has to happen
    /// before the connection is closed, makes the wire forget it.
    pub(super) fn watch(descriptor: RawFd, peer: &Peer) -> (Arc<Self>, Closing) {
        let wire = Self::known(descriptor, peer);
        (Arc::clone(&wire), Closing(wire))
    }

    /// Knows the connection again that was closed to it, so that it could be handed over.
    pub(super) fn watch_again(self: &Arc<Self>, descriptor: RawFd) -> Closing {
        *self.descriptor() = Some(descriptor);
        Closing(Arc::clone(self))
    }

    fn known(descriptor: RawFd, peer: &Peer) -> Arc<Self> {
        let wire = Arc::new(Self::new(descriptor, peer));
        let known: Arc<dyn Connection> = wire.clone();
        peer.connected(&known);
        wire
    }

    fn new(descriptor: RawFd, peer: &Peer) -> Self {
        Self {
            descriptor: Mutex::new(Some(descriptor)),
            peer: peer.clone(),
            generation: peer.generation(),
            made: Instant::now(),
            uses: AtomicU64::new(0),
            users: AtomicU32::new(1),
            cut: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        }
    }

    /// The wire of a connection that [`Wire::attach`] was called for.
    pub(super) fn of(digest: &Digest) -> Option<&Arc<Self>> {
        digest.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }

    /// Whether it was ended from outside.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }

    /// Whether its peer has left DNS.
    pub(super) fn has_left(&self) -> bool {
        self.peer.has_left()
    }

    /// How many attempts have used it, and for how long it has been open.
    pub(super) fn age(&self) -> (u64, Duration) {
        (self.uses.load(Relaxed), clock::since(self.made))
    }

    /// Ends it once nobody uses it; until then nobody begins to.
    pub(super) fn retire(&self) {
        self.retired.store(true, Relaxed);
    }

    fn descriptor(&self) -> MutexGuard<'_, Option<RawFd>> {
        // A number is all there is: a poisoned one is as good as any.
        self.descriptor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection for Wire {
    fn is_idle(&self) -> bool {
        matches!(self.users.load(Relaxed), 0 | GONE)
    }

    fn cut_idle(&self) {
        // Of this and an attempt that is about to use it one comes first, and the other learns of it.
        if self.users.compare_exchange(0, GONE, Relaxed, Relaxed).is_ok() {
            self.cut();
        }
    }

    fn cut(&self) {
        self.cut.store(true, Relaxed);
        if let Some(descriptor) = *self.descriptor() {
            // It may have ended by itself, which is all that is wanted.
            let _ = shutdown(descriptor, Shutdown::Both);
        }
    }
}

/// An attempt's use of a connection; it ends when dropped.
#[derive(Debug)]
pub(super) struct Use(Arc<Wire>);

impl Use {
    /// Begins to use a connection; `reused` where another attempt has made it. None if it was ended
    /// before, and its end has not reached Pingora's pool yet.
    pub(super) fn begin(wire: &Arc<Wire>, reused: bool) -> Option<Self> {
        if reused {
            if wire.retired.load(Relaxed) {
                return None;
            }
            let more = |users: u32| (users != GONE).then(|| users + 1);
            wire.users.fetch_update(Relaxed, Relaxed, more).ok()?;
        }
        wire.uses.fetch_add(1, Relaxed);
        // Dropped where it was cut, for the use is counted already.
        Some(Self(Arc::clone(wire))).filter(|_| !reused || !wire.is_cut())
    }

    pub(super) fn wire(&self) -> &Arc<Wire> {
        &self.0
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let wire = &self.0;
        let last = wire.users.fetch_sub(1, Relaxed) == 1;
        // Pingora has put it into its pool by now, where nobody will look for it again.
        let ends = || wire.peer.has_left() || wire.peer.generation() != wire.generation;
        if last && (wire.retired.load(Relaxed) || ends()) {
            wire.cut();
        }
    }
}

/// Tells a [`Wire`], when dropped, that its connection is about to be closed.
#[derive(Debug)]
pub(super) struct Closing(Arc<Wire>);

impl Drop for Closing {
    fn drop(&mut self) {
        *self.0.descriptor() = None;
    }
}

/// Tells a [`Wire`] when Pingora is about to close its connection.
#[derive(Debug)]
struct Watched(Arc<Wire>);

impl Tracing for Watched {
    fn on_connected(&self) {}

    /// Pingora calls it before it closes the descriptor.
    fn on_disconnected(&self) {
        *self.0.descriptor() = None;
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::health::Tick;
    use crate::upstream::{Member, Method, Upstream};

    /// Both ends of a connection that its first attempt uses no more.
    fn idle() -> (Arc<Wire>, UnixStream, UnixStream) {
        let upstream = Upstream::new("test", &Method::default(), None);
        upstream.publish(&[Member::new(([127, 0, 0, 1], 1).into())], Tick::from_millis(0));
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let wire = Arc::new(Wire::new(ours.as_raw_fd(), &upstream.peers()[0]));
        drop(Use::begin(&wire, false));
        (wire, ours, theirs)
    }

    #[test]
    fn a_connection_that_was_ended_while_idle_is_not_used() {
        let (wire, mut ours, _theirs) = idle();
        wire.cut_idle();
        assert!(Use::begin(&wire, true).is_none());
        assert_eq!(ours.read(&mut [0]).ok(), Some(0), "its end is there to be read");
    }

    #[test]
    fn a_connection_that_is_used_is_not_ended_as_idle() {
        let (wire, _ours, _theirs) = idle();
        let used = Use::begin(&wire, true);
        wire.cut_idle();
        assert!(used.is_some() && !wire.is_cut());
        wire.cut();
        drop(used);
        assert!(Use::begin(&wire, true).is_none());
        assert!(wire.is_idle());
    }

    #[test]
    fn one_that_is_closed_touches_no_other() {
        let (wire, mut ours, mut theirs) = idle();
        Watched(Arc::clone(&wire)).on_disconnected();
        wire.cut();
        std::io::Write::write_all(&mut theirs, b"x").expect("it is open");
        assert_eq!(ours.read(&mut [0]).ok(), Some(1), "the number may be another's by now");
    }
}
