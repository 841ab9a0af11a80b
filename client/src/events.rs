//! What happens to a channel, as a stream: each reader gets every event, in order, once.
//!
//! Written by `lease` under its lock, read by whoever called `Channel::events`. Invariants: the log
//! holds at most as many events as configured; a reader that lags loses the oldest and is told how
//! many; a reader holds no event of its own. Knows no connection.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::Stream;

use crate::error::{CloseReason, ConnectError};
use crate::transport::Transport;

/// Something that happened to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An attempt to connect begins.
    Connecting {
        /// 1 for the first one since the last connection that was of use; above that, one after failures.
        attempt: u32,
    },
    /// A connection is set up: calls go out.
    Opened {
        /// Counts connections of this channel, from 1.
        connection: u64,
        /// How its bytes travel.
        transport: Transport,
        /// The WebSocket subprotocol the server agreed to, if it is a WebSocket and it did.
        subprotocol: Option<String>,
    },
    /// An attempt failed, or its connection was of no use again; the next one is after this delay, if
    /// anything still wants a connection.
    Backoff {
        /// The attempt that failed.
        attempt: u32,
        /// Time until the next one.
        delay: Duration,
        /// Why it failed.
        error: ConnectError,
    },
    /// A connection takes no new calls; those under way may finish.
    Draining {
        /// Which one.
        connection: u64,
        /// Why.
        reason: CloseReason,
    },
    /// A connection has ended.
    Closed {
        /// Which one.
        connection: u64,
        /// Why.
        reason: CloseReason,
    },
    /// Answers are held back from now on.
    Paused,
    /// Answers are handed on again.
    Resumed,
    /// No new calls; those under way may finish.
    Stopping,
    /// The channel is of no more use. The last event.
    Stopped,
    /// The reader was too slow: this many events before the next one are lost to it.
    Missed {
        /// How many.
        count: u64,
    },
}

/// A stream of [`Event`]s from the moment it was asked for; ends after [`Event::Stopped`].
pub struct Events {
    log: Log,
    reader: u64,
    next: u64,
}

/// The writer's half.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<Mutex<Ring>>);

#[derive(Debug)]
struct Ring {
    kept: VecDeque<Event>,
    kept_max: usize,
    /// Number of the event at the front of `kept`.
    first: u64,
    readers: u64,
    waiting: BTreeMap<u64, Waker>,
    ended: bool,
}

impl Log {
    pub(crate) fn new(kept_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Ring {
            kept: VecDeque::new(),
            kept_max,
            first: 0,
            readers: 0,
            waiting: BTreeMap::new(),
            ended: false,
        })))
    }

    /// Adds an event and wakes the readers.
    pub(crate) fn write(&self, event: Event) {
        tracing::debug!(?event, "channel");
        let mut ring = self.lock();
        ring.ended |= event == Event::Stopped;
        if ring.kept.len() >= ring.kept_max {
            ring.kept.pop_front();
            ring.first += 1;
        }
        ring.kept.push_back(event);
        let waiting = std::mem::take(&mut ring.waiting);
        drop(ring);
        waiting.into_values().for_each(Waker::wake);
    }

    /// A reader of what is written from now on.
    pub(crate) fn reader(&self) -> Events {
        let mut ring = self.lock();
        ring.readers += 1;
        Events {
            log: self.clone(),
            reader: ring.readers,
            next: ring.first + ring.kept.len() as u64,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events {
    /// The next event; `None` when the channel has stopped and everything was read.
    ///
    /// # Cancel safety
    /// An event that was not returned is not lost.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let this = &mut *self;
        let mut ring = this.log.lock();
        if this.next < ring.first {
            let count = ring.first - this.next;
            this.next = ring.first;
            return Poll::Ready(Some(Event::Missed { count }));
        }
        let at = usize::try_from(this.next - ring.first).unwrap_or(usize::MAX);
        if let Some(event) = ring.kept.get(at).cloned() {
            this.next += 1;
            return Poll::Ready(Some(event));
        }
        if ring.ended {
            return Poll::Ready(None);
        }
        let unused = ring.waiting.insert(this.reader, cx.waker().clone());
        drop(ring);
        // Outside the lock: a waker may be all that keeps a task alive, and a task may hold a reader.
        drop(unused);
        Poll::Pending
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let unused = self.log.lock().waiting.remove(&self.reader);
        drop(unused);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("next", &self.next).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn attempt(attempt: u32) -> Event {
        Event::Connecting { attempt }
    }

    #[test]
    fn each_reader_gets_what_is_written_after_it_came() {
        let log = Log::new(8);
        log.write(attempt(1));
        let mut early = log.reader();
        log.write(attempt(2));
        let mut late = log.reader();
        assert_eq!(early.next().now_or_never(), Some(Some(attempt(2))));
        assert_eq!(late.next().now_or_never(), None);
        log.write(Event::Stopped);
        assert_eq!(early.next().now_or_never(), Some(Some(Event::Stopped)));
        assert_eq!(early.next().now_or_never(), Some(None));
        assert_eq!(late.next().now_or_never(), Some(Some(Event::Stopped)));
    }

    #[test]
    fn a_reader_that_lags_loses_the_oldest_and_learns_how_many() {
        let log = Log::new(3);
        let mut events = log.reader();
        for number in 1..=10 {
            log.write(attempt(number));
        }
        let mut seen = Vec::new();
        while let Some(Some(event)) = events.next().now_or_never() {
            seen.push(event);
        }
        let expected = [
            Event::Missed { count: 7 },
            attempt(8),
            attempt(9),
            attempt(10),
        ];
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn a_reader_is_woken() {
        let log = Log::new(3);
        let mut events = log.reader();
        let writing = async {
            tokio::task::yield_now().await;
            log.write(Event::Paused);
        };
        let (event, ()) = tokio::join!(events.next(), writing);
        assert_eq!(event, Some(Event::Paused));
        drop(events);
        assert!(log.lock().waiting.is_empty());
    }
}
