//! Messages and bodies that are announced and never come, or never come to an end.

use std::future::poll_fn;

use bytes::Bytes;
use futures_util::future::join_all;
use switchboard_test_support::{RawCall, RawClient};

use crate::attacker::{Attacker, requests};
use crate::siege::Siege;
use crate::wire::{DATA, FRAME_BYTES_MAX, UNKNOWN, declared, frame, request};

/// Connections side by side.
const CONNECTIONS: usize = 8;

/// Those that send as much as they may at once.
const PUSHING: usize = 2;

/// Calls of the good client in which nothing moves.
const STUCK_CALLS: u64 = 100;

const UNARY: &str = "/echo.Echo/Unary";

/// A request that says how long its message is, and has so many bytes of it.
fn begun(stream: u32, len: usize, sent: usize) -> Vec<u8> {
    let message = declared(len, &vec![0; sent]);
    let mut wire = request(stream, UNARY);
    for part in message.chunks(FRAME_BYTES_MAX) {
        wire.extend(frame(DATA, 0, stream, part));
    }
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn giant_declared_lengths() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| {
        let mut held = Vec::new();
        // More than may be, exactly as much as may be, and nothing or a little of it.
        for (len, sent) in [
            (0xffff_ffff, 0),
            (4 << 20, 0),
            (4 << 20, 1),
            (4 << 20, 2000),
        ] {
            held.push(requests(siege, PUSHING, |at| begun(at, len, sent)).await);
        }
        held
    };
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn giant_frames() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| {
        let ask = async |kind| {
            let mut attacker = Attacker::open(siege.addr()).await;
            // As long as a frame can say that it is, and 1 MiB of it.
            let head = [0xff, 0xff, 0xff, kind, 0, 0, 0, 0, 0];
            attacker.send(&head).await;
            attacker.send(&vec![0; 1 << 20]).await;
            attacker.goodbye().await;
            assert!(
                attacker.gone(),
                "a frame beyond what was agreed ends the connection"
            );
        };
        for kind in [DATA, UNKNOWN].repeat(20) {
            join_all((0..CONNECTIONS).map(|_| ask(kind))).await;
        }
    };
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn giant_bodies_over_http1() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| {
        let ask = async |length: &str, part: &[u8]| {
            let mut attacker = Attacker::connect(siege.addr()).await;
            let head =
                format!("POST /echo.Echo/Unary HTTP/1.1\r\nhost: localhost\r\n{length}\r\n\r\n");
            attacker.send(head.as_bytes()).await;
            for _ in 0..1000 {
                if !attacker.send(part).await {
                    break;
                }
            }
            attacker
        };
        let part = vec![b'x'; FRAME_BYTES_MAX];
        let chunk = [&b"4000\r\n"[..], &part, b"\r\n"].concat();
        let long = "content-length: 1152921504606846976";
        let held = join_all((0..CONNECTIONS).map(|_| ask(long, &part))).await;
        let chunked = "transfer-encoding: chunked";
        (
            held,
            join_all((0..CONNECTIONS).map(|_| ask(chunked, &chunk))).await,
        )
    };
    siege.withstands(attack).await;
}

/// One call that sends as much of its message as it is let, until all but the last byte is there, it is
/// ended, or nothing moves for a while.
async fn pushing(siege: &Siege, client: &RawClient) -> RawCall {
    let mut call = client.begin(RawClient::head(UNARY)).await;
    let len = 1 << 20;
    let mut left = Bytes::from(declared(len, &vec![0; len - 1]));
    while !left.is_empty() {
        call.body.reserve_capacity(left.len());
        let room = tokio::select! {
            biased;
            room = poll_fn(|cx| call.body.poll_capacity(cx)) => room,
            () = siege.calls(STUCK_CALLS) => break,
        };
        let Some(Ok(room)) = room else {
            break;
        };
        let part = left.split_to(room.min(left.len()));
        if call.body.send_data(part, false).is_err() {
            break;
        }
    }
    call
}

/// A thousand of these over so many connections, by a client that keeps to the rules of flow control.
async fn unfinished(connections: usize, flags: &[&str]) {
    let siege = Siege::start(&[], flags).await;
    let attack = async |siege: &Siege| {
        let ask = async || {
            let client = RawClient::connect(siege.addr()).await;
            let calls = (0..1000 / connections).map(|_| pushing(siege, &client));
            join_all(calls).await
        };
        join_all((0..connections).map(|_| ask())).await
    };
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_unfinished_requests_on_one_connection() {
    unfinished(1, &["--connection-calls-max", "1000"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_unfinished_requests_over_some_connections() {
    // Each of them has a window of 4 MiB, which their number multiplies.
    unfinished(4, &[]).await;
}
