//! Calls that a test holds open while it does something to the network or the server.
//!
//! All of them are `Probe.Wait`: the server answers at once that it waits, and then as often as a
//! message comes. Invariant: a call is held once its first answer has come, so its test knows that the
//! server runs it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::json;
use tokio::sync::mpsc::{Sender, channel as queue};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::channels::channel;
use crate::outcome::{ended_with, text};
use crate::proto::testservice::probe_client::ProbeClient;
use crate::proto::testservice::{Number, WaitEvent, WaitEventKind};

thread_local! {
    static HELD: RefCell<BTreeMap<String, Held>> = const { RefCell::new(BTreeMap::new()) };
}

struct Held {
    sender: Sender<Number>,
    events: Streaming<WaitEvent>,
}

impl Held {
    async fn begin(name: &str) -> Result<Self, Status> {
        let mut probe = ProbeClient::new(channel(name));
        let (sender, receiver) = queue(1);
        let answer = probe.wait(ReceiverStream::new(receiver)).await?;
        let mut held = Self {
            sender,
            events: answer.into_inner(),
        };
        held.expect(WaitEventKind::Waiting).await?;
        Ok(held)
    }

    async fn expect(&mut self, kind: WaitEventKind) -> Result<(), Status> {
        match self.events.message().await? {
            Some(event) if event.kind() == kind => Ok(()),
            other => Err(Status::data_loss(format!("{other:?} and not {kind:?}"))),
        }
    }

    /// Sends a message and waits for its answer.
    async fn exchange(&mut self) -> Result<(), Status> {
        // It fails when the call has ended, which the next answer tells.
        let _sent = self.sender.send(Number { value: 1 }).await;
        self.expect(WaitEventKind::Message).await
    }

    /// Ends the client's side and waits for the server's.
    async fn end(self) -> Result<(), Status> {
        let Self { sender, mut events } = self;
        drop(sender);
        match events.message().await? {
            Some(event) if event.kind() == WaitEventKind::End => {}
            other => return Err(Status::data_loss(format!("{other:?} and not the end"))),
        }
        match events.message().await? {
            None => Ok(()),
            Some(event) => Err(Status::data_loss(format!("{event:?} after the end"))),
        }
    }

    /// Waits for the end without a word to the server.
    async fn outlast(mut self) -> Result<(), Status> {
        while self.events.message().await?.is_some() {}
        Ok(())
    }
}

fn take(id: &str) -> Held {
    let held = HELD.with_borrow_mut(|held| held.remove(id));
    held.unwrap_or_else(|| panic!("no call {id} is held"))
}

/// Begins a call, and returns when the server has answered that it waits.
#[wasm_bindgen]
pub async fn hold(name: String, id: String) -> String {
    let begun = Held::begin(&name).await;
    let outcome = text(&ended_with(&begun));
    if let Ok(call) = begun {
        HELD.with_borrow_mut(|held| held.insert(id, call));
    }
    outcome
}

/// Sends one message on a held call and waits for its answer.
#[wasm_bindgen]
pub async fn exchange_on(id: String) -> String {
    let mut held = take(&id);
    let outcome = text(&ended_with(&held.exchange().await));
    HELD.with_borrow_mut(|all| all.insert(id, held));
    outcome
}

/// Ends a held call in order.
#[wasm_bindgen]
pub async fn end_held(id: String) -> String {
    text(&ended_with(&take(&id).end().await))
}

/// Waits until a held call ends by itself.
#[wasm_bindgen]
pub async fn outlast_held(id: String) -> String {
    text(&ended_with(&take(&id).outlast().await))
}

/// Drops a held call.
#[wasm_bindgen]
pub fn drop_held(id: &str) -> String {
    drop(take(id));
    text(&json!(null))
}
