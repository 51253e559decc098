//! Numbers that threads add to, each where no other one writes.
//!
//! A number that two cores write in turn goes from one's cache to the other's each time. So a thread has a line of
//! its own, as long as there are no more of them than [`LINES`], and whoever reads adds the lines up.

use std::array;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// As many as threads commonly serve. More share; each line costs its room for each number there is.
const LINES: usize = 4;

/// So many numbers.
#[derive(Debug)]
pub(super) struct Sharded<const N: usize>([Line<N>; LINES]);

/// What one thread adds to. No other one's begins in the same line of the cache.
#[derive(Debug)]
#[repr(align(64))]
struct Line<const N: usize>([AtomicU64; N]);

impl<const N: usize> Sharded<N> {
    /// All of them zero.
    pub(super) const fn new() -> Self {
        Self([const { Line([const { AtomicU64::new(0) }; N]) }; LINES])
    }

    /// Adds to one of them; what is added may wrap, to take away.
    pub(super) fn add(&self, number: usize, more: u64) {
        if let Some(known) = self.0.get(line()).and_then(|line| line.0.get(number)) {
            known.fetch_add(more, Relaxed);
        }
    }

    /// All of them. What is added meanwhile may be missing.
    pub(super) fn read(&self) -> [u64; N] {
        let sum = |number: usize| {
            let parts = self.0.iter().filter_map(|line| line.0.get(number));
            parts.fold(0, |sum: u64, part| sum.wrapping_add(part.load(Relaxed)))
        };
        array::from_fn(sum)
    }
}

/// The line of this thread.
fn line() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LINE: usize = NEXT.fetch_add(1, Relaxed) % LINES;
    }
    // A thread that ends may still count.
    LINE.try_with(|line| *line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_have_added_is_added_up() {
        static NUMBERS: Sharded<2> = Sharded::new();
        std::thread::scope(|scope| {
            for _ in 0..2 * LINES {
                scope.spawn(|| (0..1_000).for_each(|_| NUMBERS.add(1, 3)));
            }
        });
        NUMBERS.add(1, 1_u64.wrapping_neg());
        assert_eq!(NUMBERS.read(), [0, 3 * 1_000 * 2 * LINES as u64 - 1]);
    }
}
