//! A page of scenarios in a browser, and hosts that let it in.

use std::net::SocketAddr;

use serde_json::{Value, json};
use switchboard_host::{OriginRule, TunnelConfig};
use switchboard_test_support::{Setup, TestHost, guest};
use switchboard_web_tests::{Browser, Files, Page, Running, built};

/// A tab with the page of scenarios. The page is of another origin than any host.
pub(crate) struct Tab {
    // In this order: the page closes before what serves it.
    pub(crate) page: Page,
    files: Files,
    _browser: Browser,
}

impl Tab {
    /// Beside the tabs of other tests.
    pub(crate) async fn open() -> Self {
        Self::within(Browser::start().await).await
    }

    /// The only one: nothing else of these tests runs meanwhile.
    pub(crate) async fn open_alone() -> Self {
        Self::within(Browser::start_alone().await).await
    }

    async fn within(browser: Browser) -> Self {
        let files = Files::serve(&built("tests")).await;
        Self {
            page: browser.open(&files.url()).await,
            files,
            _browser: browser,
        }
    }

    /// What a host has to allow for the page to get in.
    pub(crate) fn origin(&self) -> OriginRule {
        self.files.origin().parse().expect("an origin")
    }

    /// A host with these guests that lets the page in.
    pub(crate) async fn host(&self, guests: &[&str], edit: impl FnOnce(&mut Setup)) -> TestHost {
        let setup = self.setup(guests, edit);
        TestHost::build(setup, |builder| builder).await
    }

    /// What such a host is made from.
    pub(crate) fn setup(&self, guests: &[&str], edit: impl FnOnce(&mut Setup)) -> Setup {
        let mut setup = Setup {
            paths: guests.iter().map(|name| guest(name)).collect(),
            ..Setup::default()
        };
        tunnel(&mut setup).origins = vec![self.origin()];
        edit(&mut setup);
        setup
    }

    /// Opens the page's channel to the tunnel at this address, as `channel` in scenarios.
    pub(crate) async fn channel(&self, addr: SocketAddr) {
        self.channel_with(addr, json!({})).await;
    }

    /// The same with options; see `channels.rs` of the page.
    pub(crate) async fn channel_with(&self, addr: SocketAddr, options: Value) {
        let url = format!("ws://{addr}/tunnel");
        let opened = self.open_channel("channel", &url, &options).await;
        assert_eq!(opened, json!({}), "{url}");
    }

    /// Opens a channel of another name.
    pub(crate) async fn open_channel(&self, name: &str, url: &str, options: &Value) -> Value {
        let arguments = json!([name, url, options.to_string()]);
        self.page.run("open", arguments).await
    }

    /// Runs a scenario on the page's channel, with these arguments after its name.
    pub(crate) async fn run(&self, scenario: &str, arguments: Value) -> Value {
        self.begin(scenario, arguments).finish().await
    }

    /// Begins a scenario on the page's channel.
    pub(crate) fn begin(&self, scenario: &str, arguments: Value) -> Running {
        self.page.begin(scenario, on_channel(arguments))
    }

    /// What happened to the page's channel so far: the kinds of its events.
    pub(crate) async fn events(&self) -> Vec<String> {
        kinds(&self.run("events", json!([])).await)
    }

    /// Waits until an event of this kind has happened so many times.
    pub(crate) async fn wait_for_event(&self, kind: &str, count: u64) -> Value {
        self.run("wait_for_event", json!([kind, count])).await
    }

    /// What the page's WebSockets were and have become, in the order in which they were opened.
    pub(crate) async fn sockets(&self) -> Vec<Value> {
        let sockets = self.page.run("sockets", json!([])).await;
        sockets.as_array().expect("a list").clone()
    }

    /// The page's only WebSocket.
    pub(crate) async fn only_socket(&self) -> Value {
        let mut sockets = self.sockets().await;
        assert_eq!(sockets.len(), 1, "{sockets:#?}");
        sockets.remove(0)
    }
}

/// Arguments with the channel's name before them.
pub(crate) fn on_channel(arguments: Value) -> Value {
    let Value::Array(mut arguments) = arguments else {
        panic!("arguments are a list: {arguments}");
    };
    arguments.insert(0, json!("channel"));
    Value::Array(arguments)
}

/// The kinds of these events.
pub(crate) fn kinds(events: &Value) -> Vec<String> {
    let events = events.as_array().expect("a list of events");
    let kind = |event: &Value| event["event"].as_str().expect("a kind").to_owned();
    events.iter().map(kind).collect()
}

/// The tunnel's configuration.
pub(crate) fn tunnel(setup: &mut Setup) -> &mut TunnelConfig {
    setup
        .config
        .tunnel
        .as_mut()
        .expect("there is one by default")
}

/// Fails unless a call ended with this code and a text that has all these parts.
#[track_caller]
pub(crate) fn assert_ended(outcome: &Value, code: &str, parts: &[&str]) {
    assert_eq!(outcome["code"], code, "{outcome}");
    let message = outcome["message"].as_str().unwrap_or_default();
    for part in parts {
        assert!(message.contains(part), "{part:?} in {outcome}");
    }
}
