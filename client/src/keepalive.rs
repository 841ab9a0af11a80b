//! When a silent server is pinged, and when it is dead: decisions without a clock.
//!
//! Asked by the connection's driver, which sends the PINGs and tells what it heard. Pure. Invariants:
//! one PING at a time; none without calls unless configured; anything that is heard counts as an
//! answer to "are you there", a PONG or not.

use std::time::Duration;

use crate::config::Keepalive;

/// Longest interval, after a server complained of too many PINGs again and again.
const STRETCH_MAX: u32 = 64;

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Ask again at this time, or when something happens.
    Wait(Duration),
    /// Ask again when something happens.
    Rest,
    Ping,
    /// The server is silent beyond the timeout.
    Dead,
}

#[derive(Debug)]
pub(crate) struct Pinger {
    config: Keepalive,
    stretch: u32,
    heard: Duration,
    pinged: Option<Duration>,
}

impl Pinger {
    /// `stretch` is by how much the interval is longer than configured.
    pub(crate) fn new(config: Keepalive, stretch: u32, now: Duration) -> Self {
        Self {
            config,
            stretch: stretch.clamp(1, STRETCH_MAX),
            heard: now,
            pinged: None,
        }
    }

    /// Something came from the server.
    pub(crate) fn handle_heard(&mut self, now: Duration) {
        self.heard = now;
        self.pinged = None;
    }

    /// The PING that was asked for is on its way.
    pub(crate) fn handle_pinged(&mut self, now: Duration) {
        self.pinged = Some(now);
    }

    /// Silence that makes a server dead.
    pub(crate) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    pub(crate) fn advice(&self, now: Duration, calls: usize) -> Advice {
        if let Some(pinged) = self.pinged {
            let due = pinged + self.config.timeout;
            return if now < due {
                Advice::Wait(due)
            } else if now < due + self.config.timeout {
                Advice::Dead
            } else {
                // Nobody looked for much longer: we slept, as hidden pages do, and the answer may
                // be about to be read.
                Advice::Ping
            };
        }
        if calls == 0 && !self.config.idle {
            return Advice::Rest;
        }
        let due = self.heard + self.config.interval * self.stretch;
        if now >= due {
            Advice::Ping
        } else {
            Advice::Wait(due)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pinger(idle: bool) -> Pinger {
        let config = Keepalive {
            interval: 30 * SECOND,
            timeout: 20 * SECOND,
            idle,
        };
        Pinger::new(config, 1, Duration::ZERO)
    }

    #[test]
    fn a_silent_server_is_pinged_and_then_dead() {
        let mut pinger = pinger(false);
        assert_eq!(pinger.advice(SECOND, 1), Advice::Wait(30 * SECOND));
        assert_eq!(pinger.advice(30 * SECOND, 1), Advice::Ping);
        pinger.handle_pinged(30 * SECOND);
        assert_eq!(pinger.advice(49 * SECOND, 1), Advice::Wait(50 * SECOND));
        assert_eq!(pinger.advice(50 * SECOND, 1), Advice::Dead);
    }

    #[test]
    fn one_that_slept_itself_asks_again() {
        let mut pinger = pinger(false);
        pinger.handle_pinged(30 * SECOND);
        assert_eq!(pinger.advice(69 * SECOND, 1), Advice::Dead);
        assert_eq!(pinger.advice(70 * SECOND, 1), Advice::Ping);
        pinger.handle_pinged(70 * SECOND);
        assert_eq!(pinger.advice(90 * SECOND, 1), Advice::Dead);
    }

    #[test]
    fn whatever_is_heard_is_an_answer() {
        let mut pinger = pinger(false);
        pinger.handle_heard(20 * SECOND);
        assert_eq!(pinger.advice(30 * SECOND, 1), Advice::Wait(50 * SECOND));
        pinger.handle_pinged(50 * SECOND);
        pinger.handle_heard(60 * SECOND);
        assert_eq!(pinger.advice(70 * SECOND, 1), Advice::Wait(90 * SECOND));
    }

    #[test]
    fn without_calls_it_rests_unless_told_otherwise() {
        assert_eq!(pinger(false).advice(99 * SECOND, 0), Advice::Rest);
        assert_eq!(pinger(true).advice(99 * SECOND, 0), Advice::Ping);
        let mut waiting = pinger(false);
        waiting.handle_pinged(30 * SECOND);
        let advice = waiting.advice(51 * SECOND, 0);
        assert_eq!(advice, Advice::Dead, "a PING that was sent is waited for");
    }

    #[test]
    fn a_server_that_complained_is_pinged_less() {
        let config = Keepalive {
            interval: 30 * SECOND,
            timeout: 20 * SECOND,
            idle: true,
        };
        let pinger = Pinger::new(config, 4, Duration::ZERO);
        assert_eq!(pinger.advice(SECOND, 0), Advice::Wait(120 * SECOND));
    }
}
