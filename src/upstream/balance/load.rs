//! How busy a peer is for its weight, in whatever a method counts.

/// What the peer would cost the request, and the share it is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Attempts in flight, or an estimate of the time that one more takes: only loads of one method
    /// are compared.
    pub(crate) cost: u64,
    /// At least 1.
    pub(crate) weight: u32,
}

impl Load {
    /// Two loads with the denominators of each other: `a / b < c / d` without a division.
    fn against(self, other: Self) -> (u128, u128) {
        let product = |a: u64, b: u32| u128::from(a) * u128::from(b);
        (product(self.cost, other.weight), product(other.cost, self.weight))
    }

    pub(crate) fn is_below(self, other: Self) -> bool {
        let (own, others) = self.against(other);
        own < others
    }

    pub(super) fn is_level(self, other: Self) -> bool {
        let (own, others) = self.against(other);
        own == others
    }
}
