//! What a request is known by: its id, and the trace that it belongs to; where traces go.

use std::time::Duration;

/// The id of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestId {
    /// Whether the client's `X-Request-Id` is taken where it is one. Default false: one is made.
    pub trust: bool,
    /// Whether every answer says it, not only robin's own error pages. Default false.
    pub answer: bool,
}

/// What is done about the trace that a request belongs to (W3C Trace Context).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    /// `off`: what the client says of one does not reach the upstream.
    Off,
    /// `pass`: what the client says is passed on as any header is.
    #[default]
    Pass,
    /// `ignore`, nginx's: the same, but where traces are exported a request has one of its own.
    Ignore,
    /// `extract`: the request belongs to the client's trace, or begins one; the upstream gets what the
    /// client has sent.
    Extract,
    /// `inject`: a trace begins here, and the upstream is told of it.
    Inject,
    /// `on`, nginx's `propagate`: the request belongs to the client's trace, or begins one, and the
    /// upstream is told of it.
    On,
}

impl Trace {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Off, Self::Pass, Self::On, Self::Extract, Self::Inject, Self::Ignore];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Pass => "pass",
            Self::Ignore => "ignore",
            Self::Extract => "extract",
            Self::Inject => "inject",
            Self::On => "on",
        }
    }

    /// Whether what the client says counts.
    #[must_use]
    pub fn extracts(self) -> bool {
        matches!(self, Self::Extract | Self::On)
    }

    /// Whether the upstream is told.
    #[must_use]
    pub fn injects(self) -> bool {
        matches!(self, Self::Inject | Self::On)
    }
}

/// Where traces are exported to (OTLP over HTTP).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    /// The host and port of the collector.
    pub host: String,
    /// What is asked there. Default `/v1/traces`.
    pub path: String,
    /// What this process is called there. Default `robin`.
    pub service: String,
    /// Which share of the traces that begin here is recorded, in hundredths of a percent. Default: all.
    pub sample: u16,
    /// How long a span waits for others at most. Default 5 s.
    pub interval: Duration,
    /// How many spans go at once at most. Default 512.
    pub batch_size: usize,
    /// How many such batches wait at most. Default 4.
    pub batch_count: usize,
}
