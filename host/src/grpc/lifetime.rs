//! The times after which a connection ends although its peer would go on: each a future that ends when
//! the time is up.
//!
//! Used by `grpc::connection`, which decides what an end means. Costs nothing between its timers: no call
//! looks at a clock for any of them.

use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::io::AsyncWrite;
use tokio::time::{sleep, timeout};

use super::outbox::Outbox;
use crate::config::ConnectionConfig;

/// How often in its `idle_timeout` a connection is asked whether it is idle. It ends at the latest this
/// part of the time too late, and a call costs no look at the clock for it.
pub(super) const IDLE_ASKED: u32 = 4;

/// Ends after the part of `idle_timeout` in which a connection is asked once.
pub(super) async fn idle_part(idle_timeout: Duration) {
    sleep(idle_timeout / IDLE_ASKED).await;
}

/// Ends when the connection is as old as it may be.
pub(super) async fn age(age_max: Duration) {
    // Random bits that the standard library has anyway: it seeds its hash tables with them.
    sleep(jittered(age_max, RandomState::new().hash_one(0))).await;
}

/// `time` give or take a tenth. Source: gRFC A9, "Proposal".
fn jittered(time: Duration, random: u64) -> Duration {
    let tenth = time / 10;
    let share = u32::try_from(random >> 32).expect("32 bits are left");
    let part = tenth.mul_f64(f64::from(share) / f64::from(u32::MAX));
    (time - tenth).saturating_add(part).saturating_add(part)
}

/// Pings a peer that is silent; ends when it does not answer. `busy` says whether the connection has
/// calls, for those who want a ping only then.
pub(super) async fn dead<S: AsyncWrite + Unpin>(
    mut ping: PingPong,
    outbox: Outbox<S>,
    config: Arc<ConnectionConfig>,
    busy: Arc<AtomicBool>,
) {
    loop {
        sleep(config.keepalive_interval).await;
        let wanted = config.keepalive_without_calls || busy.load(Ordering::Relaxed);
        if outbox.take_activity() || !wanted {
            continue;
        }
        if ping.send_ping(Ping::opaque()).is_err() {
            return;
        }
        let pong = poll_fn(|cx| ping.poll_pong(cx));
        if !answered(config.keepalive_timeout, pong, || outbox.take_activity()).await {
            return;
        }
    }
}

/// Waits for the answer to a PING. Any other sign of life is as good: the PING may wait behind a reply that is
/// read slowly, and its answer behind a request.
async fn answered<T, E>(
    within: Duration,
    pong: impl Future<Output = Result<T, E>>,
    is_alive: impl Fn() -> bool,
) -> bool {
    let mut pong = pin!(pong);
    loop {
        match timeout(within, pong.as_mut()).await {
            Ok(answer) => return answer.is_ok(),
            Err(_late) if is_alive() => {}
            Err(_late) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_speaks_is_alive_though_its_answer_is_late() {
        let within = Duration::from_secs(20);
        let answer_after = |parts| async move {
            let time = within * parts + within / 2;
            assert!(timeout(time, std::future::pending::<()>()).await.is_err());
            Ok::<_, ()>(())
        };
        assert!(answered(within, answer_after(0), || false).await);
        assert!(!answered(within, answer_after(1), || false).await);
        assert!(answered(within, answer_after(10), || true).await);
        let heard = std::cell::Cell::new(3);
        let hears = || heard.replace(heard.get() - 1) > 0;
        assert!(!answered(within, answer_after(10), hears).await);
        let failed = std::future::ready(Err::<(), _>(()));
        assert!(!answered(within, failed, || true).await);
    }

    #[test]
    fn an_age_is_spread_over_a_tenth_each_way() {
        let age = Duration::from_secs(100);
        assert_eq!(jittered(age, 0), Duration::from_secs(90));
        assert_eq!(jittered(age, u64::MAX), Duration::from_secs(110));
        let half = jittered(age, u64::MAX / 2);
        assert!(half.abs_diff(age) < Duration::from_millis(1), "{half:?}");
        // However much it is.
        assert_eq!(jittered(Duration::MAX, u64::MAX), Duration::MAX);
        assert_eq!(jittered(Duration::ZERO, u64::MAX), Duration::ZERO);
    }

    #[test]
    fn two_connections_do_not_have_one_age() {
        let ages: std::collections::BTreeSet<_> = (0..16)
            .map(|_| jittered(Duration::from_secs(3600), RandomState::new().hash_one(0)))
            .collect();
        assert!(ages.len() > 8, "{ages:?}");
    }
}
