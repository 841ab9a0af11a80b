//! Many calls at once, and many bytes both ways.

use futures_util::future::join_all;
use serde_json::json;
use tokio_stream::StreamExt;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::channels::channel;
use crate::outcome::{ended, ended_with, text};
use crate::proto::testservice::probe_client::ProbeClient;
use crate::proto::testservice::test_service_client::TestServiceClient;
use crate::proto::testservice::{AddRequest, Block, FloodRequest};

/// Makes `rounds` calls one after the other on each of `lines` lines at once; returns how many gave
/// the right answer.
#[wasm_bindgen]
pub async fn in_flight(name: String, lines: i32, rounds: i32) -> String {
    let calls = (0..lines).map(|line| {
        let mut service = TestServiceClient::new(channel(&name));
        async move {
            let mut right = 0;
            for round in 0..rounds {
                let (a, b) = (line.into(), round.into());
                let answer = service.add(AddRequest { a, b }).await;
                let sum = answer.expect("a call works").get_ref().value;
                right += i32::from(sum == a + b);
            }
            right
        }
    });
    text(&json!(join_all(calls).await.iter().sum::<i32>()))
}

/// Reads a stream of `count` blocks; returns how many came in order and whole, their bytes, and how
/// it ended.
#[wasm_bindgen]
pub async fn down(name: String, count: u32, size_bytes: u32) -> String {
    let request = FloodRequest { count, size_bytes };
    let answer = ProbeClient::new(channel(&name)).flood(request).await;
    let (mut whole, mut bytes) = (0, 0);
    let mut blocks = match answer {
        Ok(answer) => answer.into_inner(),
        Err(status) => {
            return text(&json!({ "blocks": whole, "bytes": bytes, "end": ended(&status) }));
        }
    };
    let end = loop {
        match blocks.message().await {
            Ok(Some(block)) => {
                let byte = block.index.to_le_bytes()[0];
                let right = block.index == whole && block.data.iter().all(|it| *it == byte);
                whole += u32::from(right);
                bytes += block.data.len();
            }
            Ok(None) => break Ok(()),
            Err(status) => break Err(status),
        }
    };
    text(&json!({ "blocks": whole, "bytes": bytes, "end": ended_with(&end) }))
}

/// Sends `count` blocks; returns what the server has counted.
#[wasm_bindgen]
pub async fn up(name: String, count: u32, size_bytes: u32) -> String {
    let blocks = tokio_stream::iter(0..count).map(move |index| Block {
        index,
        data: vec![index.to_le_bytes()[0]; usize::try_from(size_bytes).expect("it fits")],
        pause_ms: 0,
    });
    match ProbeClient::new(channel(&name)).swallow(blocks).await {
        Ok(answer) => {
            let total = answer.into_inner();
            text(&json!({ "blocks": total.count, "bytes": total.total }))
        }
        Err(status) => text(&ended(&status)),
    }
}
