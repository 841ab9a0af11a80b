//! Counters that threads do not share: each has cells of its own, and whoever reads adds them up.
//!
//! Used by `telemetry::metrics` where something is counted for every call. An atomic addition costs 5 ns when
//! nobody else wants the same line of cache, and ten times as much when somebody does; a load and a store of a
//! cell that only this thread writes cost less than one.
//!
//! Invariants: a slot belongs to one thread at a time; its next owner sees all that the one before has written
//! (the bit that says who has it is released and acquired). Threads beyond [`SLOTS`] share the last slot, with
//! atomic additions: slower, and as exact.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads that have cells of their own. Count; more than the threads of a host on 32 cores, and as many as fit
/// into one word.
const SLOTS: usize = 64;

/// Which slots belong to a thread.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// A thread's slot, until it ends.
struct Slot(usize);

impl Slot {
    fn take() -> Self {
        let mut taken = TAKEN.load(Ordering::Relaxed);
        loop {
            let free = (!taken).trailing_zeros();
            if free == u64::BITS {
                return Self(SLOTS);
            }
            match TAKEN.compare_exchange_weak(
                taken,
                taken | 1 << free,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Self(free as usize),
                Err(now) => taken = now,
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.0 < SLOTS {
            TAKEN.fetch_and(!(1 << self.0), Ordering::Release);
        }
    }
}

/// The slot of this thread; the shared one while the thread ends.
fn slot() -> usize {
    thread_local!(static SLOT: Slot = Slot::take());
    SLOT.try_with(|slot| slot.0).unwrap_or(SLOTS)
}

/// Cells of one thread. Aligned so that no two threads write one line of cache, nor its neighbour, which
/// processors fetch along with it.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

/// `N` counters.
#[derive(Debug)]
pub(super) struct Cells<const N: usize> {
    /// Made when a thread first counts here; the last one is shared.
    shards: [OnceLock<Box<Shard<N>>>; SLOTS + 1],
}

impl<const N: usize> Cells<N> {
    pub(super) fn new() -> Self {
        Self {
            shards: [const { OnceLock::new() }; SLOTS + 1],
        }
    }

    /// The cells of this thread.
    pub(super) fn mine(&self) -> Mine<'_, N> {
        let slot = slot();
        let shard =
            self.shards[slot].get_or_init(|| Box::new(Shard([const { AtomicU64::new(0) }; N])));
        Mine {
            cells: &shard.0,
            shared: slot == SLOTS,
        }
    }

    /// What all threads have counted.
    pub(super) fn sums(&self) -> [u64; N] {
        let mut sums = [0_u64; N];
        for shard in self.shards.iter().filter_map(OnceLock::get) {
            for (sum, cell) in sums.iter_mut().zip(&shard.0) {
                *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
            }
        }
        sums
    }
}

/// The cells that this thread may write.
pub(super) struct Mine<'a, const N: usize> {
    cells: &'a [AtomicU64; N],
    shared: bool,
}

impl<const N: usize> Mine<'_, N> {
    /// Adds to one of them.
    pub(super) fn add(&self, cell: usize, count: u64) {
        let cell = &self.cells[cell];
        if self.shared {
            cell.fetch_add(count, Ordering::Relaxed);
        } else {
            // Nobody else writes it, so nothing is lost between the two.
            let count = cell.load(Ordering::Relaxed).wrapping_add(count);
            cell.store(count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: u64 = 10_000;

    #[test]
    fn nothing_is_lost_with_more_threads_than_slots() {
        let cells = Cells::<2>::new();
        let threads = SLOTS as u64 + 20;
        let all_here = std::sync::Barrier::new(SLOTS + 20);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    // Everybody has a slot before anybody ends and gives one back.
                    cells.mine().add(1, 0);
                    all_here.wait();
                    for _ in 0..EACH {
                        cells.mine().add(0, 1);
                    }
                });
            }
        });
        assert_eq!(cells.sums(), [threads * EACH, 0]);
        assert!(cells.shards[SLOTS].get().is_some(), "some had to share");
    }

    #[test]
    fn a_slot_that_is_free_again_goes_on_where_it_was() {
        let cells = Cells::<1>::new();
        for _ in 0..200 {
            std::thread::scope(|scope| drop(scope.spawn(|| cells.mine().add(0, 1))));
        }
        assert_eq!(cells.sums(), [200]);
    }
}
