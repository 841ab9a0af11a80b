//! The way to the server, as all connections share it: one pause between attempts, and the last reason.
//!
//! Called by `forward`, once for each connection that wants a tunnel; calls the client's `tunnel`. While the
//! way is open each connection makes its own attempt, because each needs a tunnel of its own. Once an attempt
//! has failed, one connection at a time tries, and none before the pause is over: the others wait, or get the
//! reason if waiting makes no sense for them. So clients that come back at once cost the server nothing.
//!
//! Invariants: a server is not asked sooner than it wants (`Retry-After`, up to [`RETRY_AFTER_MAX`]); no time
//! that anybody gives, peer or command line, is more than the clock can name.

use std::time::Duration;

use switchboard_client::ConnectError;
use switchboard_client::tunnel::{self, Tunnel, TunnelTarget};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// First and longest pause between attempts, unless the server asks for another: a connection waits
/// for 20 s, so there is time for some ten attempts, and an ingress that restarts is found within 2 s.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Longest pause after a refusal that another attempt would hardly change: somebody has to do something,
/// and then it is found within this time.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Longest `Retry-After` that is obeyed: a server that is gone for longer is asked now and then.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// How often the log repeats itself while attempts fail for the same reason.
const SAID_INTERVAL: Duration = Duration::from_secs(60);

/// A time that never comes, for clocks that cannot name later ones. Source: tokio's own choice.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

/// The way to one server.
#[derive(Debug)]
pub(super) struct Way {
    target: TunnelTarget,
    standing: watch::Sender<Option<Failed>>,
}

/// What the last attempt came to, if it failed.
#[derive(Clone, Debug)]
struct Failed {
    error: ConnectError,
    pause: Duration,
    /// No other attempt before.
    next: Instant,
    /// Whether somebody tries now.
    trying: bool,
    /// Since when there is no way.
    since: Instant,
    /// When the log said last why.
    said: Instant,
    /// When it said last that clients are told so; none if it has yet to.
    told: Option<Instant>,
}

/// What a connection does next.
enum Step {
    /// Makes an attempt; `probes` if it is the only one.
    Try {
        probes: bool,
    },
    WaitUntil(Instant),
    GiveUp(ConnectError),
}

impl Way {
    pub(super) fn new(target: TunnelTarget) -> Self {
        Self {
            target,
            standing: watch::Sender::new(None),
        }
    }

    /// Where it leads.
    pub(super) fn target(&self) -> String {
        self.target.target().to_string()
    }

    /// A tunnel, sought for `within` at most as long as that makes sense.
    ///
    /// # Errors
    /// The reason why there is none, which may be an attempt's that another connection made.
    ///
    /// # Cancel safety
    /// An attempt ends, and another connection may make the next.
    pub(super) async fn tunnel(&self, within: Duration) -> Result<Tunnel, ConnectError> {
        let until = later(Instant::now(), within);
        let mut standing = self.standing.subscribe();
        loop {
            standing.mark_unchanged();
            match self.step(until) {
                Step::GiveUp(error) => return Err(error),
                Step::Try { probes } => {
                    let left = until.saturating_duration_since(Instant::now());
                    if let Ok(tunnel) = self.connect(left, probes).await {
                        return Ok(tunnel);
                    }
                }
                Step::WaitUntil(time) => {
                    tokio::select! {
                        () = sleep_until(time) => {}
                        // The sender lives as long as this.
                        _changed = standing.changed() => {}
                    }
                }
            }
        }
    }

    /// The first attempt of all.
    ///
    /// # Errors
    /// Why it failed.
    pub(super) async fn first(&self, within: Duration) -> Result<Tunnel, ConnectError> {
        self.connect(within, false).await
    }

    async fn connect(&self, within: Duration, probes: bool) -> Result<Tunnel, ConnectError> {
        let _probe = probes.then(|| Probe(self));
        let connected = tunnel::connect(&self.target, within).await;
        match &connected {
            Ok(_) => self.opened(),
            Err(error) => self.failed(error, probes),
        }
        connected
    }

    fn step(&self, until: Instant) -> Step {
        let now = Instant::now();
        let mut step = Step::Try { probes: false };
        self.standing.send_if_modified(|standing| {
            let Some(failed) = standing else {
                return false;
            };
            let hopeless = !failed.error.try_again() && now < failed.next;
            step = if now >= until || (!failed.trying && (hopeless || failed.next >= until)) {
                self.tell(failed);
                Step::GiveUp(failed.error.clone())
            } else if failed.trying {
                Step::WaitUntil(until)
            } else if now < failed.next {
                Step::WaitUntil(failed.next)
            } else {
                failed.trying = true;
                Step::Try { probes: true }
            };
            // Whoever waits for what comes of the attempt is told then.
            false
        });
        step
    }

    /// Says in the log what clients get: once for each reason, and again while it lasts.
    fn tell(&self, failed: &mut Failed) {
        if failed.told.is_none_or(is_long_ago) {
            failed.told = Some(Instant::now());
            tracing::error!(target = %self.target.target(), "no tunnel: {}", failed.error);
        }
    }

    fn opened(&self) {
        self.standing.send_if_modified(|standing| {
            let failed = standing.take();
            if let Some(failed) = &failed {
                let away = failed.since.elapsed();
                tracing::info!(target = %self.target.target(), ?away, "the tunnel is there again");
            }
            failed.is_some()
        });
    }

    fn failed(&self, error: &ConnectError, probed: bool) {
        self.standing.send_if_modified(|standing| {
            let now = Instant::now();
            let pause = match standing {
                // Begun beside others, while the way was open: one of them counts.
                Some(_) if !probed => return false,
                Some(failed) => failed.pause.saturating_mul(2),
                None => PAUSE_MIN,
            };
            let pause = pause.min(if error.try_again() {
                PAUSE_MAX
            } else {
                REFUSED_PAUSE_MAX
            });
            let asked = error.retry_after().map(|after| after.min(RETRY_AFTER_MAX));
            let wait = asked.unwrap_or(pause);
            let before = standing.take();
            let since = before.as_ref().map_or(now, |before| before.since);
            let same = before.filter(|before| before.error.to_string() == error.to_string());
            let said = same.as_ref().map(|before| before.said);
            let quiet = said.filter(|said| !is_long_ago(*said));
            let target = self.target.target();
            match quiet {
                Some(_) => tracing::debug!(%target, "no tunnel yet, again in {wait:?}: {error}"),
                // Clients are told why, and the log then.
                None if !error.try_again() => {}
                None => {
                    let away = now.saturating_duration_since(since);
                    tracing::warn!(%target, ?away, "no tunnel yet, trying again and again: {error}");
                }
            }
            *standing = Some(Failed {
                error: error.clone(),
                pause,
                next: later(now, wait),
                trying: false,
                since,
                said: quiet.unwrap_or(now),
                told: same.and_then(|before| before.told),
            });
            true
        });
    }
}

/// The only attempt under way: somebody else may make the next once it is over, however it ends.
struct Probe<'a>(&'a Way);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.0.standing.send_if_modified(|standing| {
            let failed = standing.as_mut();
            failed.is_some_and(|failed| std::mem::take(&mut failed.trying))
        });
    }
}

/// Whether the log may repeat what it said then.
fn is_long_ago(said: Instant) -> bool {
    said.elapsed() >= SAID_INTERVAL
}

/// The time so much after another, as far as the clock can name it.
fn later(from: Instant, by: Duration) -> Instant {
    from.checked_add(by).unwrap_or_else(|| from + FAR)
}

#[cfg(test)]
mod tests {
    use switchboard_client::Refusal;

    use super::*;

    fn way() -> Way {
        let target = TunnelTarget::builder("ws://127.0.0.1:1/tunnel").build();
        Way::new(target.expect("a target"))
    }

    fn refused(status: u16, retry_after: Option<Duration>) -> ConnectError {
        ConnectError::Refused(Refusal {
            status: http::StatusCode::from_u16(status).expect("a status"),
            line: None,
            retry_after,
        })
    }

    fn next(way: &Way) -> Duration {
        let standing = way.standing.borrow();
        let failed = standing.as_ref().expect("an attempt failed");
        failed.next.saturating_duration_since(Instant::now())
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_no_clock_can_name_is_a_long_one() {
        let way = way();
        way.failed(&refused(503, Some(Duration::from_secs(u64::MAX))), false);
        assert_eq!(next(&way), RETRY_AFTER_MAX);
        assert!(matches!(
            way.step(later(Instant::now(), MINUTE)),
            Step::GiveUp(_)
        ));
        assert!(later(Instant::now(), Duration::MAX) > Instant::now() + MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_tries_while_the_pause_runs_and_one_after_it() {
        let way = way();
        let until = Instant::now() + MINUTE;
        way.failed(&refused(502, None), false);
        way.failed(&refused(502, None), false);
        assert_eq!(next(&way), PAUSE_MIN, "of two at once one counts");
        assert!(matches!(way.step(until), Step::WaitUntil(_)));
        tokio::time::advance(PAUSE_MIN).await;
        assert!(matches!(way.step(until), Step::Try { probes: true }));
        assert!(matches!(way.step(until), Step::WaitUntil(time) if time == until));
        way.failed(&refused(502, None), true);
        assert_eq!(next(&way), PAUSE_MIN * 2);
        // One that gives up lets the next one try.
        tokio::time::advance(PAUSE_MIN * 2).await;
        assert!(matches!(way.step(until), Step::Try { probes: true }));
        drop(Probe(&way));
        assert!(matches!(way.step(until), Step::Try { probes: true }));
        way.opened();
        assert!(matches!(way.step(until), Step::Try { probes: false }));
        assert!(
            matches!(way.step(until), Step::Try { probes: false }),
            "each its own"
        );
    }

    /// When the log said last why there is no tunnel, and that a client was told.
    fn spoke(way: &Way) -> (Instant, Option<Instant>) {
        let standing = way.standing.borrow();
        let failed = standing.as_ref().expect("an attempt failed");
        (failed.said, failed.told)
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_says_a_reason_once_a_minute() {
        let way = way();
        way.failed(&refused(502, None), false);
        assert!(matches!(way.step(Instant::now()), Step::GiveUp(_)));
        let first = spoke(&way);
        assert_eq!(first.1, Some(first.0));
        for _ in 0..29 {
            tokio::time::advance(PAUSE_MAX).await;
            way.failed(&refused(502, None), true);
            assert!(matches!(way.step(Instant::now()), Step::GiveUp(_)));
            assert_eq!(spoke(&way), first);
        }
        tokio::time::advance(PAUSE_MAX).await;
        way.failed(&refused(502, None), true);
        assert!(matches!(way.step(Instant::now()), Step::GiveUp(_)));
        let again = Instant::now();
        assert_eq!(spoke(&way), (again, Some(again)));
        // Another reason is news.
        tokio::time::advance(PAUSE_MAX).await;
        way.failed(&refused(503, None), true);
        assert_eq!(spoke(&way), (Instant::now(), None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_for_good_is_given_to_all_and_asked_for_less_and_less() {
        let way = way();
        let until = Instant::now() + MINUTE * 10;
        way.failed(&refused(401, None), false);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(matches!(way.step(until), Step::GiveUp(_)));
            pauses.push(next(&way));
            tokio::time::advance(next(&way)).await;
            assert!(matches!(way.step(until), Step::Try { probes: true }));
            way.failed(&refused(401, None), true);
        }
        assert_eq!(pauses[0], PAUSE_MIN);
        assert_eq!(pauses[7], REFUSED_PAUSE_MAX);
    }
}
