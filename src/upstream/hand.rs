//! What the operator has said of a peer (`robin drain`, `robin down`): it stands above all else.

use super::PeerAddress;

/// What the operator has said of peers, by their addresses.
pub type Words = Vec<(PeerAddress, Hand)>;

/// The operator's word on a peer. It holds until it is taken back, through refreshes and reloads that keep the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hand {
    /// None.
    #[default]
    Off,
    /// No new request but of sessions bound to it; those in flight finish.
    Drain,
    /// No request.
    Down,
}

impl Hand {
    pub(super) fn pack(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Drain => 1,
            Self::Down => 2,
        }
    }

    pub(super) fn unpack(byte: u8) -> Self {
        match byte {
            0 => Self::Off,
            1 => Self::Drain,
            _ => Self::Down,
        }
    }
}
