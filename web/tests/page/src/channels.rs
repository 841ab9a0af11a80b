//! The page's channels, by name: a test opens one, then names it in every scenario.
//!
//! Invariants: events are recorded from the moment a channel is built; what a scenario borrows is a
//! clone, so that a channel can be dropped by its name while calls run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use switchboard_client::{Channel, Config, Event, Events, Keepalive, PauseGuard};
use tokio::sync::watch;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::spawn_local;

use crate::outcome::{ended_with, text};

thread_local! {
    static CHANNELS: RefCell<BTreeMap<String, Entry>> = const { RefCell::new(BTreeMap::new()) };
}

struct Entry {
    channel: Channel,
    events: watch::Receiver<Vec<Value>>,
    pauses: Vec<PauseGuard>,
}

/// The channel of this name.
pub(crate) fn channel(name: &str) -> Channel {
    with(name, |entry| entry.channel.clone())
}

fn with<T>(name: &str, use_it: impl FnOnce(&mut Entry) -> T) -> T {
    CHANNELS.with_borrow_mut(|channels| {
        let entry = channels.get_mut(name);
        use_it(entry.unwrap_or_else(|| panic!("there is no channel {name}")))
    })
}

/// Builds a channel. `options` is an object: `token`, `subprotocol`, `wait_for_ready`,
/// `keep_connected`, `backoff_initial_ms`, `backoff_max_ms`, `keepalive` (then with the shortest times
/// that a channel takes), `for_ever` (then with the longest ones everywhere).
#[wasm_bindgen]
pub fn open(name: String, url: &str, options: &str) -> String {
    let options: Value = serde_json::from_str(options).expect("options are JSON");
    let mut builder = Channel::builder(url);
    if let Some(token) = options["token"].as_str() {
        builder = builder.with_token(token);
    }
    if let Some(offer) = options["subprotocol"].as_bool() {
        builder = builder.with_subprotocol(offer);
    }
    let built = builder
        .configure(|config| {
            let set = |value: &mut Duration, key: &str| {
                if let Some(ms) = options[key].as_u64() {
                    *value = Duration::from_millis(ms);
                }
            };
            set(&mut config.backoff.initial, "backoff_initial_ms");
            set(&mut config.backoff.max, "backoff_max_ms");
            config.wait_for_ready = options["wait_for_ready"] == true;
            config.keep_connected = options["keep_connected"] == true;
            if options["for_ever"] == true {
                wait_for_ever(config);
            }
            if options["keepalive"] == true {
                config.keepalive = Some(Keepalive {
                    interval: Duration::from_secs(10),
                    timeout: Duration::from_millis(100),
                    ..Keepalive::default()
                });
            }
        })
        .build();
    let channel = match built {
        Ok(channel) => channel,
        Err(error) => return text(&json!({ "refused": error.to_string() })),
    };
    let (writer, events) = watch::channel(Vec::new());
    spawn_local(record(channel.events(), writer));
    let entry = Entry {
        channel,
        events,
        pauses: Vec::new(),
    };
    CHANNELS.with_borrow_mut(|channels| channels.insert(name, entry));
    text(&json!({}))
}

/// What people write for "never", in every time that a channel has.
fn wait_for_ever(config: &mut Config) {
    config.connect_timeout = Duration::MAX;
    config.stop_timeout = Duration::MAX;
    config.deadline_default = Some(Duration::MAX);
    config.idle_timeout = Some(Duration::MAX);
    config.backoff.max = Duration::MAX;
    config.keepalive = Some(Keepalive {
        interval: Duration::MAX,
        timeout: Duration::MAX,
        idle: true,
    });
}

async fn record(mut events: Events, writer: watch::Sender<Vec<Value>>) {
    while let Some(event) = events.next().await {
        writer.send_modify(|all| all.push(shown(event)));
    }
}

/// An event as tests compare it: without times, which differ.
fn shown(event: Event) -> Value {
    match event {
        Event::Connecting { attempt } => json!({ "event": "connecting", "attempt": attempt }),
        Event::Opened {
            connection,
            transport,
            subprotocol,
        } => json!({
            "event": "opened",
            "connection": connection,
            "transport": transport.to_string(),
            "subprotocol": subprotocol,
        }),
        Event::Backoff { attempt, error, .. } => {
            json!({ "event": "backoff", "attempt": attempt, "error": error.to_string() })
        }
        Event::Draining { connection, reason } => {
            json!({ "event": "draining", "connection": connection, "reason": reason.to_string() })
        }
        Event::Closed { connection, reason } => {
            json!({ "event": "closed", "connection": connection, "reason": reason.to_string() })
        }
        Event::Missed { count } => json!({ "event": "missed", "count": count }),
        Event::Paused => json!({ "event": "paused" }),
        Event::Resumed => json!({ "event": "resumed" }),
        Event::Stopping => json!({ "event": "stopping" }),
        Event::Stopped => json!({ "event": "stopped" }),
        other => json!({ "event": format!("{other:?}") }),
    }
}

/// What has happened to a channel so far.
#[wasm_bindgen]
pub fn events(name: &str) -> String {
    with(name, |entry| text(&json!(*entry.events.borrow())))
}

/// Waits until an event of this kind has happened so many times; returns what has happened by then.
#[wasm_bindgen]
pub async fn wait_for_event(name: String, kind: String, count: usize) -> String {
    let mut events = with(&name, |entry| entry.events.clone());
    let happened = |all: &Vec<Value>| {
        let of_kind = all.iter().filter(|event| event["event"] == kind.as_str());
        of_kind.count() >= count
    };
    let waited = events.wait_for(happened).await;
    text(&json!(*waited.expect("the channel goes on")))
}

/// Connects without a call.
#[wasm_bindgen]
pub async fn connect(name: String) -> String {
    text(&ended_with(&channel(&name).connect().await))
}

/// Where a channel is.
#[wasm_bindgen]
pub fn state(name: &str) -> String {
    text(&json!(format!("{:?}", channel(name).state())))
}

/// Holds all answers back, until `resume`.
#[wasm_bindgen]
pub fn pause(name: &str) {
    with(name, |entry| entry.pauses.push(entry.channel.pause()));
}

/// Takes one pause back.
#[wasm_bindgen]
pub fn resume(name: &str) {
    let pause = with(name, |entry| entry.pauses.pop());
    drop(pause.expect("it was paused"));
}

/// Stops a channel gracefully, and waits for the end.
#[wasm_bindgen]
pub async fn stop(name: String) {
    channel(&name).stop().await;
}

/// Makes the next calls go over another connection.
#[wasm_bindgen]
pub fn reconnect(name: &str) {
    channel(name).reconnect();
}

/// Uses another token from the next connection on.
#[wasm_bindgen]
pub fn set_token(name: &str, token: Option<String>) {
    channel(name).set_token(token.as_deref());
}

/// Drops the page's hold on a channel.
#[wasm_bindgen]
pub fn forget(name: &str) {
    let entry = CHANNELS.with_borrow_mut(|channels| channels.remove(name));
    drop(entry.expect("a channel of that name"));
}
