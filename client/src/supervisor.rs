//! The task of a channel: makes attempts to connect, and keeps the state machine's timer.
//!
//! Spawned by `hub` when the first call wants a connection; ends when the channel has stopped. It
//! decides nothing. Invariants: one attempt at a time, under the connect timeout; an attempt that is
//! no longer wanted is dropped; when the task itself is dropped, with its runtime, the hub learns it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::connection::{Established, set_up};
use crate::error::ConnectError;
use crate::hub::Hub;
use crate::platform::{BoxFuture, NetworkWatch, Sleep};

pub(crate) struct Supervisor {
    hub: Arc<Hub>,
    attempt: Option<BoxFuture<Result<Established, ConnectError>>>,
    timer: Option<(Duration, Sleep)>,
    over: bool,
    _network: NetworkWatch,
}

impl Supervisor {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        let watching = Arc::downgrade(&hub);
        Self {
            hub,
            attempt: None,
            timer: None,
            over: false,
            _network: NetworkWatch::new(move || {
                if let Some(hub) = watching.upgrade() {
                    hub.network_changed();
                }
            }),
        }
    }

    fn attempt(&self) -> BoxFuture<Result<Established, ConnectError>> {
        let hub = Arc::clone(&self.hub);
        let connecting = hub.connector().connect();
        let timeout = hub.config.connect_timeout;
        let mut deadline = hub.clock.sleep_until(hub.clock.now() + timeout);
        Box::pin(async move {
            let mut set_up = std::pin::pin!(async {
                let connected = connecting.await?;
                set_up(connected, &hub.config).await
            });
            std::future::poll_fn(|cx| {
                if let Poll::Ready(result) = set_up.as_mut().poll(cx) {
                    return Poll::Ready(result);
                }
                let passed = Pin::new(&mut deadline).poll(cx);
                passed.map(|()| Err(ConnectError::Timeout(timeout)))
            })
            .await
        })
    }

    /// Makes progress where it can; ready when there may be more to do.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.hub.next_task();
        if task.over {
            self.over = true;
            return Poll::Ready(());
        }
        if !task.wanted {
            self.attempt = None;
        }
        if task.connect && task.wanted {
            self.attempt = Some(self.attempt());
        }
        if let Some(attempt) = &mut self.attempt
            && let Poll::Ready(result) = attempt.as_mut().poll(cx)
        {
            self.attempt = None;
            match result {
                Ok(established) => self.hub.connected(established),
                Err(error) => self.hub.failed(error),
            }
            return Poll::Ready(());
        }
        let Some(due) = task.timeout else {
            self.timer = None;
            return Poll::Pending;
        };
        if self.timer.as_ref().is_none_or(|(set, _)| *set != due) {
            self.timer = Some((due, self.hub.clock.sleep_until(due)));
        }
        let timer = self
            .timer
            .as_mut()
            .map(|(_, sleep)| Pin::new(sleep).poll(cx));
        if timer.is_none_or(|polled| polled.is_pending()) {
            return Poll::Pending;
        }
        self.timer = None;
        self.hub.timer();
        Poll::Ready(())
    }
}

impl Future for Supervisor {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.hub.supervisor.register(cx.waker());
        while this.step(cx).is_ready() {
            if this.over {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if !self.over {
            self.hub.supervisor_lost();
        }
    }
}
