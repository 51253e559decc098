//! `least_conn`: the peer with the fewest attempts in flight for its weight, as
//! `ngx_http_upstream_get_least_conn_peer`; among several, smooth weighted round robin.
//!
//! The state of the round robin is an atomic a peer in place of nginx's lock. Only peers that were
//! level move on, so one that was busy for long is owed nothing for that time. Of requests that
//! choose in the same moment two may get the same peer; the next turns make up for it.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use super::load::Load;

/// A peer in rotation.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) peer: u32,
    /// nginx's `current_weight`.
    current: AtomicI64,
}

impl Contender {
    pub(crate) fn new(peer: u32) -> Self {
        Self { peer, current: AtomicI64::new(0) }
    }
}

/// The least busy of those that `load` gives a load for.
pub(crate) fn choose(contenders: &[Contender], load: impl Fn(u32) -> Option<Load>) -> Option<u32> {
    let loads = || contenders.iter().filter_map(|c| Some((c, load(c.peer)?)));
    let mut least: Option<(&Contender, Load)> = None;
    let mut level = false;
    for (contender, load) in loads() {
        match least {
            Some((_, best)) if best.is_below(load) => {}
            Some((_, best)) if best.is_level(load) => level = true,
            _ => (least, level) = (Some((contender, load)), false),
        }
    }
    let (first, best) = least?;
    if !level {
        return Some(first.peer);
    }
    let mut total = 0;
    let mut next: Option<(&Contender, i64)> = None;
    for (contender, load) in loads().filter(|(_, load)| load.is_level(best)) {
        let weight = i64::from(load.weight);
        let current = contender.current.fetch_add(weight, Relaxed) + weight;
        total += weight;
        if next.is_none_or(|(_, most)| current > most) {
            next = Some((contender, current));
        }
    }
    // None when all that were level have got a request in between.
    let next = next.map_or(first, |(contender, _)| contender);
    next.current.fetch_sub(total, Relaxed);
    Some(next.peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contenders() -> [Contender; 3] {
        [0, 1, 2].map(Contender::new)
    }

    fn sequence(loads: [(u64, u32); 3], n: usize) -> Vec<u32> {
        let contenders = contenders();
        let load = |peer: u32| {
            let (cost, weight) = loads[peer as usize];
            Some(Load { cost, weight })
        };
        (0..n).map(|_| choose(&contenders, load).expect("there are peers")).collect()
    }

    #[test]
    fn idle_peers_take_turns_as_in_nginx() {
        assert_eq!(sequence([(0, 1), (0, 1), (0, 1)], 6), [0, 1, 2, 0, 1, 2]);
        // nginx 1.22.1 with weights 3, 1 and 2: 1 3 1 2 3 1, and again.
        let again = [0, 2, 0, 1, 2, 0, 0, 2, 0, 1, 2, 0];
        assert_eq!(sequence([(0, 3), (0, 1), (0, 2)], 12), again);
    }

    #[test]
    fn the_fewest_for_its_weight_wins() {
        assert_eq!(sequence([(2, 1), (1, 1), (3, 1)], 2), [1, 1]);
        assert_eq!(sequence([(5, 6), (1, 1), (2, 2)], 2), [0, 0]);
    }

    #[test]
    fn only_level_peers_take_turns() {
        assert_eq!(sequence([(1, 1), (2, 1), (2, 2)], 4), [2, 0, 2, 2]);
    }

    #[test]
    fn two_requests_at_a_time_starve_nobody() {
        let contenders = contenders();
        let mut picked = [0; 3];
        let mut held = 0;
        for _ in 0..300 {
            let load = |peer: u32| Some(Load { cost: u64::from(peer == held), weight: 1 });
            held = choose(&contenders, load).expect("there are peers");
            picked[held as usize] += 1;
        }
        assert_eq!(picked, [100, 100, 100]);
    }

    #[test]
    fn one_without_a_load_is_passed_over() {
        let contenders = contenders();
        let load = |peer| (peer != 1).then_some(Load { cost: 0, weight: 1 });
        let picked: Vec<_> = (0..4).filter_map(|_| choose(&contenders, load)).collect();
        assert_eq!(picked, [0, 2, 0, 2]);
        assert_eq!(choose(&contenders, |_| None), None);
    }
}
