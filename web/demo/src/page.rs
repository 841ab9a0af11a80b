//! The page as a whole: one channel, one chart, and what starts each part.
//!
//! Called once by `start`. The channel is one for the page's life, until it is stopped by its button; then
//! the next one takes its place. Parts ask for it whenever they begin a call, and keep none.

use std::cell::RefCell;
use std::rc::Rc;

use switchboard_client::Channel;

use crate::chart::Chart;
use crate::{bench, calls, connection, dom};

/// Where the tunnel is if the page's address does not say otherwise.
const TUNNEL: &str = "/tunnel";

/// What all parts of the page share.
pub(crate) struct Page {
    channel: RefCell<Channel>,
    target: String,
    pub(crate) chart: Rc<Chart>,
}

impl Page {
    /// The channel that is in use now.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.borrow().clone()
    }

    /// Puts a new channel in the place of the one in use, which ends once its calls have.
    pub(crate) fn renew(&self) {
        if let Ok(channel) = open(&self.target) {
            self.channel.replace(channel);
        }
    }

    /// Where the tunnel is.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }
}

/// Starts every part.
pub(crate) fn start() {
    std::panic::set_hook(Box::new(|panic| failed(&panic.to_string())));
    let target = dom::query("tunnel").unwrap_or_else(|| TUNNEL.to_owned());
    let channel = match open(&target) {
        Ok(channel) => channel,
        Err(error) => return failed(&error),
    };
    let page = Rc::new(Page {
        channel: RefCell::new(channel),
        target,
        chart: Chart::new(),
    });
    connection::start(&page);
    calls::start(&page);
    bench::start(&page);
    if let Some(bytes) = dom::program_bytes() {
        dom::set_text("size", &format!("{} kB", (bytes / 1000.0).round() as u32));
    }
    set_app("ready");
}

fn open(target: &str) -> Result<Channel, String> {
    Channel::builder(target)
        .configure(|config| config.keep_connected = true)
        .build()
        .map_err(|error| error.to_string())
}

/// Says that the program has ended, and why.
fn failed(why: &str) {
    set_app("failed");
    let notice = dom::element("failure");
    notice.set_text_content(Some(why));
    drop(notice.remove_attribute("hidden"));
}

fn set_app(state: &str) {
    if let Some(body) = dom::document().body() {
        dom::set(&body, "data-app", state);
    }
}
