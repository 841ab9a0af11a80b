//! Deadlines, and calls that are dropped before they end: one, and thousands.

use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use serde_json::json;
use switchboard_client::WaitForReady;
use tonic::Request;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::channels::channel;
use crate::outcome::{ended_with, text};
use crate::proto::testservice::probe_client::ProbeClient;
use crate::proto::testservice::test_service_client::TestServiceClient;
use crate::proto::testservice::{AddRequest, ContextRequest, FloodRequest, SleepRequest};

/// A call that lasts longer than any test waits.
const FOR_EVER: SleepRequest = SleepRequest {
    duration_ms: u32::MAX,
};

/// A call that outlasts its deadline.
#[wasm_bindgen]
pub async fn sleep_beyond(name: String, deadline_ms: u32) -> String {
    let mut request = Request::new(FOR_EVER);
    request.set_timeout(Duration::from_millis(deadline_ms.into()));
    let mut probe = ProbeClient::new(channel(&name));
    text(&ended_with(&probe.sleep(request).await))
}

/// What the server sees of a deadline: the milliseconds left.
#[wasm_bindgen]
pub async fn time_left_ms(name: String, deadline_ms: u32) -> String {
    let mut request = Request::new(ContextRequest { keys: Vec::new() });
    request.set_timeout(Duration::from_millis(deadline_ms.into()));
    let answer = ProbeClient::new(channel(&name)).context(request).await;
    let left = answer.map(|answer| answer.into_inner().time_left_ns);
    match left {
        Ok(left) => text(&json!(left.map(|ns| ns / 1_000_000))),
        Err(status) => text(&ended_with::<()>(&Err(status))),
    }
}

/// A call that waits for a connection, as long as its deadline lets it.
#[wasm_bindgen]
pub async fn add_when_ready(name: String, deadline_ms: u32) -> String {
    let mut request = Request::new(AddRequest { a: 1, b: 2 });
    request.set_timeout(Duration::from_millis(deadline_ms.into()));
    request.extensions_mut().insert(WaitForReady(true));
    let answer = TestServiceClient::new(channel(&name)).add(request).await;
    text(&ended_with(&answer))
}

/// Begins `count` unary calls, `at_once` together, and drops them when the server has them; returns
/// how many were dropped before they had ended.
#[wasm_bindgen]
pub async fn drop_unary(name: String, count: u32, at_once: u32) -> String {
    let mut dropped = 0;
    while dropped < count {
        let calls = (0..at_once).map(|_| {
            let mut probe = ProbeClient::new(channel(&name));
            Box::pin(async move { probe.sleep(FOR_EVER).await })
        });
        let mut calls: Vec<_> = calls.collect();
        for call in &mut calls {
            assert!(poll_immediate(call).await.is_none(), "it has ended already");
        }
        // A connection keeps its order: when the server has answered this, it has had the others.
        check(&name).await;
        dropped += at_once;
        drop(calls);
    }
    check(&name).await;
    text(&json!(dropped))
}

/// Begins `count` streams of blocks of 16 KiB without end, on so many `lines` at once, and drops each
/// after its first block, while more of it are on their way; returns how many were dropped.
///
/// None is kept longer: a few streams that nobody reads fill the window of the connection, and then
/// the others wait for ever.
#[wasm_bindgen]
pub async fn drop_streams(name: String, count: u32, lines: u32) -> String {
    let lines = (0..lines).map(|_| async {
        for _ in 0..count / lines {
            let request = FloodRequest {
                count: u32::MAX,
                size_bytes: 16 << 10,
            };
            let mut probe = ProbeClient::new(channel(&name));
            let answer = probe.flood(request).await.expect("a stream");
            let first = answer.into_inner().message().await.expect("no failure");
            assert_eq!(first.expect("a block").data.len(), 16 << 10);
        }
        count / lines
    });
    let dropped: u32 = join_all(lines).await.iter().sum();
    check(&name).await;
    text(&json!(dropped))
}

/// A call that must work.
async fn check(name: &str) {
    let mut service = TestServiceClient::new(channel(name));
    let answer = service.add(AddRequest { a: 20, b: 22 }).await;
    assert_eq!(answer.expect("a call works").get_ref().value, 42);
}
