//! Large answers that nobody reads: the window of the stream, or of the connection, stays closed, or all of
//! them are open and the socket is not read.

use futures_util::future::join_all;

use crate::attacker::Attacker;
use crate::siege::Siege;
use crate::wire::{
    DATA, declared, frame, last_message, opening, opening_with_closed_windows,
    opening_with_open_windows, request, stream,
};

/// Answers that are asked for.
const ANSWERS: usize = 1000;

/// `grpc.testing.SimpleRequest` with `response_size` of 1 MiB.
const ONE_MEBIBYTE: &[u8] = &[0x10, 0x80, 0x80, 0x40];

/// `testservice.FloodRequest`: 1000 blocks of 16 KiB.
const BLOCKS: &[u8] = &[0x08, 0xe8, 0x07, 0x10, 0x80, 0x80, 0x01];

/// A call, and all that it asks.
#[derive(Clone, Copy, Debug)]
struct Ask {
    path: &'static str,
    message: &'static [u8],
}

const UNARY: Ask = Ask {
    path: "/grpc.testing.TestService/UnaryCall",
    message: ONE_MEBIBYTE,
};

const STREAM: Ask = Ask {
    path: "/testservice.Probe/Flood",
    message: BLOCKS,
};

/// `grpc.reflection.v1.ServerReflectionRequest`: the file with `grpc.testing.TestService`.
const DESCRIPTORS: Ask = Ask {
    path: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    message: b"\x22\x18grpc.testing.TestService",
};

/// Asks for [`ANSWERS`] over so many connections, and reads nothing of them but what the kernel takes.
async fn unread(siege: &Siege, connections: usize, begin: &[u8], ask: Ask) -> Vec<Attacker> {
    let attack = async || {
        let mut attacker = Attacker::connect(siege.addr()).await;
        attacker.send(begin).await;
        for number in 0..ANSWERS / connections {
            let at = stream(number);
            let asked = [request(at, ask.path), last_message(at, ask.message)].concat();
            if !attacker.shout(&asked, siege).await {
                break;
            }
        }
        attacker
    };
    join_all((0..connections).map(|_| attack())).await
}

/// Attacks with streams whose windows are closed, and with sockets that nobody reads.
async fn closed_windows(connections: usize, flags: &[&str], ask: Ask) {
    // The plugin's instances keep memory of their own for large answers; few are enough here.
    let flags = [flags, &["--stores-max", "4"]].concat();
    let siege = Siege::start(&["interop", "testservice"], &flags).await;
    let attack = async |siege: &Siege| {
        let closed = unread(siege, connections, &opening_with_closed_windows(), ask).await;
        (closed, unread(siege, connections, &opening(), ask).await)
    };
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_large_answers_unread_on_one_connection() {
    closed_windows(1, &["--connection-calls-max", "1000"], UNARY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_large_answers_unread_over_many_connections() {
    closed_windows(100, &[], UNARY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_unread_on_one_connection() {
    closed_windows(1, &["--connection-calls-max", "1000"], STREAM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_unread_over_many_connections() {
    closed_windows(100, &[], STREAM).await;
}

/// Asks for as much as each stream gets rid of, on sockets that nobody reads and with all windows open.
async fn open_windows(connections: usize, plugins: &[&str], ask: Ask, times: usize) {
    let siege = Siege::start(plugins, &["--stores-max", "4"]).await;
    let attack = async |siege: &Siege| {
        let attack = async || {
            let mut attacker = Attacker::connect(siege.addr()).await;
            attacker.send(&opening_with_open_windows()).await;
            for number in 0..ANSWERS / connections {
                let at = stream(number);
                let message = declared(ask.message.len(), ask.message).repeat(times);
                let asked = [
                    request(at, ask.path),
                    frame(DATA, u8::from(times == 1), at, &message),
                ]
                .concat();
                if !attacker.shout(&asked, siege).await {
                    break;
                }
            }
            attacker
        };
        join_all((0..connections).map(|_| attack())).await
    };
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_large_answers_on_sockets_that_nobody_reads() {
    open_windows(200, &["interop"], UNARY, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_on_sockets_that_nobody_reads() {
    open_windows(8, &["testservice"], STREAM, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_of_reflection_on_sockets_that_nobody_reads() {
    open_windows(4, &["interop"], DESCRIPTORS, 200).await;
}
