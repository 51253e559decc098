//! `random` and `random two`: a peer by lot, in proportion to its weight, as
//! `ngx_http_upstream_get_random_peer` and `ngx_http_upstream_get_random2_peer`.
//!
//! A turn of the smooth round robin has every peer as often as its weight says, so a lot is any
//! position in it. `random two` draws two different peers and takes the one that `least_conn`
//! would, or `least_time`. nginx draws from all peers and again for one that is out; here only those in rotation
//! are in the drum. After 21 lots in vain, full peers and tried ones, round robin decides.

use super::CANDIDATES;
use super::load::Load;

/// Peers by lot, some more than once.
pub(crate) fn candidates(turns: &[u32]) -> impl Iterator<Item = u32> {
    let lot = || turns.get(fastrand::usize(..turns.len())).copied();
    // Where there is nothing to draw from, no lot is drawn: the range would be empty.
    (0..CANDIDATES).take_while(|_| !turns.is_empty()).filter_map(move |_| lot())
}

/// The less busy of two by lot, of those that `load` gives a load for; of equals the second.
pub(crate) fn two(turns: &[u32], load: impl Fn(u32) -> Option<Load>) -> Option<u32> {
    let mut lots = candidates(turns).filter_map(|peer| Some((peer, load(peer)?)));
    let (first, first_load) = lots.next()?;
    let (second, second_load) = lots.find(|(peer, _)| *peer != first)?;
    Some(if first_load.is_below(second_load) { first } else { second })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 10,000 requests each of three peers gets.
    fn shares(mut choose: impl FnMut() -> Option<u32>) -> [i32; 3] {
        fastrand::seed(42);
        let mut shares = [0; 3];
        for _ in 0..10_000 {
            shares[choose().expect("there are peers") as usize] += 1;
        }
        shares
    }

    /// Four standard deviations of a share of one half are 200.
    fn assert_near(shares: [i32; 3], expected: [i32; 3]) {
        let near = shares.iter().zip(expected).all(|(share, wanted)| (share - wanted).abs() < 200);
        assert!(near, "{shares:?} is not near {expected:?}");
    }

    #[test]
    fn shares_are_in_proportion_to_the_weights() {
        let turns = [0, 2, 0, 1, 2, 0];
        assert_near(shares(|| candidates(&turns).next()), [5000, 1667, 3333]);
    }

    #[test]
    fn idle_peers_share_alike_in_random_two() {
        let idle = |_| Some(Load { cost: 0, weight: 1 });
        assert_near(shares(|| two(&[0, 1, 2], idle)), [3333, 3333, 3333]);
    }

    #[test]
    fn the_busiest_never_wins_in_random_two() {
        let load = |peer: u32| Some(Load { cost: peer.into(), weight: 1 });
        // The first wins whenever it is drawn: in two of three pairs.
        assert_near(shares(|| two(&[0, 1, 2], load)), [6667, 3333, 0]);
    }

    #[test]
    fn with_one_peer_to_be_had_random_two_leaves_it_to_round_robin() {
        let load = |peer| (peer == 1).then_some(Load { cost: 0, weight: 1 });
        assert_eq!(two(&[0, 1, 2], load), None);
        assert_eq!(two(&[], load), None);
    }
}
