//! The time that a thread has read last, so that calls that follow each other share it.
//!
//! Used by `lane`, which reads a clock before it polls a call, and by `grpc::call`, which wants to know when a
//! call began and ended. Reading the clock costs 25 to 50 ns, and a small call is handled in some microseconds: so
//! the end of one call is the beginning of the next, within one turn of a connection. Outside of a turn, as on the
//! long lane, every question reads the clock. Invariant: nothing that was read survives its turn.

use std::cell::Cell;
use std::time::Instant;

#[derive(Clone, Copy)]
enum Read {
    /// No connection has its turn on this thread.
    Outside,
    /// One has, and nobody has asked yet.
    Nothing,
    At(Instant),
}

thread_local!(static READ: Cell<Read> = const { Cell::new(Read::Outside) });

/// A connection's turn at polling its calls, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(());

impl Turn {
    /// Begins one.
    pub(crate) fn begin() -> Self {
        READ.set(Read::Nothing);
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        READ.set(Read::Outside);
    }
}

/// Before a call is polled: when the last one of this turn has ended, or now.
pub(crate) fn turn() -> Instant {
    match READ.get() {
        Read::At(at) => at,
        Read::Nothing => now(),
        Read::Outside => Instant::now(),
    }
}

/// While a call is polled: when that was begun, or now.
pub(crate) fn latest() -> Instant {
    match READ.get() {
        Read::At(at) => at,
        Read::Nothing | Read::Outside => Instant::now(),
    }
}

/// A call has ended, or pauses: now.
pub(crate) fn ended() -> Instant {
    match READ.get() {
        Read::Outside => Instant::now(),
        Read::Nothing | Read::At(_) => now(),
    }
}

fn now() -> Instant {
    let now = Instant::now();
    READ.set(Read::At(now));
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_turn_the_end_of_one_is_the_beginning_of_the_next() {
        {
            let _turn = Turn::begin();
            let begun = turn();
            assert_eq!(latest(), begun);
            let end = ended();
            assert!(end >= begun);
            assert_eq!(turn(), end);
        }
        let begun = turn();
        // Nothing is kept outside of a turn: time goes on.
        while latest() == begun {
            std::hint::spin_loop();
        }
    }
}
