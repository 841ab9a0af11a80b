//! The few things that the page's program does with the document, the clock and timers.
//!
//! Used by every other file here. Elements are named by their id; one that is not there is a mistake in
//! `page/index.html`, and the program stops with its name. Listeners live as long as the page.

use std::future::Future;

use js_sys::Promise;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Document, Element, Event, EventTarget, HtmlElement, HtmlInputElement, Window};

pub(crate) fn window() -> Window {
    web_sys::window().expect("the program runs in a page")
}

pub(crate) fn document() -> Document {
    window().document().expect("a page has a document")
}

pub(crate) fn element(id: &str) -> HtmlElement {
    let found = document().get_element_by_id(id);
    // SVG elements too: what is used here they have as well.
    found
        .unwrap_or_else(|| panic!("the page has no element {id}"))
        .unchecked_into()
}

/// An input; also a `select`, of which only the value is used.
pub(crate) fn input(id: &str) -> HtmlInputElement {
    element(id).unchecked_into()
}

pub(crate) fn new_element(name: &str) -> Element {
    let made = document().create_element(name);
    made.expect("the name of an element")
}

pub(crate) fn set_text(id: &str, text: &str) {
    element(id).set_text_content(Some(text));
}

/// Sets an attribute; it cannot fail, since all names are ours.
pub(crate) fn set(element: &Element, name: &str, value: &str) {
    drop(element.set_attribute(name, value));
}

/// Makes these buttons usable and the others not. The focus moves along if it would be lost, so that
/// whoever uses the keyboard stays in place.
pub(crate) fn offer(usable: &[&str], others: &[&str]) {
    for id in usable {
        drop(element(id).remove_attribute("disabled"));
    }
    let focused = document().active_element().map(|element| element.id());
    if let (Some(focused), Some(first)) = (focused, usable.first())
        && others.contains(&&*focused)
    {
        drop(element(first).focus());
    }
    for id in others {
        set(&element(id), "disabled", "");
    }
}

/// Calls back whenever this happens to the element.
pub(crate) fn on(id: &str, event: &str, callback: impl Fn() + 'static) {
    let callback = Closure::<dyn Fn(Event)>::new(move |event: Event| {
        // Forms are not sent anywhere.
        event.prevent_default();
        callback();
    });
    let target: EventTarget = element(id).unchecked_into();
    let function = callback.as_ref().unchecked_ref();
    drop(target.add_event_listener_with_callback(event, function));
    callback.forget();
}

/// Runs a future beside the others.
pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) {
    wasm_bindgen_futures::spawn_local(future);
}

/// Waits. Longer than asked for in a page that nobody looks at.
pub(crate) async fn sleep(millis: i32) {
    let promise = Promise::new(&mut |resolve, _reject| {
        let set = window().set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, millis);
        drop(set);
    });
    // It is never rejected.
    drop(JsFuture::from(promise).await);
}

/// Milliseconds since the page began, with a fraction of 5 us in an isolated page.
pub(crate) fn now() -> f64 {
    thread_local! {
        static CLOCK: web_sys::Performance =
            window().performance().expect("a page has a clock");
    }
    CLOCK.with(web_sys::Performance::now)
}

/// Microseconds since then.
pub(crate) fn micros_since(then: f64) -> u32 {
    // Saturates, as casts of floats do.
    ((now() - then) * 1000.0).round() as u32
}

/// The value of a name in the query of the page's address.
pub(crate) fn query(name: &str) -> Option<String> {
    let query = window().location().search().ok()?;
    let pairs = query.trim_start_matches('?').split('&');
    let mut values = pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let value = js_sys::decode_uri_component(values.next()?).ok()?;
    Some(value.into())
}

/// Bytes in which the page's program travelled, if the browser tells.
pub(crate) fn program_bytes() -> Option<f64> {
    let performance = window().performance()?;
    let get = |object: &JsValue, name: &str| js_sys::Reflect::get(object, &name.into()).ok();
    let list = get(&performance, "getEntriesByType")?
        .dyn_into::<js_sys::Function>()
        .ok()?;
    let entries = list.call1(&performance, &"resource".into()).ok()?;
    let is_program = |entry: &JsValue| {
        let name = get(entry, "name").and_then(|name| name.as_string());
        name.is_some_and(|name| name.ends_with(".wasm"))
    };
    let entry = js_sys::Array::from(&entries).iter().find(is_program)?;
    get(&entry, "encodedBodySize")?
        .as_f64()
        .filter(|bytes| *bytes > 0.0)
}
