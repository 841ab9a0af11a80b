//! When to ping and when to give up, and how many frames without data are too many.
//!
//! Called by the codec with the time. Invariants: at most one ping is unanswered; any byte of the
//! peer answers it. Knows no frames.

use std::time::Duration;

/// The time in which `control_frames_max` is counted.
const FLOOD_WINDOW: Duration = Duration::from_secs(1);

/// What the time says about the peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing to do yet.
    Wait,
    /// Send a ping.
    Ping,
    /// Nothing arrived for this long, a ping's answer included.
    Dead(Duration),
}

#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Option<Duration>,
    timeout: Duration,
    heard: Duration,
    pinged: Option<Duration>,
}

impl Heartbeat {
    pub(super) fn new(interval: Option<Duration>, timeout: Duration) -> Self {
        Self {
            interval,
            timeout,
            heard: Duration::ZERO,
            pinged: None,
        }
    }

    pub(super) fn handle_bytes(&mut self, now: Duration) {
        self.heard = now;
        self.pinged = None;
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        match self.pinged {
            Some(at) => Some(at.saturating_add(self.timeout)),
            None => Some(self.heard.saturating_add(self.interval?)),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Duration) -> Beat {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return Beat::Wait;
        }
        if self.pinged.is_some() {
            return Beat::Dead(now.saturating_sub(self.heard));
        }
        self.pinged = Some(now);
        Beat::Ping
    }
}

/// Counts frames without data: they cost work and move nothing.
#[derive(Debug)]
pub(super) struct Flood {
    count_max: u32,
    count: u32,
    since: Duration,
}

impl Flood {
    pub(super) fn new(count_max: u32) -> Self {
        Self {
            count_max,
            count: 0,
            since: Duration::ZERO,
        }
    }

    pub(super) fn handle_data(&mut self) {
        self.count = 0;
    }

    /// Counts one; whether it is one too many.
    pub(super) fn handle_control(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.since) >= FLOOD_WINDOW {
            self.since = now;
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.count > self.count_max
    }
}
