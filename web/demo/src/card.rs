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

/// A card.
pub(crate) struct Card {
    form: HtmlElement,
    pub(crate) log: Log,
    /// Ids of the buttons that are of use only while a call runs.
    while_calling: &'static [&'static str],
    /// Ids of the buttons that are of use only while none runs.
    while_idle: &'static [&'static str],
    running: RefCell<Option<AbortHandle>>,
}

impl Card {
    /// The card of this name: the form `NAME`, the list `NAME-log`.
    pub(crate) fn new(
        name: &str,
        while_calling: &'static [&'static str],
        while_idle: &'static [&'static str],
    ) -> Rc<Self> {
        let card = Self {
            form: dom::element(name),
            log: Log::of(&format!("{name}-log")),
            while_calling,
            while_idle,
            running: RefCell::default(),
        };
        card.show(false);
        Rc::new(card)
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

    /// Drops the call that runs, if one does.
    pub(crate) fn cancel(&self) {
        if let Some(running) = &*self.running.borrow() {
            running.abort();
        }
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
        for id in self.while_calling {
            dom::enable(id, calling);
        }
        for id in self.while_idle {
            dom::enable(id, !calling);
        }
    }
}
