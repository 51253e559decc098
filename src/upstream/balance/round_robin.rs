//! Smooth weighted round robin, as nginx's, worked out ahead as one turn of its cycle.
//!
//! The order over one cycle depends on the weights alone, so it is computed when the set of
//! available peers changes and a request only takes the next position: no lock, and one sequence
//! for the whole process. Skipping an unavailable peer in a fixed order would hand its whole
//! share to its successor; a new cycle shares it out among all.

/// The longest cycle kept, in positions. Weights that sum up to more are scaled down, so that
/// a cycle stays below 64 KiB; the error in a share is then below 1 in 16,384.
const MAX_CYCLE: u64 = 16_384;

/// One turn of the cycle: `(index, weight)` pairs in, indices in order of their turns out.
pub(crate) fn cycle(weights: &[(u32, u32)]) -> Box<[u32]> {
    let divisor = weights.iter().fold(0, |d, &(_, w)| gcd(d, w)).max(1);
    let total: u64 = weights.iter().map(|&(_, w)| u64::from(w / divisor)).sum();
    let mut turns: Vec<(u32, i64, i64)> = weights
        .iter()
        .map(|&(index, w)| {
            let w = u64::from(w / divisor);
            let w = if total > MAX_CYCLE { (w * MAX_CYCLE / total).max(1) } else { w };
            (index, i64::try_from(w).unwrap_or(1), 0)
        })
        .collect();
    if turns.iter().all(|&(_, w, _)| w == 1) {
        return turns.iter().map(|&(index, ..)| index).collect();
    }
    let total: i64 = turns.iter().map(|&(_, w, _)| w).sum();
    let mut order = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
    for _ in 0..total {
        let mut best: Option<usize> = None;
        for i in 0..turns.len() {
            turns[i].2 += turns[i].1;
            // The first of equals wins, as in ngx_http_upstream_get_peer.
            if best.is_none_or(|b| turns[i].2 > turns[b].2) {
                best = Some(i);
            }
        }
        if let Some(b) = best {
            turns[b].2 -= total;
            order.push(turns[b].0);
        }
    }
    order.into()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_weights_take_turns_in_order() {
        assert_eq!(*cycle(&[(0, 4), (1, 4), (2, 4)]), [0, 1, 2]);
    }

    #[test]
    fn five_one_one_is_spread_as_in_nginx() {
        assert_eq!(*cycle(&[(0, 5), (1, 1), (2, 1)]), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn no_peer_makes_an_empty_cycle() {
        assert!(cycle(&[]).is_empty());
    }

    #[test]
    fn huge_weights_keep_the_cycle_short() {
        let order = cycle(&[(0, 1_000_000), (1, 999_999)]);
        assert!(order.len() as u64 <= MAX_CYCLE);
        assert!(order.contains(&1));
    }
}
