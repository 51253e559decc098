//! Why a lookup found no address, in words for the log and the 502 page.
//!
//! The one distinction that matters is drawn here: a server that says "there is none" has
//! answered, whatever its AA bit and its SOA record (Docker's NXDOMAIN has neither); everything
//! else is a failure to answer and says nothing about the name.

use std::net::SocketAddr;

use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;

/// Why a lookup found no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The name does not exist.
    #[error("no such name (NXDOMAIN)")]
    NoSuchName,
    /// The name exists and has no record of the kind asked for.
    #[error("no address (empty answer)")]
    NoAddress,
    /// The one SRV record has the target `.`, which says that the service is not offered.
    #[error("service not offered (SRV target `.`)")]
    NotOffered,
    /// Nobody answered in time.
    #[error("no answer from {server} in time")]
    Timeout {
        /// The first of the servers that were asked.
        server: SocketAddr,
    },
    /// A DNS server answered that it cannot or will not answer.
    #[error("{server} answered {code}")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// The code as `dig` prints it.
        code: String,
    },
    /// A DNS server could not be asked, or its answer could not be read.
    #[error("{server}: {error}")]
    Unreachable {
        /// The server.
        server: SocketAddr,
        /// What the system or the decoder says.
        error: String,
    },
    /// The name as written is known to have no address; under a search domain it may have one.
    #[error("{answer}; with the search list: {failure}")]
    Partly {
        /// What was answered for the name as written.
        answer: Box<Reason>,
        /// What went wrong under the search domain.
        failure: Box<Reason>,
    },
    /// The name cannot be asked for at all.
    #[error("not a host name")]
    BadName,
    /// No refresh has ended yet.
    #[error("not looked up yet")]
    NotAsked,
}

impl Reason {
    /// Whether this is an answer: there is no address, and that is known.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::NoSuchName | Self::NoAddress | Self::NotOffered)
    }

    /// Whether the server in question said anything at all.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Unreachable { .. })
    }

    pub(super) fn from_error(error: &NetError, server: SocketAddr) -> Self {
        let refused = |code: &ResponseCode| Self::Refused { server, code: mnemonic(*code) };
        match error {
            NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => {
                match response_code {
                    ResponseCode::NXDomain => Self::NoSuchName,
                    ResponseCode::NoError => Self::NoAddress,
                    code => refused(code),
                }
            }
            NetError::Dns(DnsError::ResponseCode(code)) => refused(code),
            NetError::Timeout => Self::Timeout { server },
            NetError::Io(error) => Self::Unreachable { server, error: error.to_string() },
            error => Self::Unreachable { server, error: error.to_string() },
        }
    }
}

fn mnemonic(code: ResponseCode) -> String {
    match code {
        ResponseCode::FormErr => "FORMERR".into(),
        ResponseCode::ServFail => "SERVFAIL".into(),
        ResponseCode::NotImp => "NOTIMP".into(),
        ResponseCode::Refused => "REFUSED".into(),
        ResponseCode::NotAuth => "NOTAUTH".into(),
        code => format!("code {}", u16::from(code)),
    }
}
