//! Servers that set a connection up and hang up: how often they are called, and what callers see.

use std::time::Duration;

use futures_util::FutureExt;
use switchboard_client::{Channel, Event, State};
use switchboard_client_peer::line::Line;
use tokio::time::Instant;
use tonic::Code;

use crate::fake::Fake;
use crate::support::{assert_status, call, client, echo, event, over, patient, state};

const SECOND: Duration = Duration::from_secs(1);

/// A channel without chance.
fn channel(line: &Line, keep_connected: bool) -> Channel {
    let builder = over(line).configure(|config| {
        config.backoff.jitter = 0.0;
        config.keep_connected = keep_connected;
        config.keepalive = None;
    });
    builder.build().expect("a channel")
}

/// Takes a call on each connection and hangs up; before that it says goodbye in good order, if asked to.
async fn hang_up(mut fake: Fake, goodbye: bool) {
    loop {
        let mut connection = fake.accept().await;
        let stream = connection.call().await;
        if goodbye {
            // It may have looked at the call.
            connection.go_away(stream, 0, "bye").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_calls_and_hangs_up_is_not_called_without_a_pause() {
    for goodbye in [false, true] {
        let (fake, line) = Fake::new();
        let channel = channel(&line, false);
        let calling = async {
            let begun = Instant::now();
            let mut seconds = Vec::new();
            for _ in 0..6 {
                let status = client(&channel).unary(patient(echo(b""))).await;
                assert_eq!(status.expect_err("hung up").code(), Code::Unavailable);
                seconds.push(begun.elapsed().as_secs_f64());
            }
            seconds
        };
        let seconds = tokio::select! {
            seconds = calling => seconds,
            () = hang_up(fake, goodbye) => Vec::new(),
        };
        assert_eq!(line.attempts(), 6);
        // The first one may happen to anybody; then the pauses are those after failed attempts.
        for (at, expected) in seconds.iter().zip([0.0, 0.0, 1.0, 2.6, 5.16, 9.256]) {
            assert!((at - expected).abs() < 0.01, "{goodbye}: {seconds:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_do_not_wait_fail_at_once_in_that_pause() {
    let (fake, line) = Fake::new();
    let channel = channel(&line, false);
    let calling = async {
        for _ in 0..2 {
            let status = call(&channel).await.expect_err("hung up");
            assert_status(&status, Code::Unavailable, "the connection is gone");
        }
        for _ in 0..20 {
            let status = call(&channel).await.expect_err("a pause");
            assert_status(&status, Code::Unavailable, "had answered nothing");
            assert_status(&status, Code::Unavailable, "next attempt in");
        }
    };
    tokio::select! {
        () = calling => {}
        () = hang_up(fake, false) => {}
    }
    assert_eq!(line.attempts(), 2);
    assert_eq!(channel.state(), State::Backoff { attempt: 1 });
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_on_a_server_that_hangs_up_again_and_again() {
    let (fake, line) = Fake::new();
    let builder = over(&line).configure(|config| {
        config.attempts_max = std::num::NonZeroU32::new(2);
    });
    let channel = builder.build().expect("a channel");
    let mut events = channel.events();
    let calling = async {
        for _ in 0..3 {
            let status = client(&channel).unary(patient(echo(b""))).await;
            status.expect_err("hung up");
        }
        let status = client(&channel).unary(patient(echo(b""))).await;
        let status = status.expect_err("for good");
        assert_status(&status, Code::Unavailable, "gave up connecting: ");
        event(&mut events, |event| *event == Event::Stopped).await;
        assert_eq!(events.next().now_or_never(), Some(None), "it is over");
    };
    tokio::select! {
        () = calling => {}
        () = hang_up(fake, false) => {}
    }
    assert_eq!(line.attempts(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_keeps_connected_paces_itself_too() {
    let (mut fake, line) = Fake::new();
    let channel = channel(&line, true);
    let hanging_up = async {
        let begun = Instant::now();
        let mut seconds = Vec::new();
        for _ in 0..5 {
            fake.accept().await.until_taken().await;
            seconds.push(begun.elapsed().as_secs_f64());
        }
        seconds
    };
    let (connected, seconds) = tokio::join!(channel.connect(), hanging_up);
    connected.expect("connected, for a moment");
    for (at, expected) in seconds.iter().zip([0.0, 1.0, 2.0, 3.6, 6.16]) {
        assert!((at - expected).abs() < 0.01, "{seconds:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_answered_is_replaced_at_once() {
    let (mut fake, line) = Fake::new();
    let channel = channel(&line, false);
    let begun = Instant::now();
    for attempts in 1..=20 {
        let serving = async {
            let mut connection = fake.accept().await;
            let stream = connection.call().await;
            connection.answer(stream).await;
            connection.until_taken().await;
        };
        let (answer, ()) = tokio::join!(call(&channel), serving);
        answer.expect("an answer");
        state(&channel, State::Idle).await;
        assert_eq!(line.attempts(), attempts);
    }
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
}
