//! What a channel needs of its platform, in a browser: tasks, a clock, chance, news of the network.
//!
//! The other half of the switch is `native.rs`; both have the same names, and `lib.rs` picks one as
//! `platform`. Works in pages and in workers: everything is a global of either, never a property of
//! `window`. Invariants: the system's clock is never asked, which would panic here; no JavaScript
//! object is in anything that has to be `Send`.

mod clock;
mod global;
mod socket;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

pub(crate) use clock::{Clock, Sleep};
use wasm_bindgen::closure::Closure;
use web_sys::{Event, EventTarget};

use crate::channel::Builder;
use crate::error::{CallError, ConfigError};
use crate::target::{Scheme, Target};
use crate::transport::Connector;

/// Default of `backoff.max`: somebody may be looking at the page.
pub(crate) const BACKOFF_MAX: std::time::Duration = std::time::Duration::from_secs(30);

/// Streams that we reset and that are remembered. None: the HTTP/2 library would remember the time
/// with them, and asking for the time panics here.
pub(crate) const RESETS_REMEMBERED: usize = 0;

/// Whether a connection lets other tasks run before it sends what they gave it. A turn of the
/// executor is a microtask: all that can run before it shares one WebSocket message.
pub(crate) const YIELD_BEFORE_SENDING: bool = true;

/// A future of this thread; natively it may go to another.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// Says why a byte stream ended, once it has.
pub type EndText = Box<dyn Fn() -> Option<String>>;

/// `Send` where there are threads; nothing in browsers.
pub trait MaybeSend {}
impl<T: ?Sized> MaybeSend for T {}

/// Whether tasks and timers can be had here: always.
///
/// # Errors
/// None here.
#[expect(clippy::unnecessary_wraps, reason = "natively there may be no runtime")]
pub(crate) fn check_runtime() -> Result<(), CallError> {
    Ok(())
}

/// Runs a future beside the others.
///
/// # Errors
/// None here.
#[expect(clippy::unnecessary_wraps, reason = "natively there may be no runtime")]
pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) -> Result<(), CallError> {
    wasm_bindgen_futures::spawn_local(future);
    Ok(())
}

/// A number of [0, 1), for jitter.
pub(crate) fn chance() -> f64 {
    js_sys::Math::random()
}

/// A target as it was given, or what `/path` means on this page: its own server.
pub(crate) fn absolute(target: &str) -> String {
    match global::origin() {
        Some(origin) if target.starts_with('/') && !target.starts_with("//") => {
            // `http` becomes `ws`, `https` becomes `wss`.
            format!("{}{target}", origin.replacen("http", "ws", 1))
        }
        _ => target.to_owned(),
    }
}

/// The browser has a network again.
const ONLINE: &str = "online";

/// Calls back when the network may be there again: the browser is back online, or somebody looks at
/// the page again, whose timers were slowed down meanwhile.
pub(crate) struct NetworkWatch {
    listening: Vec<(EventTarget, &'static str)>,
    changed: Closure<dyn FnMut(Event)>,
}

impl NetworkWatch {
    pub(crate) fn new(changed: impl Fn() + 'static) -> Self {
        let changed = Closure::new(move |event: Event| {
            if event.type_() == ONLINE || global::is_visible() {
                changed();
            }
        });
        let mut watch = Self {
            listening: Vec::new(),
            changed,
        };
        watch.listen(global::events(), ONLINE);
        // Workers have no document.
        watch.listen(global::document(), "visibilitychange");
        watch
    }

    fn listen(&mut self, target: Option<EventTarget>, name: &'static str) {
        let Some(target) = target else {
            return;
        };
        let function = global::function_of(&self.changed);
        if target
            .add_event_listener_with_callback(name, function)
            .is_ok()
        {
            self.listening.push((target, name));
        }
    }
}

impl Drop for NetworkWatch {
    fn drop(&mut self) {
        let function = global::function_of(&self.changed);
        for (target, name) in &self.listening {
            // There is nothing to do about a listener that cannot be removed: it finds the channel gone.
            drop(target.remove_event_listener_with_callback(name, function));
        }
    }
}

/// The transport for a target: a WebSocket, the only one there is.
///
/// # Errors
/// [`ConfigError::NotInBrowsers`].
pub(crate) fn connector(
    target: &Target,
    builder: &Builder,
) -> Result<Box<dyn Connector>, ConfigError> {
    match target.scheme() {
        scheme @ (Scheme::Http | Scheme::Https) => Err(ConfigError::NotInBrowsers(scheme.name())),
        Scheme::Ws | Scheme::Wss => Ok(Box::new(socket::SocketConnector::new(
            target,
            &builder.tunnel,
        ))),
    }
}

/// State of this thread that JavaScript's callbacks share with Rust.
type Shared<T> = Rc<RefCell<T>>;
