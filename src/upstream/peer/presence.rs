//! Whether DNS still has an address, and whether it answers although DNS has not.

/// What DNS says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Presence {
    /// Its name has it.
    Listed,
    /// Its name has no address at all, and no connect has succeeded since.
    Absent,
    /// Its name has no address at all, but a connect has succeeded.
    Reached,
    /// Its name has other addresses.
    Removed,
}

impl Presence {
    /// After a connect succeeded.
    pub(in crate::upstream) fn reached(self) -> Self {
        if self == Self::Absent { Self::Reached } else { self }
    }

    /// After a connect failed.
    pub(in crate::upstream) fn lost(self) -> Self {
        if self == Self::Reached { Self::Absent } else { self }
    }

    /// After its name has it again: one that was reached all the time is the same peer.
    pub(in crate::upstream) fn found(self) -> Self {
        if self == Self::Reached { Self::Listed } else { self }
    }

    /// Whether a connect that is under way is not worth waiting for.
    pub(super) fn has_left(self) -> bool {
        matches!(self, Self::Absent | Self::Removed)
    }
}
