//! What a channel needs of its platform, with tokio: tasks, a clock, chance.
//!
//! The other half of the switch is `web.rs`; both have the same names, and `lib.rs` picks one as
//! `platform`. Time comes from tokio, so that tests may pause it.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::Instant;

use crate::channel::Builder;
use crate::error::{CallError, ConfigError};
use crate::target::{Scheme, Target};
use crate::transport::{Connector, TcpConnector, TunnelConnector};

/// Default of `backoff.max`. Source: connection-backoff.md of gRPC.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(120);

/// Streams that we reset and that are remembered for a second, so that what the server has sent by
/// then is dropped without another reset. Count.
pub(crate) const RESETS_REMEMBERED: usize = 1024;

/// Whether a connection lets other tasks run before it sends what they gave it.
pub(crate) const YIELD_BEFORE_SENDING: bool = false;

/// A future that may go to another thread; in browsers there is none.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Says why a byte stream ended, once it has.
pub type EndText = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// `Send` where there are threads; nothing in browsers.
pub trait MaybeSend: Send {}
impl<T: Send + ?Sized> MaybeSend for T {}

/// Time since the clock was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.0)
    }

    pub(crate) fn sleep_until(&self, due: Duration) -> Sleep {
        /// As good as never, and no overflow of an `Instant`.
        const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
        let due = self.0 + due.min(FAR);
        Sleep(Box::pin(unconstrained(tokio::time::sleep_until(due))))
    }
}

/// Ends when its time has come, also for a task that never lets go: a sleep that was held to tokio's
/// budget would not end while its task has always something to read.
pub(crate) struct Sleep(Pin<Box<Unconstrained<tokio::time::Sleep>>>);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").finish_non_exhaustive()
    }
}

/// Whether tasks and timers can be had here.
///
/// # Errors
/// [`CallError::NoRuntime`].
pub(crate) fn check_runtime() -> Result<(), CallError> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => Ok(()),
        Err(_) => Err(CallError::NoRuntime),
    }
}

/// Runs a future beside the others.
///
/// # Errors
/// [`CallError::NoRuntime`] outside a tokio runtime; the future is dropped.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Result<(), CallError> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => {
            runtime.spawn(future);
            Ok(())
        }
        Err(_) => Err(CallError::NoRuntime),
    }
}

/// A number of [0, 1), for jitter. The hasher's keys come from the system.
pub(crate) fn chance() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let number = bits as f64;
    number / (1_u64 << 53) as f64
}

/// Calls back when the network may be there again; natively nobody tells.
#[derive(Debug)]
pub(crate) struct NetworkWatch;

impl NetworkWatch {
    pub(crate) fn new(_changed: impl Fn() + 'static) -> Self {
        Self
    }
}

/// The transport for a target.
///
/// # Errors
/// What of the builder does not go together.
pub(crate) fn connector(
    target: &Target,
    builder: &Builder,
) -> Result<Box<dyn Connector>, ConfigError> {
    match target.scheme() {
        Scheme::Http | Scheme::Https => Ok(Box::new(TcpConnector::new(target, &builder.tls)?)),
        Scheme::Ws | Scheme::Wss => Ok(Box::new(TunnelConnector::new(
            target,
            builder.tunnel.clone(),
            &builder.tls,
        )?)),
    }
}

/// A target as it was given; only browsers know where they are.
pub(crate) fn absolute(target: &str) -> String {
    target.to_owned()
}
