//! Calls that are made again by themselves, and those that must not be.

use futures_util::{StreamExt, stream};
use switchboard_client::{Channel, CloseReason, Event};
use tonic::Code;

use crate::fake::{Fake, RESET};
use crate::support::{assert_status, call, client, echo, event, over};

const REFUSED_STREAM: u32 = 7;
const NO_ERROR: u32 = 0;

/// A channel whose server is scripted, and its script.
fn scripted() -> (Channel, Fake) {
    let (fake, line) = Fake::new();
    (over(&line).build().expect("a channel"), fake)
}

#[tokio::test]
async fn a_call_that_was_refused_unseen_is_made_again() {
    let (channel, mut fake) = scripted();
    let serving = async {
        let mut connection = fake.accept().await;
        let refused = connection.call().await;
        connection.reset(refused, REFUSED_STREAM).await;
        let again = connection.call().await;
        assert!(again > refused);
        connection.answer(again).await;
        connection.until_closed().await;
    };
    let calling = async {
        call(&channel).await.expect("an answer");
        channel.stop_now();
    };
    tokio::join!(calling, serving);
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_not_asked_for_ever() {
    let (channel, mut fake) = scripted();
    let serving = async {
        let mut connection = fake.accept().await;
        for _ in 0..4 {
            let stream = connection.call().await;
            connection.reset(stream, REFUSED_STREAM).await;
        }
        connection.until_closed().await;
    };
    let calling = async {
        let status = call(&channel).await.expect_err("refused");
        assert_status(&status, Code::Unavailable, "REFUSED_STREAM");
        channel.stop_now();
    };
    tokio::join!(calling, serving);
}

#[tokio::test]
async fn a_call_beyond_the_last_stream_of_a_goaway_goes_to_the_next_connection() {
    let (channel, mut fake) = scripted();
    let mut events = channel.events();
    let serving = async {
        let mut first = fake.accept().await;
        let served = first.call().await;
        let unseen = first.call().await;
        first.go_away(served, NO_ERROR, "moving house").await;
        let mut second = fake.accept().await;
        let again = second.call().await;
        second.answer(again).await;
        // The one before it finishes where it is.
        first.answer(served).await;
        assert!(unseen > served);
        first.until_closed().await;
        second.until_closed().await;
    };
    let calling = async {
        channel.connect().await.expect("connected");
        let (served, moved) = tokio::join!(call(&channel), call(&channel));
        served.expect("an answer of the first connection");
        moved.expect("an answer of the second one");
        channel.stop().await;
    };
    tokio::join!(calling, serving);
    let draining = event(&mut events, |event| matches!(event, Event::Draining { .. })).await;
    let Event::Draining { connection, reason } = draining else {
        panic!("{draining:?}");
    };
    assert_eq!(connection, 1);
    let told = CloseReason::GoAway {
        code: "NO_ERROR".to_owned(),
        text: ": moving house".to_owned(),
    };
    assert_eq!(reason, told);
}

#[tokio::test]
async fn a_call_that_the_server_may_have_seen_is_not_made_again() {
    let (channel, mut fake) = scripted();
    let serving = async {
        let mut first = fake.accept().await;
        let stream = first.call().await;
        first.go_away(stream, 2, "oops").await;
        drop(first);
        let mut second = fake.accept().await;
        let stream = second.call().await;
        second.answer(stream).await;
        second.until_closed().await;
    };
    let calling = async {
        let status = call(&channel).await.expect_err("lost");
        assert_status(&status, Code::Unavailable, "GOAWAY INTERNAL_ERROR: oops");
        call(&channel).await.expect("a connection of its own");
        channel.stop_now();
    };
    tokio::join!(calling, serving);
}

#[tokio::test]
async fn messages_that_are_gone_are_not_sent_again() {
    let (channel, mut fake) = scripted();
    let serving = async {
        let mut connection = fake.accept().await;
        let stream = connection.call().await;
        // Three messages: two of them are beyond what a call keeps.
        let mut seen = 0;
        while seen < 15 {
            let (kind, _, _, payload) = connection.read().await.expect("a message");
            assert_eq!(kind, 0);
            seen += payload.len();
        }
        connection.reset(stream, REFUSED_STREAM).await;
        connection.until_closed().await;
    };
    let calling = async {
        let asks = stream::iter([echo(b""), echo(b""), echo(b"")]);
        let asks = asks.then(|ask| async {
            tokio::task::yield_now().await;
            ask
        });
        let asks = asks.chain(stream::pending());
        let status = client(&channel).collect(asks).await.expect_err("refused");
        assert_status(&status, Code::Unavailable, "REFUSED_STREAM");
        channel.stop_now();
    };
    tokio::join!(calling, serving);
}

#[tokio::test]
async fn a_stream_whose_first_message_is_all_that_went_is_made_again() {
    let (channel, mut fake) = scripted();
    let serving = async {
        let mut connection = fake.accept().await;
        let refused = connection.call().await;
        let (_, flags, _, first) = connection.until(0).await;
        assert_eq!(flags & 1, 0);
        connection.reset(refused, REFUSED_STREAM).await;
        let again = connection.call().await;
        let (_, _, _, once_more) = connection.until(0).await;
        assert_eq!(first, once_more);
        connection.answer(again).await;
        // The answer is there, the messages have no end: they are given up.
        let (_, _, stream, code) = connection.until(RESET).await;
        assert_eq!((stream, code), (again, vec![0; 4]));
        connection.until_closed().await;
    };
    let calling = async {
        let asks = stream::once(async { echo(b"first") }).chain(stream::pending());
        let answer = client(&channel).collect(asks).await;
        answer.expect("an answer");
        channel.stop_now();
    };
    tokio::join!(calling, serving);
}

#[tokio::test]
async fn calls_that_wait_for_a_slot_move_on_when_their_connection_drains() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let (channel, mut fake) = scripted();
    let serving = async {
        let mut first = fake.accept_with(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
        let only = first.call().await;
        first.go_away(only, NO_ERROR, "").await;
        let mut second = fake.accept().await;
        for _ in 0..4 {
            let stream = second.call().await;
            second.answer(stream).await;
        }
        first.answer(only).await;
        first.until_closed().await;
        second.until_closed().await;
    };
    let calling = async {
        channel.connect().await.expect("connected");
        let calls = (0..5).map(|_| call(&channel));
        for answer in futures_util::future::join_all(calls).await {
            answer.expect("an answer");
        }
        channel.stop().await;
    };
    tokio::join!(calling, serving);
}

#[tokio::test]
async fn the_servers_limit_of_calls_is_kept_as_it_changes() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let (channel, mut fake) = scripted();
    let serving = async {
        let mut connection = fake.accept_with(&[(MAX_CONCURRENT_STREAMS, 0)]).await;
        connection.settings(&[(MAX_CONCURRENT_STREAMS, 2)]).await;
        let (one, two) = (connection.call().await, connection.call().await);
        // Down to one: the third call waits for both to end.
        connection.settings(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
        connection.answer(one).await;
        connection.answer(two).await;
        let three = connection.call().await;
        connection.answer(three).await;
        connection.until_closed().await;
    };
    let calling = async {
        let calls = (0..3).map(|_| call(&channel));
        for answer in futures_util::future::join_all(calls).await {
            answer.expect("an answer");
        }
        channel.stop_now();
    };
    tokio::join!(calling, serving);
}
