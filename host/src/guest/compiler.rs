//! Where plugins are compiled: beside everything else, few at a time, and no longer than they may take.
//!
//! Called by `plugin` with what is to be compiled; knows no wasmtime. A compilation cannot be ended from outside,
//! so one that takes too long is given up: its plugin is refused, and it runs on, unseen, at low priority, on
//! threads of its own. Invariants: [`COMPILE_AT_ONCE`] are waited for at most; [`GIVEN_UP_MAX`] run on beside them
//! at most; who waits for a place gets it when one ends or is given up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::error::PluginError;

/// Plugins that are compiled at a time: one for each core of a small machine, so that a folder of
/// many loads quickly and memory stays bounded.
pub(crate) const COMPILE_AT_ONCE: usize = 2;

/// Compilations that were given up and still run. Count; each holds its threads and memory. While there are so many
/// nothing is compiled.
const GIVEN_UP_MAX: usize = 2;

/// The lowest priority: calls go first.
const NICENESS: i32 = 19;

/// The places to compile in.
#[derive(Debug)]
pub(crate) struct Compiler {
    /// Held by who waits for a compilation.
    places: Semaphore,
    /// Held by each compilation until it ends.
    alive: Arc<Semaphore>,
    timeout: Duration,
    threads: usize,
}

impl Compiler {
    /// Gives up compilations after `timeout`.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            places: Semaphore::new(COMPILE_AT_ONCE),
            alive: Arc::new(Semaphore::new(COMPILE_AT_ONCE + GIVEN_UP_MAX)),
            timeout,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Waits for a place and does `work` there.
    ///
    /// # Errors
    /// [`PluginError::CompileTimeout`] when it takes too long, [`PluginError::CompilersBusy`] when too many that
    /// did still run, and [`PluginError::Invalid`] for a panic.
    ///
    /// # Cancel safety
    /// Dropping the future gives the work up.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PluginError> {
        let place = self.places.acquire().await;
        let _place = place.map_err(|_closed| PluginError::CompilersBusy)?;
        let alive = Arc::clone(&self.alive).try_acquire_owned();
        let alive = alive.map_err(|_none| PluginError::CompilersBusy)?;
        let pool = self.threads().map_err(PluginError::NoThread)?;
        let (done, result) = oneshot::channel();
        pool.spawn(move || {
            let made = catch_unwind(AssertUnwindSafe(work));
            drop(alive);
            // An error means that it was given up.
            drop(done.send(made));
        });
        match timeout(self.timeout, result).await {
            Ok(Ok(Ok(made))) => Ok(made),
            Ok(_panicked) => Err(PluginError::Invalid("the compiler panicked".into())),
            Err(_elapsed) => Err(PluginError::CompileTimeout(self.timeout)),
        }
    }

    /// Threads for one compilation: those of another that goes on and on must not be waited for.
    fn threads(&self) -> Result<ThreadPool, std::io::Error> {
        let builder = ThreadPoolBuilder::new().num_threads(self.threads);
        let builder = builder.thread_name(|_| "compile".to_owned());
        let builder = builder.start_handler(|_| {
            // Without, it is only less polite.
            let _refused = rustix::process::setpriority_process(None, NICENESS);
        });
        builder.build().map_err(std::io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::*;

    /// Work that lasts until it is told to end.
    fn stuck() -> (impl FnOnce() + Send + 'static, SyncSender<()>) {
        let (end, ended) = sync_channel(1);
        let work = move || {
            let _hung_up = ended.recv();
        };
        (work, end)
    }

    #[tokio::test]
    async fn what_takes_too_long_is_given_up_and_others_get_its_place() {
        let compiler = Compiler::new(Duration::from_millis(1));
        let mut ends = Vec::new();
        // As many as may run on; each has its place for a moment only.
        for _ in 0..COMPILE_AT_ONCE + GIVEN_UP_MAX {
            let (work, end) = stuck();
            let error = compiler.run(work).await.expect_err("it is stuck");
            assert!(matches!(error, PluginError::CompileTimeout(_)), "{error}");
            ends.push(end);
        }
        let refused = compiler.run(|| ()).await.expect_err("too many run on");
        assert!(matches!(refused, PluginError::CompilersBusy), "{refused}");
        drop(ends);
        let patient = Compiler {
            timeout: Duration::from_secs(20),
            ..compiler
        };
        while patient.alive.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(patient.run(|| 5).await.expect("there is room again"), 5);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_the_plugin() {
        let compiler = Compiler::new(Duration::from_secs(20));
        let panicked = compiler.run(|| panic!("of the compiler")).await;
        let error = panicked.map(|(): ()| ()).expect_err("a panic");
        assert!(matches!(error, PluginError::Invalid(_)), "{error}");
        assert_eq!(compiler.places.available_permits(), COMPILE_AT_ONCE);
    }

    #[tokio::test]
    async fn who_does_not_wait_any_more_leaves_its_place() {
        let compiler = Compiler::new(Duration::from_secs(20));
        let (work, _end) = stuck();
        let mut run = Box::pin(compiler.run(work));
        assert!(futures_util::poll!(&mut run).is_pending());
        assert_eq!(compiler.places.available_permits(), COMPILE_AT_ONCE - 1);
        drop(run);
        assert_eq!(compiler.places.available_permits(), COMPILE_AT_ONCE);
    }
}
