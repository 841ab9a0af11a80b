//! The run of many unary calls, one after the other, and its result.
//!
//! Started by its button. The section has the attribute `data-state`: `idle`, `running`, `done`, `stopped`
//! or `failed`. Invariant: only whole calls count, from the request to the status, in a loop that does
//! nothing else but note the time.

use std::cell::Cell;
use std::rc::Rc;

use tonic::Status;

use crate::dom;
use crate::latency::Summary;
use crate::page::Page;
use crate::proto::helloworld::HelloRequest;
use crate::proto::helloworld::greeter_client::GreeterClient;
use crate::text;

/// Calls in a run, unless the page's address says otherwise. Count.
const CALLS: u32 = 8192;

/// Most calls in a run. Count; four bytes are kept for each.
const CALLS_MAX: u32 = 1_000_000;

/// Calls between two looks at the progress.
const SHOWN_EVERY: u32 = 64;

/// The dialogue between the run and its buttons.
#[derive(Default)]
struct Run {
    runs: Cell<bool>,
    stop: Cell<bool>,
}

pub(crate) fn start(page: &Rc<Page>) {
    let asked = dom::query("calls").and_then(|calls| calls.parse().ok());
    let calls = asked.unwrap_or(CALLS).clamp(1, CALLS_MAX);
    dom::set_text("bench-calls", &text::count(calls));
    let run = Rc::new(Run::default());
    let stopped = Rc::clone(&run);
    dom::on("bench-stop", "click", move || stopped.stop.set(true));
    let page = Rc::clone(page);
    dom::on("bench-start", "click", move || {
        if !run.runs.replace(true) {
            let (page, run) = (Rc::clone(&page), Rc::clone(&run));
            dom::spawn(async move {
                run.go(&page, calls).await;
                run.runs.set(false);
            });
        }
    });
}

impl Run {
    async fn go(&self, page: &Rc<Page>, calls: u32) {
        self.stop.set(false);
        show_state("running");
        let mut micros = Vec::with_capacity(calls as usize);
        let begun = dom::now();
        let ended = self.call(page, calls, &mut micros).await;
        let took = dom::micros_since(begun);
        show_result(&micros, took);
        let note = match &ended {
            Ok(()) if self.stop.get() => "Stopped.",
            Ok(()) => "One call after the other, each with its own request, answer and status.",
            Err(status) => &format!("Ended early: {}", status.message()),
        };
        dom::set_text("bench-note", note);
        show_state(match ended {
            Ok(()) if self.stop.get() => "stopped",
            Ok(()) => "done",
            Err(_) => "failed",
        });
    }

    async fn call(&self, page: &Rc<Page>, calls: u32, micros: &mut Vec<u32>) -> Result<(), Status> {
        let channel = page.channel();
        // The run measures calls, not how long it takes to connect.
        channel.connect().await?;
        let mut client = GreeterClient::new(channel);
        let name = dom::input("hello-name").value();
        for done in 0..calls {
            if self.stop.get() {
                break;
            }
            let request = HelloRequest { name: name.clone() };
            let begun = dom::now();
            client.say_hello(request).await?;
            let took = dom::micros_since(begun);
            micros.push(took);
            page.chart.add(took);
            if done % SHOWN_EVERY == 0 {
                show_progress(done + 1, calls);
            }
        }
        Ok(())
    }
}

fn show_progress(done: u32, calls: u32) {
    let progress = dom::element("bench-progress");
    dom::set(&progress, "max", &calls.to_string());
    dom::set(&progress, "value", &done.to_string());
    dom::set_text("bench-done", &text::count(done));
}

fn show_state(state: &str) {
    dom::set(&dom::element("bench"), "data-state", state);
    if state == "running" {
        dom::offer(&["bench-stop"], &["bench-start"]);
    } else {
        dom::offer(&["bench-start"], &["bench-stop"]);
    }
}

fn show_result(micros: &[u32], took: u32) {
    let done = u32::try_from(micros.len()).unwrap_or(u32::MAX);
    show_progress(done, done.max(1));
    let Some(summary) = Summary::of(micros) else {
        return;
    };
    let rate = u64::from(done) * 1_000_000 / u64::from(took.max(1));
    for (id, shown) in [
        ("bench-p50", text::time(summary.p50)),
        ("bench-p99", text::time(summary.p99)),
        ("bench-mean", text::time(summary.mean)),
        (
            "bench-rate",
            text::count(u32::try_from(rate).unwrap_or(u32::MAX)),
        ),
        ("bench-time", text::time(took)),
    ] {
        dom::set_text(id, &shown);
    }
}
