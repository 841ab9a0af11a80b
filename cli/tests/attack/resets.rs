//! Streams that are opened only to be reset, by the client or by the host that it provokes.
//! Sources: CVE-2023-44487 (rapid reset), CVE-2025-8671 (resets that the client makes the server send).

use futures_util::future::join_all;

use crate::attacker::Attacker;
use crate::siege::Siege;
use crate::wire::{
    self, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, HEADERS, PRIORITY,
    PROTOCOL_ERROR, STREAM_CLOSED, WINDOW_UPDATE, frame, request, reset, stream,
};

const CALM_DOWN: &[u32] = &[ENHANCE_YOUR_CALM];

/// Connections side by side.
const CONNECTIONS: usize = 4;

/// Streams on each, if the host lets them come so far.
const STREAMS: usize = 8000;

/// Streams sent in one go.
const BATCH: usize = 50;

/// A call that holds an instance until it is cancelled, and one that never reaches a plugin.
const STREAMING: &str = "/echo.Echo/Bidi";
const UNARY: &str = "/echo.Echo/Unary";

/// Sends what `made` makes of each stream's number and reads the answers; every connection is told to
/// go, with one of these codes.
async fn told_to_go(siege: &Siege, codes: &[u32], made: impl Fn(u32) -> Vec<u8>) {
    let attack = async || {
        let mut attacker = Attacker::open(siege.addr()).await;
        for first in (0..STREAMS).step_by(BATCH) {
            let batch: Vec<u8> = (first..first + BATCH)
                .flat_map(|number| made(stream(number)))
                .collect();
            if !attacker.send(&batch).await {
                break;
            }
        }
        let (code, _) = attacker.goodbye().await.expect("a GOAWAY says why");
        assert!(codes.contains(&code), "{code}");
    };
    join_all((0..CONNECTIONS).map(|_| attack())).await;
}

/// The same by a client that reads nothing; all its connections are held.
async fn without_reading(siege: &Siege, made: impl Fn(u32) -> Vec<u8>) -> Vec<Attacker> {
    let attack = async || {
        let mut attacker = Attacker::open(siege.addr()).await;
        for first in (0..STREAMS).step_by(BATCH) {
            let batch: Vec<u8> = (first..first + BATCH)
                .flat_map(|number| made(stream(number)))
                .collect();
            if !attacker.shout(&batch, siege).await {
                break;
            }
        }
        attacker
    };
    join_all((0..CONNECTIONS).map(|_| attack())).await
}

fn begun_and_reset(path: &'static str) -> impl Fn(u32) -> Vec<u8> {
    move |stream| [request(stream, path), reset(stream)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset_of_streams() {
    let siege = Siege::start(&[], &[]).await;
    let attack =
        async |siege: &Siege| told_to_go(siege, CALM_DOWN, begun_and_reset(STREAMING)).await;
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset_of_unary_calls() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| told_to_go(siege, CALM_DOWN, begun_and_reset(UNARY)).await;
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset_by_a_client_that_never_reads() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| without_reading(siege, begun_and_reset(STREAMING)).await;
    siege.withstands(attack).await;
}

/// Ways to make the host reset a stream that is begun.
fn provocations() -> Vec<fn(u32) -> Vec<u8>> {
    vec![
        // An increment of nothing, and one beyond what a window can be.
        |stream| frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes()),
        |stream| frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()),
        // A stream that depends on itself.
        |stream| {
            frame(
                PRIORITY,
                0,
                stream,
                &[&stream.to_be_bytes()[..], &[1]].concat(),
            )
        },
        // Headers again, which are no trailers.
        |stream| frame(HEADERS, END_HEADERS, stream, &wire::head(UNARY)),
        // More after the end.
        |stream| {
            [
                frame(DATA, END_STREAM, stream, b""),
                frame(DATA, 0, stream, b"x"),
            ]
            .concat()
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_that_the_host_is_made_to_send() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| {
        for provoke in provocations() {
            // Some of it is against the rules of connections, and not forgiven once.
            let codes = [
                ENHANCE_YOUR_CALM,
                PROTOCOL_ERROR,
                FLOW_CONTROL_ERROR,
                STREAM_CLOSED,
            ];
            told_to_go(siege, &codes, |stream| {
                [request(stream, STREAMING), provoke(stream)].concat()
            })
            .await;
        }
    };
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_that_the_host_is_made_to_send_to_a_client_that_never_reads() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| {
        let mut held = Vec::new();
        for provoke in provocations() {
            let made = |stream| [request(stream, STREAMING), provoke(stream)].concat();
            held.push(without_reading(siege, made).await);
        }
        held
    };
    siege.withstands(attack).await;
}

/// Refused calls are answered at once and their streams reset, because their clients still send.
#[tokio::test(flavor = "multi_thread")]
async fn answers_and_resets_for_a_client_that_never_reads() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| {
        without_reading(siege, |stream| request(stream, "/no.Such/Method")).await
    };
    siege.withstands(attack).await;
}
