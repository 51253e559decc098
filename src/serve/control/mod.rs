//! How the running process is asked: whether it serves, and what its operator wants of it.
//!
//! `robin health` has an abstract socket of its own, which anybody may ask (`health`). What tells of the peers
//! and takes them out is a socket of the file system that only its owner may open (`socket`): one JSON line is
//! asked and one or more are answered (`protocol`), the same whoever asks.

mod client;
mod health;
mod operator;
mod protocol;
mod roster;
mod socket;

pub use client::{AskError, ask};
pub use health::health;
pub(super) use health::{answer, bind};
pub(super) use operator::{Order, Reply, serve};
pub use protocol::{Answer, Ask, Told};
pub(super) use roster::Roster;
pub(super) use socket::Socket;
