//! One card with a call in it: its form, its list, its buttons, and the call that runs.
//!
//! Used by `calls`. The form has the attribute `data-state`, `idle` or `calling`, and after a call
//! `data-code`, the name of its status. Invariant: one call at a time in a card; its buttons say what can
//! be done now.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use futures_util::future::{AbortHandle, abortable};
use tonic::Status;
use web_sys::HtmlElement;

use crate::dom;
use crate::log::{Kind, Log, code_name};
use crate::text;

/// The button of a card that begins a call, by its id.
#[derive(Clone, Copy)]
pub(crate) enum Begin {
    /// Of no use while a call runs.
    Once(&'static str),
    /// Of use then too: it sends more, or the call is over in no time.
    Always(&'static str),
}

/// A card.
pub(crate) struct Card {
    form: HtmlElement,
    pub(crate) log: Log,
    /// The button that begins a call.
    begin: Begin,
    /// Buttons that are of use only while a call runs.
    while_calling: &'static [&'static str],
    running: RefCell<Option<AbortHandle>>,
}

impl Card {
    /// The card of this name: the form `NAME`, the log `NAME-log`.
    pub(crate) fn new(
        name: &str,
        begin: Begin,
        while_calling: &'static [&'static str],
    ) -> Rc<Self> {
        let card = Self {
            form: dom::element(name),
            log: Log::of(&format!("{name}-log")),
            begin,
            while_calling,
            running: RefCell::default(),
        };
        card.show(false);
        Rc::new(card)
    }

    /// Lets the form begin calls, one at a time.
    pub(crate) fn on_call(self: &Rc<Self>, begin: impl Fn(Rc<Self>) + 'static) {
        let card = Rc::clone(self);
        dom::on(&self.form.id(), "submit", move || {
            if !card.is_calling() {
                begin(Rc::clone(&card));
            }
        });
    }

    /// Runs a call to its end, and shows how it ended. `count` says how many messages came.
    pub(crate) async fn run(
        &self,
        call: impl Future<Output = Result<(), Status>>,
        count: impl FnOnce() -> Option<u32>,
    ) {
        let begun = dom::now();
        let (call, handle) = abortable(call);
        self.running.replace(Some(handle));
        // What is there tells of the call before.
        drop(self.form.remove_attribute("data-code"));
        self.show(true);
        let ended = call.await.unwrap_or_else(|_aborted| {
            // Dropping the call has told the server.
            Err(Status::cancelled("by this page"))
        });
        let micros = dom::micros_since(begun);
        self.running.replace(None);
        self.show(false);
        let status = ended.err().unwrap_or_else(|| Status::ok(""));
        let said = match (count(), status.message()) {
            (None, message) => message.to_owned(),
            (Some(number), "") => text::messages(number),
            (Some(number), message) => format!("after {}: {message}", text::messages(number)),
        };
        self.log.end(&status, &said, micros);
        dom::set(&self.form, "data-code", code_name(status.code()));
    }

    pub(crate) fn is_calling(&self) -> bool {
        self.running.borrow().is_some()
    }

    /// Lets a button drop the call that runs, if one does.
    pub(crate) fn on_cancel(self: &Rc<Self>, id: &str) {
        let card = Rc::clone(self);
        dom::on(id, "click", move || {
            if let Some(running) = &*card.running.borrow() {
                running.abort();
            }
        });
    }

    /// The number in an input; a line says so if there is none.
    pub(crate) fn number<N: std::str::FromStr>(&self, id: &str) -> Option<N> {
        let typed = dom::input(id).value();
        let number = typed.trim().parse().ok();
        if number.is_none() {
            self.log.add(
                Kind::Note,
                &format!("“{typed}” is no number that fits here"),
                None,
            );
        }
        number
    }

    fn show(&self, calling: bool) {
        dom::set(
            &self.form,
            "data-state",
            if calling { "calling" } else { "idle" },
        );
        match self.begin {
            Begin::Once(button) if calling => dom::offer(self.while_calling, &[button]),
            Begin::Always(_) if calling => dom::offer(self.while_calling, &[]),
            Begin::Once(button) | Begin::Always(button) => {
                dom::offer(&[button], self.while_calling);
            }
        }
    }
}
