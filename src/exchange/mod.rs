//! Decisions about one request, on our own types: no session, no socket, no Pingora.
//!
//! Whatever plumbs a request asks here: is this head sound ([`head`]), what does this header say
//! ([`variables`]), which target goes upstream ([`path`]), which status is this and may the next
//! peer be tried ([`failure`]), what does the client see ([`page`]).

pub mod failure;
pub mod head;
pub mod page;
pub mod path;
pub mod variables;
