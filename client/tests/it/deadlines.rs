//! Deadlines: told to the server, and kept here whatever it does and however fast it is.

use std::time::Duration;

use switchboard_client::Config;
use tokio::sync::oneshot;
use tonic::Code;

use crate::fake::{Fake, RESET};
use crate::support::{assert_status, call, client, echo, over, timed};

const LIMIT: Duration = Duration::from_secs(5);
const CANCEL: [u8; 4] = [0, 0, 0, 8];

#[tokio::test(start_paused = true)]
async fn a_server_that_is_faster_than_its_reader_meets_the_deadline() {
    let (mut fake, line) = Fake::new();
    let channel = over(&line).build().expect("a channel");
    let (all_there, taken) = oneshot::channel();
    let serving = async {
        let mut connection = fake.accept().await;
        let stream = connection.call().await;
        connection.head(stream).await;
        for _ in 0..3 {
            connection.message(stream).await;
        }
        connection.until_taken().await;
        all_there.send(()).expect("a reader");
        let (_, _, reset, code) = connection.until(RESET).await;
        assert_eq!((reset, &code[..]), (stream, &CANCEL[..]));
        channel.stop_now();
        connection.until_closed().await;
    };
    let calling = async {
        let mut peer = client(&channel);
        let answers = peer.produce(timed(echo(b""), LIMIT)).await;
        let mut answers = answers.expect("a head").into_inner();
        taken.await.expect("all messages");
        answers.message().await.expect("in time").expect("one");
        tokio::time::advance(LIMIT).await;
        // Two more are there, and would be there for ever.
        let status = answers.message().await.expect_err("late");
        assert_status(&status, Code::DeadlineExceeded, "deadline of 5s exceeded");
    };
    tokio::join!(calling, serving);
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_there_at_the_deadline_counts() {
    let (mut fake, line) = Fake::new();
    let channel = over(&line).build().expect("a channel");
    let (all_there, taken) = oneshot::channel();
    let serving = async {
        let mut connection = fake.accept().await;
        let stream = connection.call().await;
        connection.head(stream).await;
        connection.message(stream).await;
        connection.status(stream, "0").await;
        connection.until_taken().await;
        all_there.send(()).expect("a reader");
        connection.until_closed().await;
    };
    let calling = async {
        let mut peer = client(&channel);
        let answers = peer.produce(timed(echo(b""), LIMIT)).await;
        let mut answers = answers.expect("a head").into_inner();
        taken.await.expect("the whole answer");
        answers.message().await.expect("in time").expect("one");
        tokio::time::advance(LIMIT).await;
        assert_eq!(answers.message().await.expect("a status"), None);
        channel.stop_now();
    };
    tokio::join!(calling, serving);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ignores_the_deadline_does_not_matter() {
    // Nothing comes; or the head and a message, but no trailers.
    for begins in [false, true] {
        let (mut fake, line) = Fake::new();
        let channel = over(&line).build().expect("a channel");
        let serving = async {
            let mut connection = fake.accept().await;
            let stream = connection.call().await;
            if begins {
                connection.head(stream).await;
                connection.message(stream).await;
            }
            let (_, _, reset, code) = connection.until(RESET).await;
            assert_eq!((reset, &code[..]), (stream, &CANCEL[..]));
            channel.stop_now();
            connection.until_closed().await;
        };
        let calling = async {
            let begun = tokio::time::Instant::now();
            let mut peer = client(&channel);
            let status = if begins {
                let answers = peer.produce(timed(echo(b""), LIMIT)).await;
                let mut answers = answers.expect("a head").into_inner();
                answers.message().await.expect("no error").expect("one");
                answers.message().await.expect_err("no trailers")
            } else {
                peer.unary(timed(echo(b""), LIMIT))
                    .await
                    .expect_err("silent")
            };
            assert_status(&status, Code::DeadlineExceeded, "deadline of 5s exceeded");
            assert_eq!(begun.elapsed(), LIMIT);
        };
        tokio::join!(calling, serving);
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_is_told_what_is_left_of_the_deadline() {
    let (line, server) = crate::support::line();
    let limit = Duration::from_secs(3);
    let channel = over(&line)
        .configure(|config: &mut Config| config.deadline_default = Some(limit))
        .build()
        .expect("a channel");
    let answer = call(&channel).await.expect("an answer");
    assert_eq!(answer.timeout, "3000000u");
    let own = timed(echo(b""), Duration::from_millis(700));
    let answer = client(&channel).unary(own).await.expect("an answer");
    assert_eq!(answer.into_inner().timeout, "700000u");
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_nothing_sends_nothing() {
    let (line, server) = crate::support::line();
    let channel = over(&line).build().expect("a channel");
    channel.connect().await.expect("connected");
    let status = client(&channel)
        .unary(timed(echo(b""), Duration::ZERO))
        .await;
    let status = status.expect_err("no time");
    assert_status(&status, Code::DeadlineExceeded, "deadline");
    assert_eq!(server.services.counts().borrow().begun, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_at_the_deadline_is_the_deadline() {
    for begins in [false, true] {
        let (mut fake, line) = Fake::new();
        let channel = over(&line).build().expect("a channel");
        let serving = async {
            let mut connection = fake.accept().await;
            let stream = connection.call().await;
            if begins {
                connection.head(stream).await;
            }
            tokio::time::advance(Duration::from_secs(5)).await;
            connection.reset(stream, 8).await;
            connection.until_closed().await;
        };
        let calling = async {
            let request = timed(echo(b""), Duration::from_secs(5));
            let status = client(&channel).unary(request).await.expect_err("late");
            assert_eq!(status.code(), Code::DeadlineExceeded);
            channel.stop_now();
        };
        tokio::join!(calling, serving);
    }
}
