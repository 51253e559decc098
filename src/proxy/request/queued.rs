//! Waiting for a peer in the upstream's queue, or until limits let a request go on: as long as the
//! client waits, too.

use std::time::Duration;

use pingora::protocols::http::ServerSession;
use pingora_proxy::Session;
use tokio::time::timeout;

use super::{Exchange, connection};
use crate::health::Tick;
use crate::proxy::Served;
use crate::upstream::{Lease, Refusal};

/// Why there is no peer.
pub(in crate::proxy) enum Unserved {
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

/// Waits so long, before anything of the request's body was read; false when the client has left before.
pub(super) async fn stays(session: &mut Session, wait: Duration) -> bool {
    let watched = session.as_http1().is_some();
    if watched && let Some(connection) = connection(session) {
        // Whatever comes is kept for later, and who leaves is not waited for, whatever the request
        // before has said of that.
        connection.body_read(true);
        connection.set_patient(false);
    }
    let left = async {
        match session.as_mut() {
            ServerSession::H1(http1) => while http1.read_body_or_idle(true).await.is_ok() {},
            _ => left(session).await,
        }
    };
    let stayed = timeout(wait, left).await.is_err();
    if watched && let Some(connection) = connection(session) {
        connection.body_read(false);
    }
    stayed
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
