//! Pure rules: what outcomes of traffic and of probes do to the standing of a peer.
//!
//! Nothing here reads a clock, opens a socket or prints. Transitions take `now` and return
//! values, so their tests are tables.

pub mod active;
pub mod answer;
pub mod clock;
pub mod growing;
pub mod passive;

pub use active::{ProbeRule, Verdict};
pub use clock::{Short, Tick};
pub use growing::{Backoff, RateRule, Tally};
pub use passive::{Cause, Outcome, PassiveRule, Standing};
