//! Advances the epoch while guests run, and sleeps while none does.
//!
//! Started by `guest::engine`; whoever lets a guest run does it within [`Pulse::during`], and nowhere else may one
//! run: a guest that spins would never give way. The epoch is what makes it, at the first tick after it began. A host
//! that nobody calls is not woken a thousand times a second: it used 1.8 % of a core for that.
//!
//! Invariant: once `during` has polled, the epoch advances within a tick, for as long as anything is polled.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crate::error::BuildError;

/// Ticks without a guest after which the thread sleeps. To wake it costs a call some microseconds, so that must be
/// rare: a tenth of a second, with the tick as it comes.
const QUIET_TICKS: u32 = 100;

/// The thread that advances the epoch. Dropping it ends it.
pub(super) struct Ticker {
    pulse: Arc<Pulse>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Tells the ticker that guests run.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// One ran since the last tick.
    ran: AtomicBool,
    asleep: AtomicBool,
    ticker: std::sync::OnceLock<Thread>,
}

impl Ticker {
    /// Starts the thread, which calls `advance` every `tick`.
    ///
    /// # Errors
    /// [`BuildError::Thread`].
    pub(super) fn start(
        tick: Duration,
        advance: impl Fn() + Send + 'static,
    ) -> Result<Self, BuildError> {
        let (pulse, stop) = (Arc::new(Pulse::default()), Arc::new(AtomicBool::new(false)));
        let (own, stopped) = (Arc::clone(&pulse), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || run(&own, &stopped, tick, advance))
            .map_err(BuildError::Thread)?;
        Ok(Self {
            pulse,
            stop,
            thread: Some(thread),
        })
    }

    /// For those who let guests run.
    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It sleeps for one tick at most. A panic in it cannot be, and would be printed.
            drop(thread.join());
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own that only sleeps"
)]
fn run(pulse: &Pulse, stopped: &AtomicBool, tick: Duration, advance: impl Fn()) {
    pulse.ticker.get_or_init(std::thread::current);
    let mut quiet = 0;
    while !stopped.load(Ordering::SeqCst) {
        std::thread::sleep(tick);
        advance();
        if pulse.ran.swap(false, Ordering::SeqCst) {
            quiet = 0;
            continue;
        }
        quiet += 1;
        if quiet >= QUIET_TICKS {
            pulse.sleep(stopped);
            quiet = 0;
        }
    }
}

impl Pulse {
    /// Runs a guest: lets nothing of it happen without a ticker that is awake.
    ///
    /// # Cancel safety
    /// That of `guest`.
    pub(super) async fn during<F: Future>(&self, guest: F) -> F::Output {
        let mut guest = pin!(guest);
        poll_fn(|cx| {
            self.beat();
            guest.as_mut().poll(cx)
        })
        .await
    }

    /// A guest runs now. Nearly always a look at one value: the rest happens once a tick.
    fn beat(&self) {
        // What is read may have been true a moment ago: then the ticker has seen it, and stays awake for longer
        // than a guest can run without coming back here.
        if self.ran.load(Ordering::Relaxed) {
            return;
        }
        // Here `ran` is written before `asleep` is read, in `sleep` the other way round, all in one order for all
        // threads: one of the two sees the other.
        self.ran.store(true, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            self.asleep.store(false, Ordering::SeqCst);
            if let Some(ticker) = self.ticker.get() {
                ticker.unpark();
            }
        }
    }

    fn sleep(&self, stopped: &AtomicBool) {
        self.asleep.store(true, Ordering::SeqCst);
        while self.asleep.load(Ordering::SeqCst)
            && !self.ran.load(Ordering::SeqCst)
            && !stopped.load(Ordering::SeqCst)
        {
            // Whoever changes one of the three unparks it, also if it does so before this line.
            std::thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// A ticker that tells of each tick, quickly.
    fn ticking() -> (Ticker, mpsc::Receiver<()>) {
        let (tell, ticks) = mpsc::sync_channel(1);
        let ticker = Ticker::start(Duration::from_micros(50), move || {
            // That there was one is enough; the last finds nobody who listens.
            let _full_or_gone = tell.try_send(());
        })
        .expect("a thread starts");
        (ticker, ticks)
    }

    fn until_asleep(ticker: &Ticker, ticks: &mpsc::Receiver<()>) {
        while !ticker.pulse.asleep.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        while ticks.try_recv().is_ok() {}
    }

    #[test]
    fn without_guests_it_sleeps_and_each_poll_of_one_wakes_it() {
        let (ticker, ticks) = ticking();
        let pulse = Arc::clone(ticker.pulse());
        let mut polls = 0;
        let guest = poll_fn(|_| {
            polls += 1;
            if polls < 3 {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        });
        let mut guest = pin!(pulse.during(guest));
        for last in [false, false, true] {
            until_asleep(&ticker, &ticks);
            let polled = guest.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(polled.is_ready(), last);
            ticks.recv().expect("the ticker runs");
        }
    }

    #[test]
    fn it_stays_awake_while_guests_run() {
        let (ticker, ticks) = ticking();
        for _ in 0..QUIET_TICKS * 3 {
            ticker.pulse.beat();
            ticks.recv().expect("the ticker runs");
        }
    }

    #[test]
    fn it_ends_while_it_sleeps() {
        let (ticker, ticks) = ticking();
        until_asleep(&ticker, &ticks);
        drop(ticker);
        ticks.recv().expect_err("the thread is gone");
    }
}
