//! The chart of the last round trips, as they come in.
//!
//! Written by whoever makes unary calls; draws by `scale` and `latency`. Invariant: it draws at most once
//! in [`PAUSE_MS`], so that drawing takes no visible part of what it measures.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement};

use crate::dom;
use crate::latency::{RECENT_MAX, Recent, Summary};
use crate::scale::{self, HEIGHT, SLOT, Scale};
use crate::text;

/// Least time between two drawings, in milliseconds.
const PAUSE_MS: f64 = 100.0;

/// Calls that are drawn at least, in the narrowest page.
const SLOTS_MIN: u32 = 40;

/// The chart.
pub(crate) struct Chart {
    recent: RefCell<Recent>,
    drawn_at: Cell<f64>,
    /// Whether a drawing is due.
    due: Cell<bool>,
    scale: Cell<Option<Scale>>,
}

impl Chart {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            recent: RefCell::default(),
            drawn_at: Cell::new(f64::NEG_INFINITY),
            due: Cell::new(false),
            scale: Cell::new(None),
        })
    }

    /// Adds a round trip.
    pub(crate) fn add(self: &Rc<Self>, micros: u32) {
        self.recent.borrow_mut().add(micros);
        if self.due.replace(true) {
            return;
        }
        let chart = Rc::clone(self);
        let wait = PAUSE_MS - (dom::now() - self.drawn_at.get());
        dom::spawn(async move {
            if wait > 0.0 {
                dom::sleep(wait as i32).await;
            }
            chart.due.set(false);
            chart.drawn_at.set(dom::now());
            chart.draw();
        });
    }

    fn draw(&self) {
        let svg = dom::element("chart-svg");
        let width = u32::try_from(svg.client_width()).unwrap_or_default();
        let most = u32::try_from(RECENT_MAX).unwrap_or(u32::MAX);
        let slots = (width / SLOT).clamp(SLOTS_MIN, most);
        let recent = self.recent.borrow();
        let shown = recent.newest(usize::try_from(slots).unwrap_or(RECENT_MAX));
        let shown: Vec<u32> = shown.collect();
        let Some(summary) = Summary::of(&shown) else {
            return;
        };
        let scale = Scale::around(shown.iter().copied());
        let view = format!("0 0 {} {HEIGHT}", slots * SLOT);
        dom::set(&svg, "viewBox", &view);
        let path = |id: &str, path: String| dom::set(&dom::element(id), "d", &path);
        path(
            "chart-bars",
            scale::bars(shown.iter().copied(), slots, &scale),
        );
        let level = |micros: u32| scale::levels(std::iter::once(scale.y(micros)), slots);
        path("chart-p50", level(summary.p50));
        path("chart-p99", level(summary.p99));
        let marks = scale.ticks();
        let heights = marks.iter().map(|micros| scale.y(*micros));
        path("chart-grid", scale::levels(heights, slots));
        if self.scale.replace(Some(scale)) != Some(scale) {
            label(&marks, &scale);
        }
        dom::set_text("live-p50", &text::time(summary.p50));
        dom::set_text("live-p99", &text::time(summary.p99));
        dom::set_text("live-count", &text::count(shown.len() as u32));
        dom::set(&dom::element("chart-empty"), "hidden", "");
    }
}

/// Writes the marks of the scale beside the drawing.
fn label(marks: &[u32], scale: &Scale) {
    let list = dom::element("chart-ticks");
    list.set_text_content(None);
    for micros in marks {
        let mark: Element = dom::new_element("li");
        mark.set_text_content(Some(&text::tick(*micros)));
        // By property: the page's policy allows no style attribute.
        let percent = scale.y(*micros) / (HEIGHT / 100);
        let style = mark.unchecked_ref::<HtmlElement>().style();
        drop(style.set_property("top", &format!("{percent}%")));
        drop(list.append_child(&mark));
    }
}
