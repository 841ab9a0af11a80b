//! Where a channel is, to look at and to wait for.
//!
//! A reader of what `hub` publishes; holds no more than the last state. Knows no events.

use tokio::sync::watch;

use crate::state::State;

/// The state of a channel as it changes. See [`Channel::states`](crate::Channel::states).
#[derive(Clone, Debug)]
pub struct States(watch::Receiver<State>);

impl States {
    pub(crate) fn new(states: watch::Receiver<State>) -> Self {
        Self(states)
    }

    /// Where the channel is now.
    #[must_use]
    pub fn current(&self) -> State {
        *self.0.borrow()
    }

    /// The state after the next change; `None` when the channel is gone.
    ///
    /// # Cancel safety
    /// A change that was not returned is not lost.
    pub async fn next(&mut self) -> Option<State> {
        self.0.changed().await.ok()?;
        Some(*self.0.borrow_and_update())
    }

    /// Waits until the state is one that is asked for, now or later; `None` when the channel goes
    /// before.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn wait_for(&mut self, wanted: impl Fn(State) -> bool) -> Option<State> {
        let found = self.0.wait_for(|state| wanted(*state)).await;
        found.ok().map(|state| *state)
    }
}
