//! What `stub_status` counts: connections and requests since the process began.
//!
//! A thing that is counted holds a guard as long as it lasts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static ACCEPTED: AtomicU64 = AtomicU64::new(0);
static OPEN: AtomicU64 = AtomicU64::new(0);
static REQUESTS: AtomicU64 = AtomicU64::new(0);
static IN_FLIGHT: AtomicU64 = AtomicU64::new(0);

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Open(());

impl Open {
    pub(super) fn new() -> Self {
        ACCEPTED.fetch_add(1, Relaxed);
        OPEN.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct InFlight(());

impl InFlight {
    pub(super) fn new() -> Self {
        REQUESTS.fetch_add(1, Relaxed);
        IN_FLIGHT.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        IN_FLIGHT.fetch_sub(1, Relaxed);
    }
}

/// The page (`ngx_http_stub_status_handler`). A connection without a request waits; that it sends
/// one's head just now is not told apart.
pub(super) fn page() -> String {
    let [accepted, open, requests, writing] =
        [&ACCEPTED, &OPEN, &REQUESTS, &IN_FLIGHT].map(|counter| counter.load(Relaxed));
    let waiting = open.saturating_sub(writing);
    format!(
        "Active connections: {open} \nserver accepts handled requests\n \
         {accepted} {accepted} {requests} \n\
         Reading: 0 Writing: {writing} Waiting: {waiting} \n"
    )
}
