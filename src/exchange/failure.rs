//! What can go wrong with a request, which status that is, and whether the next peer may be tried.
//!
//! Each question has one answer, here; statuses are nginx's. The words of a failure are the honest
//! reason: they reach the log always, the client only with `error_details: on`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;

use super::head::Malformed;
use crate::config::model::{Retry, RetryBudget};
use crate::config::tls::trust::Flaw;
use crate::health::Outcome;
use crate::upstream::{NoPeer, Refusal, Waited};

/// Why a request got no answer from a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The head is not one we forward.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The request was rewritten or redirected too often.
    #[error("{0}")]
    Cycle(#[from] super::Cycle),
    /// What the variables of a target say is nowhere.
    #[error("{0}")]
    BadTarget(String),
    /// What is asked for must not be had.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The client has to say who it is.
    #[error("{0}")]
    Unauthorized(String),
    /// What was asked about the request answered neither yes nor no.
    #[error("{path}, which is asked about requests, says {status}")]
    BadWord {
        /// What was asked.
        path: String,
        /// The status of its answer.
        status: u16,
    },
    /// A file cannot be had.
    #[error("{call} \"{}\" failed ({error})", .path.display())]
    NoFile {
        /// What was tried.
        call: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: String,
        /// 403, 404 or 500.
        status: u16,
    },
    /// None of the parts that are asked for is there.
    #[error("no such part of {length} bytes")]
    RangeNotSatisfiable {
        /// How long the whole is, in bytes.
        length: u64,
    },
    /// The method is not one for files.
    #[error("the method is not allowed for files")]
    MethodNotAllowed,
    /// A directory without an index must not be listed.
    #[error("directory index of \"{}\" is forbidden", .0.display())]
    NoIndex(PathBuf),
    /// A status that the configuration asks for (`return 404`, `try_files … =404`).
    #[error("status {0}, as configured")]
    Configured(u16),
    /// Plain HTTP came to a listener with TLS.
    #[error("plain HTTP sent to a port with TLS")]
    PlainToTls,
    /// The client's certificate is not to be believed.
    #[error("client SSL certificate verify error: {0}")]
    BadCertificate(Flaw),
    /// The client has shown no certificate where it must.
    #[error("client sent no required SSL certificate")]
    NoCertificate,
    /// The handshake was made with another host, whose clients need no certificate, or another one.
    #[error("client asked for another host than its handshake, and certificates are wanted")]
    Misdirected,
    /// No route matches.
    #[error("no route matches the path")]
    NoRoute,
    /// The body is larger than `client_max_body_size`.
    #[error("request body larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit.
        limit: u64,
    },
    /// The client asks for more than it may.
    #[error("more {what} than zone `{zone}` allows")]
    Limited {
        /// More of what.
        what: &'static str,
        /// Which zone says so.
        zone: String,
        /// The status for it.
        status: u16,
        /// When it may ask again, where it is told so.
        retry_after: Option<Duration>,
    },
    /// No peer could be picked.
    #[error("upstream {upstream}: {why}{}{}", after_colon(.peers), in_brackets(.discovery.as_deref()))]
    NoPeer {
        /// Which upstream.
        upstream: String,
        /// What is wrong with its peers.
        why: NoPeer,
        /// The reason of each peer (`Upstream::explain`); empty where there is none.
        peers: String,
        /// Why discovery found no address, where that is known.
        discovery: Option<String>,
    },
    /// No peer has room, and as many requests wait for one as may.
    #[error("upstream {upstream}: {why}, and {waiting} requests are queued already{}", after_colon(.peers))]
    QueueFull {
        /// Which upstream.
        upstream: String,
        /// How many wait.
        waiting: u32,
        /// What is wrong with its peers.
        why: NoPeer,
        /// The same of each of them.
        peers: String,
    },
    /// The request has waited for a peer with room in vain.
    #[error("upstream {upstream}: queued for {after:?}, {why}{}", after_colon(.peers))]
    QueueTimeout {
        /// Which upstream.
        upstream: String,
        /// For how long.
        after: Duration,
        /// What is wrong with its peers.
        why: NoPeer,
        /// The same of each of them.
        peers: String,
    },
    /// No connection could be made; nothing was sent.
    #[error("{peer}: {error}")]
    Connect {
        /// The peer's address.
        peer: String,
        /// What the system said.
        error: String,
        /// Whether the time for it ran out.
        timeout: bool,
    },
    /// The connection broke, timed out, or the answer was no HTTP.
    #[error("{peer}: {error}")]
    Broken {
        /// The peer's address.
        peer: String,
        /// What happened.
        error: String,
        /// Whether a timeout ended it.
        timeout: bool,
        /// Whether the connection had served a request before: then the peer may just have closed it.
        reused: bool,
        /// Whether the answer was no HTTP.
        invalid: bool,
    },
    /// The peer says that it has not looked at the request (RFC 9113, section 8.7): the stream was
    /// refused, or came too late for a connection that ends.
    #[error("{peer}: {error}")]
    Unprocessed {
        /// The peer's address.
        peer: String,
        /// What it said.
        error: String,
        /// Whether it is the connection that ends.
        leaving: bool,
    },
    /// The answer has a status that the route retries on.
    #[error("{peer}: status {status}")]
    Status {
        /// The peer's address.
        peer: String,
        /// The status.
        status: u16,
    },
    /// The client sent less than it promised or hung up.
    #[error("client closed the connection")]
    ClientGone,
    /// The client took longer than allowed to send its body.
    #[error("client timed out sending the request body")]
    ClientTimeout,
    /// What the client sent after the head cannot be read as a body.
    #[error("invalid request body: {0}")]
    InvalidBody(String),
    /// Our own fault.
    #[error("internal error: {0}")]
    Internal(String),
}

fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

fn in_brackets(text: Option<&str>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}

impl Failure {
    /// What an error of the file system means to who has asked for a file (`ngx_http_static_handler`).
    #[must_use]
    pub fn of_file(call: &'static str, path: &Path, error: &io::Error) -> Self {
        use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound, PermissionDenied};
        let status = match error.kind() {
            NotFound | NotADirectory | InvalidFilename => 404,
            PermissionDenied => 403,
            // ELOOP: a symbolic link that must not be followed, or too many of them.
            _ if error.raw_os_error() == Some(40) => 403,
            _ => 500,
        };
        // "No such file or directory (os error 2)" becomes nginx's "2: No such file or directory".
        let text = error.to_string();
        let error = match (text.split_once(" (os error "), error.raw_os_error()) {
            (Some((text, _)), Some(number)) => format!("{number}: {text}"),
            _ => text,
        };
        Self::NoFile { call, path: path.to_owned(), error, status }
    }

    /// Why there is no peer. `peers` tells of each of them, `discovery` why it found no address, where
    /// that is known.
    #[must_use]
    pub fn of_refusal(
        upstream: String,
        refusal: Refusal,
        peers: String,
        discovery: Option<String>,
    ) -> Self {
        let why = refusal.why;
        match refusal.waited {
            None => Self::NoPeer { upstream, why, peers, discovery },
            Some(Waited::Full(waiting)) => Self::QueueFull { upstream, waiting, why, peers },
            Some(Waited::InVain(after)) => Self::QueueTimeout { upstream, after, why, peers },
        }
    }

    /// What an error page says of it where it may say why: as the log, but for what is nobody's
    /// business outside, paths of files and what clients and variables have put into a target.
    #[must_use]
    pub fn for_page(&self) -> String {
        match self {
            Self::NoFile { error, .. } => format!("the file cannot be had ({error})"),
            Self::NoIndex(_) => "the folder has no index and must not be listed".to_owned(),
            Self::Unauthorized(_) => "a name and its password are needed".to_owned(),
            Self::BadTarget(_) => "what variables say of the target is nowhere".to_owned(),
            told => told.to_string(),
        }
    }

    /// The status that the client gets, or that is logged when it is gone (499).
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(malformed) => malformed.status(),
            Self::InvalidBody(_) => 400,
            Self::Unauthorized(_) => 401,
            Self::Forbidden(_) | Self::NoIndex(_) => 403,
            Self::MethodNotAllowed => 405,
            Self::RangeNotSatisfiable { .. } => 416,
            Self::NoFile { status, .. } => *status,
            Self::NoRoute => 404,
            Self::Configured(status) | Self::Limited { status, .. } => *status,
            Self::ClientTimeout => 408,
            Self::BodyTooLarge { .. } => 413,
            Self::PlainToTls => super::page::PLAIN_TO_TLS,
            Self::BadCertificate(_) => super::page::BAD_CERTIFICATE,
            Self::NoCertificate => super::page::NO_CERTIFICATE,
            Self::Misdirected => 421,
            Self::ClientGone => 499,
            Self::BadWord { .. } | Self::Internal(_) | Self::Cycle(_) | Self::BadTarget(_) => 500,
            Self::Connect { timeout: true, .. } | Self::Broken { timeout: true, .. } => 504,
            // As nginx Plus.
            Self::QueueFull { .. } => 503,
            Self::NoPeer { .. } | Self::QueueTimeout { .. } => 502,
            Self::Connect { .. } | Self::Broken { .. } | Self::Unprocessed { .. } => 502,
            Self::Status { status, .. } => *status,
        }
    }

    /// Whether more may come of the request although nothing is waited for: closing the connection at
    /// once would reset it, and the answer be lost.
    #[must_use]
    pub fn leaves_unread(&self) -> bool {
        matches!(
            self,
            Self::Malformed(_)
                | Self::InvalidBody(_)
                | Self::BodyTooLarge { .. }
                | Self::PlainToTls
        )
    }

    /// What the failure says about the peer; none when it says nothing.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Connect { .. } => Some(Outcome::ConnectFailure),
            // The peer may close an idle connection whenever it likes: no sign of sickness.
            Self::Broken { timeout: false, reused: true, .. } => None,
            // As in nginx, what is not there or must not be had is no fault of the peer.
            Self::Status { status: 403 | 404, .. } => None,
            // Nor is it one that it ends a connection as it should.
            Self::Unprocessed { leaving: true, .. } => None,
            Self::Broken { .. } | Self::Status { .. } | Self::Unprocessed { .. } => {
                Some(Outcome::Failure)
            }
            _ => None,
        }
    }
}

/// What decides about another attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attempted<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// Whether the whole body, or as much as was sent, can be sent once more.
    pub replayable: bool,
    /// Whether the client has got a part of an answer.
    pub answered: bool,
    /// Attempts so far.
    pub attempts: usize,
    /// Since the request was read.
    pub elapsed: Duration,
}

/// Whether another attempt may be made after `failure`. Peers are not its matter: when none is
/// left, picking one fails.
///
/// `spend` takes an attempt that costs a peer something out of the budget. It is asked last, so
/// that nothing is taken in vain, and not for a connect that failed or a pooled connection that had
/// ended.
#[must_use]
pub fn may_retry(
    failure: &Failure,
    attempted: &Attempted<'_>,
    rule: &Retry,
    spend: impl FnOnce(RetryBudget) -> bool,
) -> bool {
    // As in nginx, those methods are not sent twice, and all others are.
    let once = matches!(attempted.method.as_str(), "POST" | "LOCK" | "PATCH");
    let unsent = matches!(failure, Failure::Connect { .. } | Failure::Unprocessed { .. });
    let reused = matches!(
        failure,
        Failure::Broken { timeout: false, reused: true, .. }
            | Failure::Unprocessed { leaving: true, .. }
    );
    let repeatable = match failure {
        Failure::Connect { timeout: true, .. } | Failure::Broken { timeout: true, .. } => {
            rule.timed_out
        }
        Failure::Broken { invalid: true, .. } => rule.invalid_header,
        // That connections are kept is our choice: what follows from it is not to be seen.
        Failure::Broken { reused: true, .. } | Failure::Unprocessed { leaving: true, .. } => true,
        Failure::Connect { .. } | Failure::Broken { .. } | Failure::Unprocessed { .. } => {
            rule.error
        }
        Failure::Status { status, .. } => rule.statuses.contains(status),
        _ => false,
    };
    let repeatable = repeatable && (unsent || rule.non_idempotent || !once);
    let most = if reused { MOST_ATTEMPTS } else { max_attempts(rule) };
    repeatable
        && attempted.replayable
        && !attempted.answered
        && attempted.attempts < most
        && (rule.timeout.is_zero() || attempted.elapsed < rule.timeout)
        && (unsent || reused || rule.budget.is_none_or(spend))
}

/// As many attempts as Pingora makes (`ServerConf::max_retries`).
const MOST_ATTEMPTS: usize = 16;

/// How many attempts a request may make.
#[must_use]
pub fn max_attempts(rule: &Retry) -> usize {
    match rule.tries {
        0 => MOST_ATTEMPTS,
        tries => usize::from(tries).min(MOST_ATTEMPTS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Census;

    fn refused() -> Failure {
        Failure::Connect { peer: "p".into(), error: "connection refused".into(), timeout: false }
    }

    fn broken(timeout: bool) -> Failure {
        Failure::Broken {
            peer: "p".into(),
            error: "reset".into(),
            timeout,
            reused: false,
            invalid: false,
        }
    }

    const RULE: Retry = Retry {
        tries: 0,
        timeout: Duration::ZERO,
        error: true,
        timed_out: true,
        invalid_header: false,
        non_idempotent: false,
        statuses: Vec::new(),
        try_timeout: Duration::ZERO,
        budget: None,
        hedge: None,
    };
    const GET: Attempted<'_> = Attempted {
        method: &Method::GET,
        replayable: true,
        answered: false,
        attempts: 1,
        elapsed: Duration::ZERO,
    };
    const POST: Attempted<'_> = Attempted { method: &Method::POST, ..GET };

    fn may(failure: &Failure, attempted: &Attempted<'_>, rule: &Retry) -> bool {
        may_retry(failure, attempted, rule, |_| unreachable!("there is no budget"))
    }

    #[test]
    fn statuses_are_those_of_nginx() {
        assert_eq!(Failure::NoRoute.status(), 404);
        assert_eq!(Failure::ClientGone.status(), 499);
        assert_eq!(refused().status(), 502);
        assert_eq!(broken(false).status(), 502);
        assert_eq!(broken(true).status(), 504);
        assert_eq!(Failure::BodyTooLarge { limit: 1 }.status(), 413);
        assert_eq!(Failure::Malformed(Malformed::NoHost).status(), 400);
    }

    #[test]
    fn the_lack_of_a_peer_is_explained() {
        let discovery = Some("api: no such name (NXDOMAIN)".into());
        let none = |why, peers: &str, discovery| {
            Failure::NoPeer { upstream: "api".into(), why, peers: peers.into(), discovery }
                .to_string()
        };
        let failure = none(NoPeer::NoAddresses, "", discovery);
        let expected = "upstream api: no addresses yet (api: no such name (NXDOMAIN))";
        assert_eq!(failure, expected);
        let census = Census { peers: 1, down: 1, ..Census::default() };
        let failure = none(NoPeer::Unavailable(census), "10.0.0.1:80 down by hand", None);
        assert_eq!(failure, "upstream api: 1 peer, 1 down: 10.0.0.1:80 down by hand");
    }

    #[test]
    fn who_waits_in_vain_is_told_for_how_long() {
        let census = Census { peers: 1, full: 1, ..Census::default() };
        let why = NoPeer::Unavailable(census);
        let of = |waited| {
            Failure::of_refusal("api".into(), Refusal { why, waited }, "p full".into(), None)
        };
        for (waited, status, text) in [
            (None, 502, "upstream api: 1 peer, 1 full: p full"),
            (
                Some(Waited::Full(5)),
                503,
                "upstream api: 1 peer, 1 full, and 5 requests are queued already: p full",
            ),
            (
                Some(Waited::InVain(Duration::from_secs(60))),
                502,
                "upstream api: queued for 60s, 1 peer, 1 full: p full",
            ),
        ] {
            assert_eq!((of(waited).status(), &*of(waited).to_string()), (status, text));
        }
    }

    #[test]
    fn a_failed_connect_is_retried_for_every_method() {
        assert!(may(&refused(), &GET, &RULE));
        assert!(may(&refused(), &POST, &RULE));
    }

    #[test]
    fn once_bytes_went_out_only_idempotent_methods_are_retried() {
        assert!(may(&broken(false), &GET, &RULE));
        assert!(may(&broken(true), &GET, &RULE));
        assert!(!may(&broken(false), &POST, &RULE));
        let rule = Retry { non_idempotent: true, ..RULE };
        assert!(may(&broken(false), &POST, &rule));
    }

    #[test]
    fn only_what_is_asked_for_is_retried() {
        let rule = Retry { error: false, ..RULE };
        assert!(!may(&refused(), &GET, &rule));
        assert!(!may(&broken(false), &GET, &rule));
        assert!(may(&broken(true), &GET, &rule));
        assert!(!may(&broken(true), &GET, &Retry { timed_out: false, ..RULE }));
        let invalid = Failure::Broken {
            peer: "p".into(),
            error: "no HTTP".into(),
            timeout: false,
            reused: false,
            invalid: true,
        };
        assert!(!may(&invalid, &GET, &RULE));
        assert!(may(&invalid, &GET, &Retry { invalid_header: true, ..RULE }));
        let missing = Failure::Status { peer: "p".into(), status: 404 };
        assert!(!may(&missing, &GET, &RULE));
        assert!(may(&missing, &GET, &Retry { statuses: vec![404], ..RULE }));
        assert_eq!(missing.outcome(), None);
    }

    #[test]
    fn a_pooled_connection_that_had_ended_is_no_attempt() {
        let ended = Failure::Broken {
            peer: "p".into(),
            error: "eof".into(),
            timeout: false,
            reused: true,
            invalid: false,
        };
        let rule = Retry { error: false, tries: 1, ..RULE };
        assert!(may(&ended, &GET, &rule));
        assert!(!may(&ended, &POST, &rule));
    }

    #[test]
    fn no_retry_without_the_body_or_after_a_part_of_the_answer() {
        assert!(!may(&broken(false), &Attempted { replayable: false, ..GET }, &RULE));
        assert!(!may(&broken(false), &Attempted { answered: true, ..GET }, &RULE));
    }

    #[test]
    fn tries_and_time_limit_the_attempts() {
        let rule = Retry { tries: 2, timeout: Duration::from_secs(3), ..RULE };
        assert!(may(&refused(), &GET, &rule));
        assert!(!may(&refused(), &Attempted { attempts: 2, ..GET }, &rule));
        let late = Attempted { elapsed: Duration::from_secs(3), ..GET };
        assert!(!may(&refused(), &late, &rule));
    }

    #[test]
    fn the_budget_is_asked_last_and_only_for_what_costs_a_peer_something() {
        let rule = Retry { budget: Some(RetryBudget::default()), tries: 2, ..RULE };
        let asked = |failure: &Failure, attempted: &Attempted<'_>, has: bool| {
            let mut asked = false;
            let spend = |_| {
                asked = true;
                has
            };
            (may_retry(failure, attempted, &rule, spend), asked)
        };
        let ended = Failure::Broken {
            peer: "p".into(),
            error: "eof".into(),
            timeout: false,
            reused: true,
            invalid: false,
        };
        assert_eq!(asked(&broken(false), &GET, true), (true, true));
        assert_eq!(asked(&broken(true), &GET, false), (false, true));
        assert_eq!(asked(&refused(), &GET, false), (true, false), "nothing was sent");
        assert_eq!(asked(&ended, &GET, false), (true, false), "no attempt of its own");
        assert_eq!(asked(&broken(false), &POST, true), (false, false), "it may not anyway");
        let last = Attempted { attempts: 2, ..GET };
        assert_eq!(asked(&broken(false), &last, true), (false, false));
    }

    #[test]
    fn what_the_client_did_is_not_retried() {
        assert!(!may(&Failure::ClientGone, &GET, &RULE));
        assert!(!may(&Failure::BodyTooLarge { limit: 1 }, &GET, &RULE));
    }

    #[test]
    fn a_closed_idle_connection_says_nothing_about_the_peer() {
        let closed = Failure::Broken {
            peer: "p".into(),
            error: "eof".into(),
            timeout: false,
            reused: true,
            invalid: false,
        };
        assert_eq!(closed.outcome(), None);
        assert_eq!(broken(false).outcome(), Some(Outcome::Failure));
        assert_eq!(refused().outcome(), Some(Outcome::ConnectFailure));
    }
}
