//! What changed about a name: values that this room returns and `observe` prints.

use super::Reason;

/// One change of what is known of a host name. Each is told once, not at every refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A lookup failed; the last good addresses stay.
    RefreshFailed {
        /// The name as written.
        host: String,
        /// What went wrong.
        error: Reason,
        /// How many addresses stay.
        kept: usize,
    },
    /// The name has no address any more; those it had are absent.
    Gone {
        /// The name as written.
        host: String,
        /// What was answered.
        reason: Reason,
    },
    /// The name has never had an address, so there is nothing to keep.
    Unresolved {
        /// The name as written.
        host: String,
        /// What was answered, or what went wrong.
        error: Reason,
    },
    /// The name resolves again after one of the above.
    Recovered {
        /// The name as written.
        host: String,
        /// How many addresses it has.
        addresses: usize,
    },
}
