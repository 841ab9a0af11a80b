//! What an owner of a channel can see and do: events, pause, stop, drop, reconnect.

use std::time::Duration;

use futures_util::FutureExt;
use switchboard_client::transport::Transport;
use switchboard_client::{Channel, CloseReason, Event, State};
use switchboard_client_peer::peer::Ask;
use switchboard_client_peer::server::Limits;
use tokio::time::Instant;
use tonic::Code;

use crate::fake::Fake;
use crate::support::{
    Over, Rig, assert_status, call, client, counted, echo, event, events_so_far, hang, line, over,
    patiently, state,
};

#[tokio::test]
async fn events_tell_a_channels_life_in_order() {
    let (line, _server) = line();
    let channel = over(&line).build().expect("a channel");
    let mut events = channel.events();
    call(&channel).await.expect("an answer");
    line.cut();
    state(&channel, State::Idle).await;
    call(&channel).await.expect("an answer");
    patiently(channel.stop()).await;
    let transport = Transport::Other("line");
    let mut told = events_so_far(&mut events);
    assert_eq!(events.next().now_or_never(), Some(None), "it is over");
    let lost = told.remove(2);
    assert!(
        matches!(
            &lost,
            Event::Closed {
                connection: 1,
                reason: CloseReason::Lost(_)
            }
        ),
        "{lost:?}"
    );
    let opened = |connection| Event::Opened {
        connection,
        transport,
        subprotocol: None,
    };
    let expected = [
        Event::Connecting { attempt: 1 },
        opened(1),
        Event::Connecting { attempt: 1 },
        opened(2),
        Event::Stopping,
        Event::Closed {
            connection: 2,
            reason: CloseReason::Stopped,
        },
        Event::Stopped,
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_reader_of_events_that_lags_is_told_how_many_it_missed() {
    let (line, _server) = line();
    let channel = over(&line)
        .configure(|config| config.events_max = 4)
        .build()
        .expect("a channel");
    let mut events = channel.events();
    for _ in 0..5 {
        drop(channel.pause());
    }
    assert_eq!(events.next().await, Some(Event::Missed { count: 6 }));
    assert_eq!(events_so_far(&mut events).len(), 4);
}

#[tokio::test]
async fn a_pause_holds_answers_back_and_flow_control_stops_the_server() {
    let rig = Rig::start_with(Over::Tunnel, Limits::default(), |config| {
        config.stream_window_bytes = 64 * 1024;
        config.connection_window_bytes = 64 * 1024;
    })
    .await;
    let mut events = rig.channel.events();
    let ask = Ask {
        count: 1000,
        size_bytes: 4096,
        ..Ask::default()
    };
    let mut counts = rig.counts();
    let answers = patiently(rig.client().produce(ask))
        .await
        .expect("a stream");
    let mut answers = answers.into_inner();
    patiently(answers.message())
        .await
        .expect("no error")
        .expect("one");
    let (pause, again) = (rig.channel.pause(), rig.channel.pause());
    assert_eq!(rig.channel.state(), State::Paused);
    // What the client had read before may still come; then nothing does.
    let mut received = 1;
    while let Some(answer) = answers.message().now_or_never() {
        answer.expect("no error").expect("an answer");
        received += 1;
    }
    // The server goes on until the windows and buffers between us are full: far from all of it.
    let produced = {
        let mut last = 0;
        loop {
            tokio::task::yield_now().await;
            let settled = tokio::time::timeout(Duration::from_millis(200), counts.changed()).await;
            if settled.is_err() {
                break last;
            }
            last = counts.borrow_and_update().produced;
        }
    };
    assert!(produced < 500, "{produced} produced, {received} received");
    // The connection is alive meanwhile, and a call waits for its answer.
    let mut other = client(&rig.channel);
    let mut waiting = Box::pin(other.unary(echo(b"later")));
    assert!((&mut waiting).now_or_never().is_none());
    drop(again);
    assert!((&mut waiting).now_or_never().is_none(), "pauses nest");
    drop(pause);
    while patiently(answers.message())
        .await
        .expect("no error")
        .is_some()
    {
        received += 1;
    }
    assert_eq!(received, 1000);
    patiently(waiting).await.expect("an answer");
    let told = events_so_far(&mut events);
    assert!(
        told.contains(&Event::Paused) && told.contains(&Event::Resumed),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_paused_connection_still_answers_and_keeps_alive() {
    let (line, server) = line();
    let channel = over(&line).build().expect("a channel");
    call(&channel).await.expect("an answer");
    let pause = channel.pause();
    let mut peer = client(&channel);
    let mut waiting = Box::pin(peer.unary(echo(b"")));
    let later = tokio::time::timeout(Duration::from_secs(600), &mut waiting).await;
    later.expect_err("paused for ten minutes");
    drop(pause);
    patiently(waiting).await.expect("an answer");
    assert_eq!(line.attempts(), 1);
    drop(server);
}

#[tokio::test]
async fn stop_lets_calls_finish_and_takes_no_more() {
    let rig = Rig::start(Over::Tunnel).await;
    let (send, sent) = tokio::sync::mpsc::channel(1);
    let sent = tokio_stream::wrappers::ReceiverStream::new(sent);
    let answers = patiently(rig.client().converse(sent))
        .await
        .expect("a stream");
    let mut answers = answers.into_inner();
    let stopping = async {
        let begun = Instant::now();
        rig.channel.stop().await;
        assert_eq!(rig.channel.state(), State::Stopped);
        begun.elapsed()
    };
    let finishing = async {
        state(&rig.channel, State::Stopping).await;
        let status = call(&rig.channel).await.expect_err("no more");
        assert_status(&status, Code::Unavailable, "the channel is stopped");
        send.send(echo(b"last")).await.expect("wanted");
        let answer = answers.message().await.expect("no error");
        assert_eq!(answer.expect("an answer").payload, b"last");
        drop(send);
        assert_eq!(answers.message().await.expect("no error"), None);
    };
    let (took, ()) = patiently(async { tokio::join!(stopping, finishing) }).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn stop_has_a_limit() {
    let (line, server) = line();
    let channel = over(&line)
        .configure(|config| config.stop_timeout = Duration::from_secs(3))
        .build()
        .expect("a channel");
    let mut peer = client(&channel);
    let under_way = peer.unary(hang());
    let stopping = async {
        counted(&mut server.services.counts(), |counts| counts.begun == 1).await;
        let begun = Instant::now();
        channel.stop().await;
        begun.elapsed()
    };
    let (status, took) = tokio::join!(under_way, stopping);
    let status = status.expect_err("cut");
    assert_status(&status, Code::Unavailable, "the channel was stopped");
    assert_eq!(took.as_secs(), 3);
    assert_eq!(channel.state(), State::Stopped);
    channel.stop().await;
}

#[tokio::test]
async fn stop_now_ends_calls_and_those_that_wait() {
    let (line, server) = line();
    let channel = over(&line).build().expect("a channel");
    let mut peer = client(&channel);
    let under_way = peer.unary(hang());
    let stopping = async {
        counted(&mut server.services.counts(), |counts| counts.begun == 1).await;
        channel.stop_now();
    };
    let (status, ()) = patiently(async { tokio::join!(under_way, stopping) }).await;
    let status = status.expect_err("cut");
    assert_status(&status, Code::Unavailable, "the channel was stopped");
    state(&channel, State::Stopped).await;

    let nowhere =
        switchboard_client_peer::line::Line::new(switchboard_client_peer::line::To::Nowhere);
    let channel = over(&nowhere).build().expect("a channel");
    let stopping = async {
        state(&channel, State::Connecting { attempt: 1 }).await;
        channel.stop_now();
    };
    let (status, ()) = tokio::join!(call(&channel), stopping);
    assert_status(
        &status.expect_err("stopped"),
        Code::Unavailable,
        "the channel is stopped",
    );
}

#[tokio::test]
async fn a_channel_that_was_never_used_stops_at_once() {
    let (line, _server) = line();
    let channel = over(&line).build().expect("a channel");
    assert_eq!(channel.stop().now_or_never(), Some(()));
    assert_eq!((channel.state(), line.attempts()), (State::Stopped, 0));
}

#[tokio::test]
async fn the_last_clone_takes_the_connection_along_once_its_calls_have_ended() {
    let (line, server) = line();
    let channel = over(&line).build().expect("a channel");
    let mut events = channel.events();
    let ask = Ask {
        count: 200,
        size_bytes: 64 * 1024,
        ..Ask::default()
    };
    let answers = patiently(client(&channel).produce(ask)).await;
    let mut answers = answers.expect("a stream").into_inner();
    drop(channel);
    let mut received = 0;
    while patiently(answers.message())
        .await
        .expect("no error")
        .is_some()
    {
        received += 1;
    }
    assert_eq!(received, 200);
    let closed = event(&mut events, |event| matches!(event, Event::Closed { .. })).await;
    let reason = CloseReason::Dropped;
    assert_eq!(
        closed,
        Event::Closed {
            connection: 1,
            reason
        }
    );
    assert_eq!(patiently(events.next()).await, Some(Event::Stopped));
    drop(server);
}

#[tokio::test]
async fn a_call_keeps_its_channel_until_it_is_answered() {
    let (line, _server) = line();
    let channel = over(&line).build().expect("a channel");
    let mut peer = client(&channel);
    let calling = async move { peer.unary(echo(b"")).await };
    drop(channel);
    patiently(calling).await.expect("an answer");
}

#[tokio::test]
async fn a_reconnect_moves_new_calls_and_leaves_the_old() {
    let (mut fake, line) = Fake::new();
    let channel = over(&line).build().expect("a channel");
    let serving = async {
        let mut first = fake.accept().await;
        let old = first.call().await;
        channel.reconnect();
        let mut second = fake.accept().await;
        let new = second.call().await;
        second.answer(new).await;
        first.answer(old).await;
        first.until_closed().await;
        second.until_closed().await;
    };
    let calling = async {
        let old = call(&channel);
        let new = async {
            let mut states = channel.states();
            states.wait_for(|state| state == State::Ready).await;
            states.wait_for(|state| state == State::Idle).await;
            call(&channel).await
        };
        let (old, new) = tokio::join!(old, new);
        old.expect("an answer of the first connection");
        new.expect("an answer of the second one");
        channel.stop().await;
    };
    tokio::join!(calling, serving);
}

#[test]
fn a_channel_outlives_the_runtime_that_connected_it() {
    let (connector, listener) = switchboard_client::transport::memory();
    let channel = Channel::builder("http://memory.test").with_connector(connector);
    let channel = channel.build().expect("a channel");
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    // The server lives in a runtime of its own, for the whole test.
    let (over, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = std::thread::spawn(move || {
        runtime().block_on(async {
            let incoming =
                tokio_stream::StreamExt::map(listener, |io| io.map(|io| Box::new(io) as Box<_>));
            let server =
                switchboard_client_peer::server::Server::start(incoming, Limits::default());
            drop(ended.await);
            drop(server);
        });
    });
    let first = runtime();
    first.block_on(call(&channel)).expect("an answer");
    drop(first);
    let answer = runtime().block_on(async {
        let mut request = tonic::Request::new(echo(b""));
        let wait = switchboard_client::WaitForReady(true);
        request.extensions_mut().insert(wait);
        patiently(client(&channel).unary(request)).await
    });
    answer.expect("an answer through another runtime");
    drop(over);
    serving.join().expect("no panic");
}
