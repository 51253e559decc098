//! What operators see: the access log, event lines and the health dashboard.
//!
//! The access log goes to stdout (or a file), event lines go to stderr through `log`; each through
//! a thread of its own, so that neither makes a request wait. Their keys are a public format. The
//! dashboard is text for one such event. Lower rooms return events as values and print nothing;
//! what they return is put into words here and nowhere else.
//!
//! All text that is not ours (a request line, a host's answer, an error of the system) is
//! escaped: no byte of it can end a line or reach a terminal as a command.

pub mod access;
pub mod counters;
pub mod dashboard;
pub(crate) mod escape;
pub mod event;
#[cfg(test)]
mod examples;
pub mod history;
pub mod host;
pub mod latest;
pub mod logger;
mod machine;
pub mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod page;
pub mod peers;
mod queue;
mod sides;
pub mod sink;
pub(crate) mod stamp;
pub mod status;
mod table;
pub(crate) mod text;
pub mod view;

pub use access::{AccessLog, Attempt, Record, RequestLine};
