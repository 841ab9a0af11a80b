//! Who runs a call: this file holds the whole choice.
//!
//! A short call runs inside its connection's task: `grpc::connection` polls it right after it read
//! the request and flushes once for all of them. A long one runs on a second runtime of lower
//! priority, so that one connection still uses every core and a plugin that computes does not
//! delay its neighbours. Called by `grpc::connection`; knows nothing of what a call is.
//!
//! - A method whose calls compute for [`LaneConfig::long_after`] in a go, on average, starts on the long
//!   lane; when they become quicker it comes back.
//! - A call that holds its connection for [`PROMOTE_AFTER`] in two goes one after the other, and computed as
//!   long in the second, is moved at that pause.
//!
//! Measured (docs/benchmarks.md has today's numbers): 4.4 us of server CPU for a unary call of a
//! plugin this way, 8.7 us with a task for each stream, which flushes for each response. A short
//! call beside a neighbour that computes for 20 ms at a time: 0.28 ms at the 99th percentile.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::config::LaneConfig;
use crate::error::BuildError;
use crate::{task, telemetry};

/// A call that held its connection this long without a pause, did so again in its next go, and computed as
/// long then (CPU time of the thread), goes to the long lane. Time alone does not tell a guest that computes
/// from a busy machine, and one go does not tell it from a stream that was interrupted once in a million
/// messages: streams stay where they are moved, and a small message costs 1.4 to 1.7 times as much there.
/// A guest that computes pauses at each tick, so nearly every such guest is moved within its
/// first pauses, and a short call that a tick happened to hit is not. Moving costs about 20 us.
const PROMOTE_AFTER: Duration = Duration::from_micros(400);

/// Calls of a method that are all measured before only one in [`SAMPLE_EVERY`] is. Reading a
/// thread's CPU clock is a system call of about 0.2 us, twice a poll.
const SAMPLES_FIRST: u32 = 8;
const SAMPLE_EVERY: u32 = 32;

/// Goes of a call that are measured, if it is one of the samples: a stream may have millions.
const GOES_MEASURED: u32 = 64;

/// Weight of a new sample in the average: one eighth.
const SAMPLE_SHIFT: u32 = 3;

/// The two lanes. Dropping it ends the long one with its calls.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// None once shut down.
    long: Option<Runtime>,
    long_after_ns: u64,
}

impl Lanes {
    /// Starts the long lane's threads.
    ///
    /// # Errors
    /// [`BuildError::Thread`].
    pub(crate) fn start(config: &LaneConfig) -> Result<Self, BuildError> {
        let mut builder = Builder::new_multi_thread();
        if let Some(workers) = config.workers {
            builder.worker_threads(usize::try_from(workers.get()).unwrap_or(usize::MAX));
        }
        let niceness = i32::from(config.long_niceness.min(19));
        let long = builder
            .thread_name("long")
            // Time for its calls, and sockets for plugins that are granted some.
            .enable_all()
            .on_thread_start(move || lower_priority(niceness))
            .build()
            .map_err(BuildError::Thread)?;
        let long_after_ns = u64::try_from(config.long_after.as_nanos()).unwrap_or(u64::MAX);
        Ok(Self {
            long: Some(long),
            long_after_ns,
        })
    }

    /// The long lane's runtime, for work that may take its time.
    ///
    /// # Panics
    /// Never: the runtime is taken only by drop.
    #[must_use]
    pub(crate) fn long(&self) -> &Handle {
        self.long
            .as_ref()
            .expect("the runtime is taken only by drop")
            .handle()
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        if let Some(long) = self.long.take() {
            // May be dropped inside a runtime, where waiting is not allowed; its calls have ended.
            long.shutdown_background();
        }
    }
}

fn lower_priority(niceness: i32) {
    if let Err(error) = rustix::process::setpriority_process(None, niceness) {
        tracing::warn!(%error, "the threads for long calls run at normal priority");
    }
}

/// How long a method's calls hold their thread.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Average CPU time of a go without a pause, in nanoseconds. Of a call the mean of its goes counts, not the
    /// longest: of thousands one was always interrupted.
    average_ns: AtomicU64,
    /// Calls measured, up to [`SAMPLES_FIRST`].
    samples: AtomicU32,
    /// Configured to be long whatever is measured.
    always_long: bool,
}

impl Meter {
    /// A meter for a method; `always_long` if the operator says so.
    #[must_use]
    pub(crate) fn new(always_long: bool) -> Self {
        Self {
            always_long,
            ..Self::default()
        }
    }

    /// Whether the operator says that its calls are long.
    #[must_use]
    pub(crate) fn is_fixed(&self) -> bool {
        self.always_long
    }

    fn is_long(&self, lanes: &Lanes) -> bool {
        self.always_long
            || (self.samples.load(Ordering::Relaxed) >= SAMPLES_FIRST
                && self.average_ns.load(Ordering::Relaxed) >= lanes.long_after_ns)
    }

    /// Whether this call is one of those to measure.
    fn wants_sample(&self) -> bool {
        thread_local!(static CALLS: Cell<u32> = const { Cell::new(0) });
        let call = CALLS.get().wrapping_add(1);
        CALLS.set(call);
        call.is_multiple_of(SAMPLE_EVERY) || self.samples.load(Ordering::Relaxed) < SAMPLES_FIRST
    }

    fn record(&self, held: Duration) {
        let held = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX);
        let average = self.average_ns.load(Ordering::Relaxed);
        let samples = self.samples.load(Ordering::Relaxed);
        // Lost updates between threads are samples not taken, nothing worse.
        let average = if samples == 0 {
            held
        } else {
            average - (average >> SAMPLE_SHIFT) + (held >> SAMPLE_SHIFT)
        };
        self.average_ns.store(average, Ordering::Relaxed);
        if samples < SAMPLES_FIRST {
            self.samples.store(samples + 1, Ordering::Relaxed);
        }
    }
}

/// CPU time of the current thread.
fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One call on its lane. Polled by its connection's task; dropping it ends the call.
#[derive(Debug)]
pub(crate) struct Run {
    place: Place,
    lanes: Arc<Lanes>,
}

enum Place {
    Here(Measured),
    Long(JoinHandle<()>),
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Here(_) => "Here",
            Self::Long(_) => "Long",
        })
    }
}

impl Run {
    /// Puts a call on the lane that its method belongs to.
    #[must_use]
    pub(crate) fn new(lanes: &Arc<Lanes>, meter: &Arc<Meter>, call: Call) -> Self {
        let measured = Measured {
            call,
            sample: meter.wants_sample().then(Sample::default),
            suspect: false,
            latest: None,
            meter: Arc::clone(meter),
        };
        let place = if meter.is_long(lanes) {
            Place::Long(task::spawn_on(lanes.long(), measured))
        } else {
            Place::Here(measured)
        };
        Self {
            place,
            lanes: Arc::clone(lanes),
        }
    }
}

impl Future for Run {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        match &mut this.place {
            Place::Here(measured) => {
                let begun = telemetry::turn();
                if Pin::new(&mut *measured).poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                let held = telemetry::ended().saturating_duration_since(begun);
                if !measured.is_long(held) {
                    return Poll::Pending;
                }
                let gone: Call = Box::pin(std::future::ready(()));
                let moved = Measured {
                    call: std::mem::replace(&mut measured.call, gone),
                    meter: Arc::clone(&measured.meter),
                    sample: measured.sample.take(),
                    suspect: false,
                    latest: None,
                };
                let mut handle = task::spawn_on(this.lanes.long(), moved);
                let polled = Pin::new(&mut handle).poll(cx);
                this.place = Place::Long(handle);
                polled.map(drop)
            }
            // A panic was caught inside the call; what is left is a runtime that shuts down.
            Place::Long(handle) => Pin::new(handle).poll(cx).map(drop),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Place::Long(handle) = &self.place {
            // A guest that computes ends at its next tick.
            handle.abort();
        }
    }
}

/// A call whose goes are measured, if it is one of the samples or suspected to be long.
struct Measured {
    call: Call,
    meter: Arc<Meter>,
    /// Until it is recorded.
    sample: Option<Sample>,
    /// The last go was long, by the time on the clock.
    suspect: bool,
    /// CPU time of the last go, if it was measured.
    latest: Option<Duration>,
}

/// What the goes of a call have computed so far.
#[derive(Default)]
struct Sample {
    computed: Duration,
    goes: u32,
}

impl Sample {
    fn mean(&self) -> Duration {
        self.computed / self.goes.max(1)
    }
}

impl Measured {
    /// Takes in how long the last go held its thread; whether the call is to be moved.
    fn is_long(&mut self, held: Duration) -> bool {
        if held < PROMOTE_AFTER {
            self.suspect = false;
            return false;
        }
        // The first of two was perhaps not measured; the second is.
        let again = std::mem::replace(&mut self.suspect, true);
        again && self.latest.is_some_and(|latest| latest >= PROMOTE_AFTER)
    }
}

impl Future for Measured {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.sample.is_none() && !this.suspect {
            this.latest = None;
            return this.call.as_mut().poll(cx);
        }
        let before = thread_cpu();
        let polled = this.call.as_mut().poll(cx);
        let latest = thread_cpu().saturating_sub(before);
        this.latest = Some(latest);
        if let Some(sample) = &mut this.sample {
            sample.computed += latest;
            sample.goes += 1;
            if polled.is_ready() || sample.goes >= GOES_MEASURED {
                this.meter.record(sample.mean());
                this.sample = None;
            }
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes() -> Arc<Lanes> {
        let config = LaneConfig {
            workers: std::num::NonZeroU32::new(1),
            ..LaneConfig::default()
        };
        Arc::new(Lanes::start(&config).expect("a second runtime"))
    }

    fn compute(least: Duration) {
        let begun = thread_cpu();
        while thread_cpu().saturating_sub(begun) < least {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn a_method_becomes_long_and_short_again_by_what_is_measured() {
        let lanes = lanes();
        let meter = Meter::new(false);
        for _ in 0..SAMPLES_FIRST - 1 {
            meter.record(Duration::from_millis(20));
            assert!(!meter.is_long(&lanes), "a few samples are not enough");
        }
        meter.record(Duration::from_millis(20));
        assert!(meter.is_long(&lanes));
        for _ in 0..100 {
            meter.record(Duration::from_micros(3));
        }
        assert!(!meter.is_long(&lanes));
    }

    #[test]
    fn a_method_configured_as_long_is_long_at_once() {
        assert!(Meter::new(true).is_long(&lanes()));
    }

    #[tokio::test]
    async fn a_call_that_holds_its_thread_is_moved_and_still_ends() {
        let lanes = lanes();
        let meter = Arc::new(Meter::new(false));
        let threads = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = Arc::clone(&threads);
        let mut goes = 0;
        let call = std::future::poll_fn(move |cx| {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            seen.lock().expect("not poisoned").push(name);
            goes += 1;
            if goes == 3 {
                return Poll::Ready(());
            }
            compute(PROMOTE_AFTER * 2);
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        Run::new(&lanes, &meter, Box::pin(call)).await;
        let threads = threads.lock().expect("not poisoned");
        assert_eq!(threads.len(), 3, "{threads:?}");
        assert_ne!(threads[0], "long");
        assert_ne!(threads[1], "long");
        assert_eq!(threads[2], "long");
    }

    #[tokio::test]
    async fn a_stream_that_is_held_up_once_in_a_while_stays_and_is_judged_by_its_usual_go() {
        let lanes = lanes();
        let meter = Arc::new(Meter::new(false));
        let mut goes = 0;
        let judged = Arc::clone(&meter);
        let call = std::future::poll_fn(move |cx| {
            assert_ne!(std::thread::current().name(), Some("long"));
            goes += 1;
            if goes > GOES_MEASURED {
                assert_eq!(judged.samples.load(Ordering::Relaxed), 1, "before it ends");
                return Poll::Ready(());
            }
            if goes % 20 == 0 {
                compute(PROMOTE_AFTER * 2);
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        Run::new(&lanes, &meter, Box::pin(call)).await;
        let average = meter.average_ns.load(Ordering::Relaxed);
        assert!(
            Duration::from_nanos(average) < PROMOTE_AFTER,
            "{average} ns"
        );
    }

    #[tokio::test]
    async fn a_call_whose_thread_only_waited_stays() {
        let lanes = lanes();
        let meter = Arc::new(Meter::new(false));
        let mut goes = 0;
        let call = std::future::poll_fn(move |cx| {
            goes += 1;
            if goes == 3 {
                assert_ne!(std::thread::current().name(), Some("long"));
                return Poll::Ready(());
            }
            // As when a busy machine runs somebody else: time goes by, this thread does not compute.
            let elsewhere = std::thread::spawn(|| {
                let begun = std::time::Instant::now();
                while begun.elapsed() < PROMOTE_AFTER * 2 {
                    std::hint::spin_loop();
                }
            });
            elsewhere.join().expect("it only spins");
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        Run::new(&lanes, &meter, Box::pin(call)).await;
    }

    #[tokio::test]
    async fn a_call_that_nobody_measures_is_moved_when_it_computes_again() {
        let lanes = lanes();
        let meter = Arc::new(Meter::new(false));
        let mut goes = 0;
        let call = std::future::poll_fn(move |cx| {
            goes += 1;
            if goes == 3 {
                assert_eq!(std::thread::current().name(), Some("long"));
                return Poll::Ready(());
            }
            compute(PROMOTE_AFTER * 2);
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        let mut run = Run::new(&lanes, &meter, Box::pin(call));
        if let Place::Here(measured) = &mut run.place {
            measured.sample = None;
        }
        run.await;
    }

    #[tokio::test]
    async fn dropping_a_moved_call_ends_it() {
        let lanes = lanes();
        let meter = Arc::new(Meter::new(true));
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        let run = Run::new(
            &lanes,
            &meter,
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(held);
            }),
        );
        drop(run);
        dropped
            .await
            .expect_err("the call's future is gone, and what it held");
    }
}
