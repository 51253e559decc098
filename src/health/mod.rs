//! Pure rules: what outcomes of traffic do to the standing of a peer.
//!
//! Nothing here reads a clock, opens a socket or prints. Transitions take `now` and return
//! values, so their tests are tables.

mod clock;
pub mod passive;

pub use clock::Tick;
pub use passive::{Cause, Outcome, PassiveRule, Standing};
