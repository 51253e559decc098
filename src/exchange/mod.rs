//! Decisions about one request, on our own types: no session, no socket, no Pingora.
//!
//! Whatever plumbs a request asks here: is this head sound ([`head`]), what does this header say
//! ([`variables`]), what is it known by ([`id`]), which target goes upstream ([`path`]), which status is this and may the next
//! peer be tried ([`failure`]), what does the client see ([`page`]), where does the request go
//! ([`flow`], which keeps its place in [`Course`]).

pub mod access;
pub mod admission;
pub mod aim;
pub mod answers;
mod course;
pub mod failure;
pub mod files;
pub mod flow;
pub mod forwarded;
pub mod grpc;
pub mod head;
pub mod id;
pub mod limits;
pub mod listing;
pub mod location;
pub mod log;
mod made;
pub mod page;
pub mod passing;
pub mod password;
pub mod path;
mod program;
pub mod proxy_protocol;
pub mod raw;
pub mod reply;
pub mod status;
pub mod sticky;
mod tls;
pub mod trace;
pub mod variables;

pub use course::{Course, Cycle};
pub use tls::{ClientCertificate, TlsFacts};
