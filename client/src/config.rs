//! Limits and times of a channel, each with its unit, its default and what happens at the limit.
//!
//! [`Config`] is what may be set; the builder in `channel` checks it once, so the rest of the crate
//! takes it as it is. A leaf.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::error::ConfigError;
use crate::platform;

const KIB: u32 = 1024;

/// Shortest keepalive interval. Source: gRPC proposal A8; servers answer more with `too_many_pings`.
const KEEPALIVE_INTERVAL_MIN: Duration = Duration::from_secs(10);

/// Longest time that is kept to as it is set: a century. Beyond it, up to `Duration::MAX` for
/// "never", it makes no difference, and sums of times could overflow.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Limits and times of one channel. A time as long as `Duration::MAX` is as good as none.
///
/// Memory: what unread answers may take is `connection_window_bytes` and up to 32 MiB of bookkeeping
/// for messages of a few bytes each; what waits to be sent is one message for each call, and what HTTP/2's windows
/// let out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Longest set-up of a connection: look-up, TCP, TLS, WebSocket and HTTP/2 together. Default
    /// 20 s, gRPC's minimum connect timeout. Then the attempt has failed.
    pub connect_timeout: Duration,
    /// Time between attempts.
    pub backoff: Backoff,
    /// Attempts in a row that may fail before the channel stops for good. Default: no limit.
    pub attempts_max: Option<NonZeroU32>,
    /// Whether a connection that was lost, or failed, is sought again although no call wants it.
    /// Default no: the next call seeks it.
    pub keep_connected: bool,
    /// Whether calls wait for a connection after an attempt has failed, instead of failing with it.
    /// Default no. [`WaitForReady`](crate::WaitForReady) sets it for one call.
    pub wait_for_ready: bool,
    /// Calls that may wait for a connection, or for the server to allow another call on it. Count;
    /// default 1024. The next one fails with RESOURCE_EXHAUSTED.
    pub waiting_max: usize,
    /// Deadline of calls that bring none (`grpc-timeout`). Default: none. It is sent to the server
    /// and enforced here, from the beginning of the call to its last trailer.
    pub deadline_default: Option<Duration>,
    /// PINGs that find out whether the server is there. `None`: never.
    pub keepalive: Option<Keepalive>,
    /// Time without a call after which the connection is closed; the next call opens another.
    /// Default: never.
    pub idle_timeout: Option<Duration>,
    /// Time that [`stop`](crate::Channel::stop) gives the calls under way. Default 10 s.
    pub stop_timeout: Duration,
    /// Bytes of one answer that may be on their way or unread. Default 1 MiB. The server then waits.
    pub stream_window_bytes: u32,
    /// Bytes of all answers of a connection that may be on their way or unread. Default 4 MiB.
    pub connection_window_bytes: u32,
    /// Largest HTTP/2 frame that we take. Bytes; default 64 KiB: larger frames do not stream faster.
    pub frame_bytes_max: u32,
    /// Largest set of headers or trailers that we take. Bytes as HTTP/2 counts; default 256 KiB. The
    /// call then fails.
    pub header_list_bytes_max: u32,
    /// Events kept for readers that lag behind. Count; default 256. The oldest go first, and the
    /// reader is told how many.
    pub events_max: usize,
    /// Put before the channel's own `user-agent`, as gRPC has it. Default: nothing.
    pub user_agent: Option<String>,
    /// The `:authority` of calls. Default: that of the target. Host names and ports only.
    pub authority: Option<String>,
}

/// Time between the beginnings of two attempts to connect.
///
/// Source: connection-backoff.md of gRPC. The count begins anew after a connection that was of use: one
/// that answered a call, or lasted for `initial`, or for 10 s if that is shorter. One that was not
/// counts as a failure, but for the first in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// After the first failure. Default 1 s.
    pub initial: Duration,
    /// By how much each one is longer than the last. Default 1.6.
    pub factor: f64,
    /// The longest, before jitter. Default 120 s; in browsers, where somebody looks at it, 30 s.
    pub max: Duration,
    /// Largest part of it that is added or taken away by chance, so that many clients do not come
    /// back at once. Default 0.2.
    pub jitter: f64,
}

/// PINGs of HTTP/2 that find out whether the server is there, and natively those of a tunnel's WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence after which the server is pinged. Default 30 s, at least 10 s.
    pub interval: Duration,
    /// Silence after a PING beyond which the connection is dead: its calls fail with UNAVAILABLE.
    /// Default 20 s.
    pub timeout: Duration,
    /// Whether connections without calls are pinged too. Default no: many servers take that amiss.
    pub idle: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(20),
            backoff: Backoff::default(),
            attempts_max: None,
            keep_connected: false,
            wait_for_ready: false,
            waiting_max: 1024,
            deadline_default: None,
            keepalive: Some(Keepalive::default()),
            idle_timeout: None,
            stop_timeout: Duration::from_secs(10),
            stream_window_bytes: 1024 * KIB,
            connection_window_bytes: 4 * 1024 * KIB,
            frame_bytes_max: 64 * KIB,
            header_list_bytes_max: 256 * KIB,
            events_max: 256,
            user_agent: None,
            authority: None,
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            factor: 1.6,
            max: platform::BACKOFF_MAX,
            jitter: 0.2,
        }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(20),
            idle: false,
        }
    }
}

impl Config {
    /// The configuration, once it holds together.
    ///
    /// # Errors
    /// [`ConfigError::Range`] for the first number outside its range.
    pub(crate) fn checked(self) -> Result<Self, ConfigError> {
        const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;
        let windows = u32::from(u16::MAX)..=WINDOW_BYTES_MAX;
        let backoff = self.backoff;
        let keepalive_fits = self.keepalive.is_none_or(|keepalive| {
            keepalive.interval >= KEEPALIVE_INTERVAL_MIN && !keepalive.timeout.is_zero()
        });
        let rules: [(bool, &'static str, &'static str); 10] = [
            (
                !self.connect_timeout.is_zero(),
                "connect_timeout",
                "more than nothing",
            ),
            (
                backoff.initial >= Duration::from_millis(10) && backoff.initial <= backoff.max,
                "backoff.initial",
                "10 ms or more, and no more than backoff.max",
            ),
            (
                backoff.factor >= 1.0 && backoff.factor <= 100.0,
                "backoff.factor",
                "between 1 and 100",
            ),
            (
                (0.0..=0.9).contains(&backoff.jitter),
                "backoff.jitter",
                "between 0 and 0.9",
            ),
            (
                keepalive_fits,
                "keepalive",
                "an interval of 10 s or more and a timeout of more than nothing",
            ),
            (
                windows.contains(&self.stream_window_bytes),
                "stream_window_bytes",
                "between 65535 and 2^31 - 1",
            ),
            (
                windows.contains(&self.connection_window_bytes),
                "connection_window_bytes",
                "between 65535 and 2^31 - 1",
            ),
            (
                (16 * KIB..1 << 24).contains(&self.frame_bytes_max),
                "frame_bytes_max",
                "between 16384 and 2^24 - 1",
            ),
            (
                self.header_list_bytes_max >= 8 * KIB,
                "header_list_bytes_max",
                "8192 or more",
            ),
            (self.events_max > 0, "events_max", "more than nothing"),
        ];
        match rules.iter().find(|(holds, _, _)| !holds) {
            Some((_, key, rule)) => Err(ConfigError::Range { key, rule }),
            None => Ok(self.saturated()),
        }
    }

    /// The same with every time short enough to be added to another one.
    fn saturated(mut self) -> Self {
        let Backoff { initial, max, .. } = &mut self.backoff;
        let always = [
            &mut self.connect_timeout,
            &mut self.stop_timeout,
            initial,
            max,
        ];
        let keepalive = self.keepalive.as_mut();
        let keepalive =
            keepalive.map(|keepalive| [&mut keepalive.interval, &mut keepalive.timeout]);
        let sometimes = [self.deadline_default.as_mut(), self.idle_timeout.as_mut()];
        let times = always.into_iter().chain(keepalive.into_iter().flatten());
        for time in times.chain(sometimes.into_iter().flatten()) {
            *time = FOR_EVER.min(*time);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_together() {
        Config::default().checked().expect("defaults");
    }

    #[test]
    fn a_number_outside_its_range_is_named() {
        type Spoil = fn(&mut Config);
        let table: [(Spoil, &str); 7] = [
            (
                |config| config.connect_timeout = Duration::ZERO,
                "connect_timeout",
            ),
            (
                |config| config.backoff.initial = Duration::from_secs(500),
                "backoff.initial",
            ),
            (|config| config.backoff.factor = f64::NAN, "backoff.factor"),
            (|config| config.backoff.jitter = 1.0, "backoff.jitter"),
            (
                |config| {
                    config.keepalive = Some(Keepalive {
                        interval: Duration::from_secs(9),
                        ..Keepalive::default()
                    });
                },
                "keepalive",
            ),
            (|config| config.frame_bytes_max = 1, "frame_bytes_max"),
            (|config| config.events_max = 0, "events_max"),
        ];
        for (spoil, expected) in table {
            let mut config = Config::default();
            spoil(&mut config);
            match config.checked() {
                Err(ConfigError::Range { key, .. }) => assert_eq!(key, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
}
