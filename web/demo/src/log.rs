//! The log in each card: it shows what was sent, what came and how it ended.
//!
//! Written by the cards. Each line has its kind in `data-kind`; a line that ends a call has the name of
//! its status in `data-code`. Invariant: a list holds at most [`LINES_MAX`] lines, the newest last.

use tonic::{Code, Status};
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement};

use crate::dom;
use crate::text;

/// Lines kept in a list. Count: more than anybody reads back.
const LINES_MAX: u32 = 200;

/// Room above a line that is shown at the top, in pixels: `padding` of `.log` in `style.css`.
const PADDING_PX: i32 = 10;

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sent,
    Received,
    Note,
    Ok,
    Error,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Note => "note",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }

    /// Shown before the line.
    fn mark(self) -> &'static str {
        match self {
            Self::Sent => "→",
            Self::Received => "←",
            Self::Note => "·",
            Self::Ok => "✓",
            Self::Error => "✕",
        }
    }
}

/// A list.
#[derive(Clone, Debug)]
pub(crate) struct Log(HtmlElement);

impl Log {
    pub(crate) fn of(id: &str) -> Self {
        Self(dom::element(id))
    }

    /// Adds a line; at its right how long it took, if that is of interest.
    pub(crate) fn add(&self, kind: Kind, text: &str, micros: Option<u32>) {
        let time = micros.map(text::time).unwrap_or_default();
        self.append(&line(kind, None, text, &time));
    }

    /// Adds a line with something else than a duration at its right.
    pub(crate) fn add_at(&self, kind: Kind, text: &str, at: &str) {
        self.append(&line(kind, None, text, at));
    }

    /// Adds the line that ends a call.
    pub(crate) fn end(&self, status: &Status, said: &str, micros: u32) {
        let kind = if status.code() == Code::Ok {
            Kind::Ok
        } else {
            Kind::Error
        };
        let name = code_name(status.code());
        self.append(&line(kind, Some(name), said, &text::time(micros)));
    }

    fn append(&self, line: &Element) {
        // None of these can fail: the list and the line are there.
        drop(self.0.append_child(line));
        if self.0.child_element_count() > LINES_MAX
            && let Some(oldest) = self.0.first_element_child()
        {
            oldest.remove();
        }
        // As far as it goes; a line that is taller than the list is shown from its beginning, which says
        // how a call ended.
        let top = line.unchecked_ref::<HtmlElement>().offset_top();
        self.0.set_scroll_top(top - PADDING_PX);
    }
}

fn line(kind: Kind, code: Option<&str>, text: &str, time: &str) -> Element {
    let line = dom::new_element("p");
    dom::set(&line, "data-kind", kind.name());
    let add = |to: &Element, name: &str, class: &str, text: &str| {
        let part = dom::new_element(name);
        dom::set(&part, "class", class);
        part.set_text_content(Some(text));
        drop(to.append_child(&part));
        part
    };
    let mark = add(&line, "span", "mark", kind.mark());
    dom::set(&mark, "aria-hidden", "true");
    let body = add(&line, "span", "text", "");
    if let Some(code) = code {
        dom::set(&line, "data-code", code);
        let class = if kind == Kind::Ok {
            "code-ok"
        } else {
            "code-bad"
        };
        add(&body, "span", class, code);
        // A line may break here.
        drop(body.append_child(&dom::document().create_text_node(" ")));
    }
    drop(body.append_child(&dom::document().create_text_node(text)));
    if !time.is_empty() {
        add(&line, "span", "time", time);
    }
    line
}

/// The name of a code as gRPC writes it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
