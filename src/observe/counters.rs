//! What is counted of the whole process since it began: connections, requests, reloads, lost log lines.
//!
//! A thing that is counted while it lasts holds a guard.

use crate::upstream::{Count, Level, Requests};

/// Requests that were handed to no upstream.
pub static OWN: Requests = Requests::new();
/// Lines of access logs that were lost, because they could not be written fast enough or at all.
pub static ACCESS_LINES_LOST: Count = Count::new();
/// Event lines that were lost.
pub static EVENT_LINES_LOST: Count = Count::new();
/// Configurations that were read again and are served.
pub static RELOADS: Count = Count::new();
/// Configurations that were read again and refused.
pub static RELOADS_REFUSED: Count = Count::new();

static ACCEPTED: Count = Count::new();
static OPEN: Level = Level::new();
static REQUESTS: Count = Count::new();
static IN_FLIGHT: Level = Level::new();

/// A connection that is open.
#[derive(Debug)]
pub struct Open(());

impl Open {
    /// Begins to count it.
    #[must_use]
    pub fn begin() -> Self {
        ACCEPTED.add();
        OPEN.rise();
        Self(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fall();
    }
}

/// A request that is being answered. It is one of all that have begun once it is known that it asks
/// for more than these numbers, or else when it ends.
#[derive(Debug)]
pub struct InFlight {
    told: bool,
}

impl InFlight {
    /// Begins to count it.
    #[must_use]
    pub fn begin() -> Self {
        IN_FLIGHT.rise();
        Self { told: false }
    }

    /// It is one of all.
    pub fn tell(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            REQUESTS.add();
        }
    }

    /// It was not meant to be counted.
    pub fn forget(mut self) {
        self.told = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.tell();
        IN_FLIGHT.fall();
    }
}

/// Connections: accepted since the start, and open.
#[must_use]
pub fn connections() -> (u64, u64) {
    (ACCEPTED.read(), OPEN.read())
}

/// Requests: begun since the start, and being answered.
#[must_use]
pub fn requests() -> (u64, u64) {
    (REQUESTS.read(), IN_FLIGHT.read())
}

/// The page (`ngx_http_stub_status_handler`). A connection without a request waits; that it sends
/// one's head just now is not told apart.
#[must_use]
pub fn page() -> String {
    let ((accepted, open), (requests, writing)) = (connections(), self::requests());
    let waiting = open.saturating_sub(writing);
    format!(
        "Active connections: {open} \nserver accepts handled requests\n \
         {accepted} {accepted} {requests} \n\
         Reading: 0 Writing: {writing} Waiting: {waiting} \n"
    )
}
