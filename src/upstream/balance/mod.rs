//! The methods that choose a peer, one file each.

pub(crate) mod round_robin;
