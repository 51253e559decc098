//! What whole-process tests and tests against sockets share: scripted origins, a DNS server, a
//! raw client and the launcher of the binary. Everything ends when it is dropped.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(unreachable_pub, reason = "each test is a crate of its own")]

pub mod client;
pub mod dns;
pub mod grpc;
pub mod http;
pub mod net;
pub mod origin;
pub mod robin;
pub mod stack;
pub mod tls;
pub mod tmux;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Long enough for anything that will happen at all, on a machine that is busy with much else.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Locks, also after a thread that held the lock has panicked: the panic is reported elsewhere.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether all requests share one pool of connections to peers, which whoever counts these has to know: with
/// `ROBIN_EXPRESS=alternate` every other request takes another way, with a pool of its own.
pub fn one_pool() -> bool {
    let one = std::env::var("ROBIN_EXPRESS").as_deref() != Ok("alternate");
    if !one {
        eprintln!("skipped: each way has a pool of its own");
    }
    one
}

/// Waits until `condition` holds. The one place where a test sleeps.
///
/// # Panics
/// When it does not within `limit`.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    assert!(holds_within(limit, &mut condition), "not within {limit:?}: {what}");
}

/// Whether `condition` holds at some time within `limit`.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
