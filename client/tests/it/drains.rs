//! Servers that drain: under load, again and again, and before they have served anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use switchboard_client::Event;
use switchboard_client_peer::line::{Line, To};
use switchboard_client_peer::server::{Limits, Server};
use tokio::task::JoinSet;

use crate::fake::Fake;
use crate::support::{call, client, counted, echo, event, line, over, patient, patiently};

/// SETTINGS and, in the same breath, a GOAWAY with NO_ERROR that leaves every call out.
const GONE_AT_ONCE: &[u8] = &[
    0, 0, 0, 4, 0, 0, 0, 0, 0, //
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drains_under_load_fail_no_call_while_there_is_another_server() {
    const CALLERS: usize = 64;
    const DRAINS: usize = 40;
    const CALLS_BETWEEN: usize = 300;
    let (line, mut server) = line();
    let channel = over(&line).build().expect("a channel");
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (mut client, stop) = (client(&channel), Arc::clone(&stop));
        callers.spawn(async move {
            let mut failed = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                if let Err(status) = client.unary(echo(&[7; 2000])).await {
                    failed.push(status.to_string());
                }
            }
            failed
        });
    }
    let mut drained = Vec::new();
    for _ in 0..DRAINS {
        counted(&mut server.services.counts(), |counts| {
            counts.begun >= CALLS_BETWEEN
        })
        .await;
        let (next, feed) = Server::fed(Limits::default());
        line.set(To::Server(feed));
        server.drain();
        drained.push(std::mem::replace(&mut server, next));
    }
    counted(&mut server.services.counts(), |counts| counts.begun > 0).await;
    stop.store(true, Ordering::Relaxed);
    let failed = patiently(callers.join_all()).await.concat();
    assert!(failed.is_empty(), "{}: {:?}", failed.len(), failed.first());
    // One connection for each server: none was sought in vain.
    assert_eq!(line.attempts(), DRAINS + 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_outlasts_any_number_of_servers_that_drain_at_once() {
    let line = Line::new(To::Says(GONE_AT_ONCE));
    let channel = over(&line).build().expect("a channel");
    let mut events = channel.events();
    let mut peer = client(&channel);
    let waiting = peer.unary(patient(echo(b"hello")));
    let (server, feed) = Server::fed(Limits::default());
    let mending = async {
        let sixth = |event: &Event| matches!(event, Event::Backoff { attempt: 6, .. });
        let Event::Backoff { error, .. } = event(&mut events, sixth).await else {
            panic!("another event was asked for");
        };
        assert!(error.try_again(), "{error}");
        assert!(error.to_string().contains("GOAWAY NO_ERROR"), "{error}");
        line.set(To::Server(feed));
    };
    let (answer, ()) = tokio::join!(waiting, mending);
    answer.expect("an answer");
    assert_eq!(server.services.counts().borrow().begun, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_given_a_connection_that_left_it_out() {
    const CONNECTIONS: usize = 3;
    let (mut fake, line) = Fake::new();
    let channel = over(&line).build().expect("a channel");
    let serving = async {
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut connection = fake.accept().await;
            let seen = connection.call().await;
            connection.answer(seen).await;
            let left_out = connection.call().await;
            connection.go_away(seen, 0, "").await;
            assert!(left_out > seen);
            held.push(connection);
        }
        let mut last = fake.accept().await;
        for _ in 0..2 {
            let stream = last.call().await;
            last.answer(stream).await;
        }
        held.push(last);
        held
    };
    let calling = async {
        for _ in 0..CONNECTIONS + 2 {
            call(&channel).await.expect("an answer");
        }
    };
    let (_held, ()) = tokio::join!(serving, calling);
    assert_eq!(line.attempts(), CONNECTIONS + 1);
}
