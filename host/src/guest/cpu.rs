//! How much CPU time a call has used inside its plugin, and whether that is too much.
//!
//! Called by `guest::instance` around each go of a guest, and by the Store's callback at each tick, which is where
//! a guest that computes can be ended. Costs two readings of the thread's clock a go, some 0.4 us, and nothing
//! where there is no limit. Invariant: a guest that has used up its time computes for one tick more at most.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What an instance's call has used. Written and read by the one thread that runs the instance at the moment.
#[derive(Debug)]
pub(super) struct Cpu {
    most_ns: u64,
    /// In goes that are over.
    used_ns: AtomicU64,
    /// What the thread's clock said when this go began; 0 between goes, and for what is no call.
    since_ns: AtomicU64,
}

/// The call has used all the CPU time that it may have.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("it computed for longer than {0:?}")]
pub(super) struct UsedUp(Duration);

impl Cpu {
    /// With nothing used yet.
    pub(super) fn new(most: Duration) -> Self {
        Self {
            most_ns: u64::try_from(most.as_nanos()).unwrap_or(u64::MAX),
            used_ns: AtomicU64::new(0),
            since_ns: AtomicU64::new(0),
        }
    }

    /// Another call begins.
    pub(super) fn reset(&self) {
        self.used_ns.store(0, Ordering::Relaxed);
    }

    /// Runs a call of the guest to its end, and counts.
    pub(super) async fn counted<F: Future>(&self, call: F) -> F::Output {
        let mut call = pin!(call);
        poll_fn(|cx| {
            self.since_ns.store(thread_ns(), Ordering::Relaxed);
            let polled = call.as_mut().poll(cx);
            self.used_ns.store(self.used(), Ordering::Relaxed);
            self.since_ns.store(0, Ordering::Relaxed);
            polled
        })
        .await
    }

    /// Called within a go.
    ///
    /// # Errors
    /// [`UsedUp`].
    pub(super) fn check(&self) -> Result<(), UsedUp> {
        if self.used() < self.most_ns {
            Ok(())
        } else {
            Err(UsedUp(Duration::from_nanos(self.most_ns)))
        }
    }

    fn used(&self) -> u64 {
        let used = self.used_ns.load(Ordering::Relaxed);
        match self.since_ns.load(Ordering::Relaxed) {
            0 => used,
            since => used.saturating_add(thread_ns().saturating_sub(since)),
        }
    }
}

/// CPU time of the current thread.
fn thread_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn time_counts_while_it_computes_and_not_while_it_waits() {
        let cpu = Cpu::new(Duration::from_millis(2));
        let begun = thread_ns();
        cpu.counted(async {
            assert!(cpu.check().is_ok());
            tokio::task::yield_now().await;
            while thread_ns() - begun < 3_000_000 {
                std::hint::spin_loop();
            }
            assert!(cpu.check().is_err());
            tokio::task::yield_now().await;
            assert!(cpu.check().is_err(), "it is still used");
        })
        .await;
        cpu.reset();
        // What the thread computes between two goes is others'.
        while thread_ns() - begun < 6_000_000 {
            std::hint::spin_loop();
        }
        cpu.counted(async { assert!(cpu.check().is_ok()) }).await;
    }
}
