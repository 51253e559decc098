//! Waiting for a peer in the upstream's queue: as long as the client waits, too.

use pingora::protocols::http::ServerSession;
use pingora_proxy::Session;

use super::Exchange;
use crate::health::Tick;
use crate::proxy::Served;
use crate::upstream::{Lease, Refusal};

/// Why there is no peer.
pub(super) enum Unserved {
    /// The client has left the queue.
    Gone,
    /// There is none.
    Refused(Refusal),
}

impl Exchange {
    /// Picks a peer, where there is a queue when its turn has come.
    pub(super) async fn pick_in_turn(
        &self,
        session: &mut Session,
        served: &Served,
        now: Tick,
    ) -> Result<Lease, Unserved> {
        // Only then can be seen whether the client is there.
        self.note_body_read(session);
        let key = self.key(session);
        let picked = served.upstream.pick_or_wait(key, &self.tried, now);
        tokio::select! {
            // Nearly all get a peer at once: nobody looks for the client then.
            biased;
            picked = picked => picked.map_err(Unserved::Refused),
            () = left(session) => Err(Unserved::Gone),
        }
    }
}

/// Resolves when the client has left. While its body is on its way it cannot be seen.
async fn left(session: &mut Session) {
    let done = session.is_body_done();
    match session.as_mut() {
        ServerSession::H2(stream) => drop(stream.idle().await),
        ServerSession::H1(http1) if done => while http1.read_body_or_idle(true).await.is_ok() {},
        _ => std::future::pending().await,
    }
}
