//! Decisions about one request, on our own types: no session, no socket, no Pingora.
//!
//! Whatever plumbs a request asks here: is this head sound ([`head`]), what does this header say
//! ([`variables`]), which target goes upstream ([`path`]), which status is this and may the next
//! peer be tried ([`failure`]), what does the client see ([`page`]), where does the request go
//! ([`flow`], which keeps its place in [`Course`]).

pub mod access;
pub mod aim;
pub mod answers;
mod course;
pub mod failure;
pub mod files;
pub mod flow;
pub mod head;
pub mod listing;
pub mod location;
mod log;
mod made;
pub mod page;
pub mod passing;
pub mod path;
mod program;
pub mod reply;
pub mod sticky;
mod tls;
pub mod variables;

pub use course::{Course, Cycle};
pub use tls::TlsFacts;
