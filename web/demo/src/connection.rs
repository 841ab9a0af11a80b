//! The state of the connection, live: the pill at the top, the line and the list in the card.
//!
//! Told by the channel's events, so nothing that happens is missed; only the clock in the pill is asked
//! for again and again. The pill has the attribute `data-state`: `idle`, `connecting`, `ready`, `backoff`
//! or `stopped`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use switchboard_client::{Event, Events};

use crate::dom;
use crate::log::{Kind, Log};
use crate::page::Page;
use crate::text;

/// Time between two looks at the clock, in milliseconds.
const TICK_MS: i32 = 250;

/// What is shown.
struct Panel {
    log: Log,
    state: Cell<&'static str>,
    /// Counts channels; the last one is in use.
    channel: Cell<u32>,
    /// The connection that takes calls.
    connection: Cell<u64>,
    /// In the pill, beside the clock.
    label: RefCell<String>,
    clock: Cell<Clock>,
}

/// What the clock in the pill shows.
#[derive(Clone, Copy)]
enum Clock {
    Nothing,
    /// How long ago.
    Since(f64),
    /// How long until then.
    Until(f64),
}

pub(crate) fn start(page: &Rc<Page>) {
    let panel = Rc::new(Panel {
        log: Log::of("events"),
        state: Cell::new("idle"),
        channel: Cell::new(0),
        connection: Cell::new(0),
        label: RefCell::default(),
        clock: Cell::new(Clock::Nothing),
    });
    dom::set_text("target", page.target());
    let ticking = Rc::clone(&panel);
    dom::spawn(async move {
        loop {
            ticking.tick();
            dom::sleep(TICK_MS).await;
        }
    });
    follow(page, &panel);
    let disconnected = Rc::clone(page);
    dom::on("disconnect", "click", move || {
        disconnected.channel().stop_now()
    });
    let page = Rc::clone(page);
    dom::on("reconnect", "click", move || {
        if panel.state.get() == "ready" {
            page.channel().reconnect();
        } else {
            // A new channel waits for nothing.
            page.renew();
            follow(&page, &panel);
        }
    });
}

/// Shows what happens to the channel that is in use now, and makes it connect.
fn follow(page: &Rc<Page>, panel: &Rc<Panel>) {
    let channel = page.channel();
    let number = panel.channel.get() + 1;
    panel.channel.set(number);
    let (events, panel) = (channel.events(), Rc::clone(panel));
    dom::spawn(async move { panel.follow(events, number).await });
    dom::spawn(async move {
        // How it went is among the events.
        drop(channel.connect().await);
    });
}

impl Panel {
    /// Shows what happens to a channel, as long as it is the one in use.
    async fn follow(&self, mut events: Events, channel: u32) {
        while let Some(event) = events.next().await {
            if self.channel.get() != channel {
                return;
            }
            self.happened(&event);
        }
    }

    fn happened(&self, event: &Event) {
        let now = dom::now();
        match event {
            Event::Connecting { attempt } => {
                let label = match attempt {
                    0 | 1 => "Connecting".to_owned(),
                    attempt => format!("Connecting, attempt {attempt}"),
                };
                self.note(&label);
                self.show("connecting", &label, Clock::Nothing);
            }
            Event::Opened {
                connection,
                subprotocol,
                ..
            } => {
                self.connection.set(*connection);
                let protocol = subprotocol.as_deref().unwrap_or("no subprotocol");
                let line = format!("Connection {connection} is open, {protocol}");
                self.note(&line);
                dom::set_text("state-detail", "HTTP/2 inside one WebSocket.");
                self.show("ready", "Connected", Clock::Since(now));
            }
            Event::Backoff {
                attempt,
                delay,
                error,
            } => {
                self.log.add_at(
                    Kind::Error,
                    &format!("Attempt {attempt} failed: {error}"),
                    &at(),
                );
                dom::set_text(
                    "state-detail",
                    "The server does not answer. Calls fail at once until it does.",
                );
                let until = now + delay.as_secs_f64() * 1000.0;
                let label = format!("Attempt {} in", attempt.saturating_add(1));
                self.show("backoff", &label, Clock::Until(until));
            }
            Event::Draining { connection, reason } => {
                self.note(&format!(
                    "Connection {connection} takes no more calls: {reason}"
                ));
            }
            Event::Closed { connection, reason } => {
                self.note(&format!("Connection {connection} is closed: {reason}"));
                if self.connection.get() == *connection && self.state.get() == "ready" {
                    dom::set_text("state-detail", &format!("{reason}."));
                    self.show("idle", "Disconnected", Clock::Nothing);
                }
            }
            Event::Stopped => {
                dom::set_text("state-detail", "Closed by this page.");
                self.show("stopped", "Closed", Clock::Nothing);
            }
            _ => {}
        }
    }

    fn note(&self, line: &str) {
        self.log.add_at(Kind::Note, line, &at());
    }

    fn show(&self, state: &'static str, label: &str, clock: Clock) {
        let changed = self.state.replace(state) != state;
        if changed || *self.label.borrow() != label {
            dom::set(&dom::element("state"), "data-state", state);
            dom::set_text("state-text", label);
            label.clone_into(&mut self.label.borrow_mut());
        }
        self.clock.set(clock);
        if state == "stopped" {
            dom::offer(&["reconnect"], &["disconnect"]);
        } else {
            dom::offer(&["disconnect"], &[]);
        }
        let reconnect = if state == "stopped" {
            "Connect"
        } else {
            "Reconnect"
        };
        dom::set_text("reconnect", reconnect);
        self.tick();
    }

    fn tick(&self) {
        let seconds = |millis: f64| (millis / 1000.0) as u32;
        let shown = match self.clock.get() {
            Clock::Nothing => String::new(),
            Clock::Since(then) => text::age(seconds(dom::now() - then)),
            // Rounded up, so that the last second is not 0.
            Clock::Until(then) => format!("{} s", seconds(then - dom::now() + 999.0)),
        };
        dom::set_text("state-clock", &shown);
    }
}

/// When something happened, since the page began.
fn at() -> String {
    text::age((dom::now() / 1000.0) as u32)
}
