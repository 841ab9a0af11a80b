//! When a channel connects, waits, fails fast and gives up; keepalive and idleness.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::FutureExt;
use switchboard_client::{
    CallError, CloseReason, ConnectError, Event, Keepalive, State, WaitForReady,
};
use switchboard_client_peer::line::{Line, To};
use switchboard_client_peer::server::{Limits, Server};
use tokio::time::Instant;
use tonic::{Code, Request};

use crate::fake::{Fake, PING};
use crate::support::{
    Over, Rig, assert_status, call, client, counted, echo, event, events_so_far, hang, line, over,
    patient, patiently, state, timed,
};

const SECOND: Duration = Duration::from_secs(1);

fn nobody() -> To {
    To::Error(ConnectError::Unreachable {
        address: "line.test:80".to_owned(),
        text: "nobody is there".to_owned(),
    })
}

#[tokio::test]
async fn a_channel_connects_with_its_first_call() {
    let (line, _server) = line();
    let channel = over(&line).build().expect("a channel");
    assert_eq!((channel.state(), line.attempts()), (State::Idle, 0));
    call(&channel).await.expect("an answer");
    call(&channel).await.expect("an answer");
    assert_eq!((channel.state(), line.attempts()), (State::Ready, 1));
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_is_found_again() {
    let (server, at) = Server::tcp(Limits::default()).await.expect("a port");
    let channel = switchboard_client::Channel::open(&format!("http://{at}")).expect("a channel");
    let mut events = channel.events();
    call(&channel).await.expect("an answer");
    let mut peer = client(&channel);
    let under_way = peer.unary(hang());
    let kill = async {
        counted(&mut server.services.counts(), |counts| counts.begun == 2).await;
        server.kill();
    };
    let (status, ()) = patiently(async { tokio::join!(under_way, kill) }).await;
    assert_status(
        &status.expect_err("killed"),
        Code::Unavailable,
        "connection is gone",
    );
    drop(server);
    event(&mut events, |event| matches!(event, Event::Closed { .. })).await;
    // The port may stay taken for a moment.
    let (_server, _) = patiently(async {
        loop {
            match Server::tcp_at(at, Limits::default()).await {
                Ok(server) => return server,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let answer = patiently(client(&channel).unary(patient(echo(b"hello")))).await;
    answer.expect("an answer of the new server");
    event(&mut events, |event| {
        matches!(event, Event::Opened { connection: 2, .. })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_a_server_calls_fail_fast_and_say_why() {
    let line = Line::new(nobody());
    let channel = over(&line).build().expect("a channel");
    let first = call(&channel).await.expect_err("nobody");
    assert_status(&first, Code::Unavailable, "nobody is there");
    let second = call(&channel).await.expect_err("backing off");
    assert_status(&second, Code::Unavailable, "nobody is there");
    assert!(second.message().contains("next attempt in"), "{second}");
    assert_eq!(line.attempts(), 1);
    assert_eq!(channel.state(), State::Backoff { attempt: 1 });
    let source = std::error::Error::source(&second).expect("a source");
    let error = source.downcast_ref::<CallError>().expect("ours");
    assert!(error.is_unsent());
    // Once it is over, a call begins the next attempt.
    tokio::time::advance(2 * SECOND).await;
    call(&channel).await.expect_err("nobody");
    assert_eq!(line.attempts(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_gets_the_first_connection_there_is() {
    let (server, feed) = Server::fed(Limits::default());
    let line = Line::new(nobody());
    let channel = over(&line).build().expect("a channel");
    let mut events = channel.events();
    let mut peer = client(&channel);
    let waiting = peer.unary(patient(echo(b"hello")));
    let mending = async {
        event(&mut events, |event| {
            matches!(event, Event::Backoff { attempt: 4, .. })
        })
        .await;
        line.set(To::Server(feed));
    };
    let (answer, ()) = tokio::join!(waiting, mending);
    answer.expect("an answer");
    assert_eq!(line.attempts(), 5);
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_does_so_to_its_deadline() {
    let line = Line::new(nobody());
    let channel = over(&line)
        .configure(|config| config.wait_for_ready = true)
        .build()
        .expect("a channel");
    let begun = Instant::now();
    let request = timed(echo(b"hello"), 10 * SECOND);
    let status = client(&channel).unary(request).await;
    let status = status.expect_err("nobody");
    assert_status(&status, Code::DeadlineExceeded, "nobody is there");
    assert_eq!(begun.elapsed(), 10 * SECOND);
    // Said for one call, it counts for that call.
    let mut request = Request::new(echo(b""));
    request.extensions_mut().insert(WaitForReady(false));
    let status = client(&channel).unary(request).await.expect_err("nobody");
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_nobody_can_wait_out_fails_waiting_calls_too() {
    let line = Line::new(To::Error(ConnectError::NotHttp2(
        "it speaks in riddles".to_owned(),
    )));
    let channel = over(&line).build().expect("a channel");
    for _ in 0..2 {
        let status = client(&channel).unary(patient(echo(b"hello"))).await;
        let status = status.expect_err("hopeless");
        assert_status(&status, Code::Unavailable, "it speaks in riddles");
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_calls_wait() {
    let line = Line::new(To::Nowhere);
    let channel = over(&line)
        .configure(|config| config.waiting_max = 3)
        .build()
        .expect("a channel");
    let clients: Vec<_> = (0..3).map(|_| client(&channel)).collect();
    let mut waiting: Vec<_> = clients
        .into_iter()
        .map(|mut peer| Box::pin(async move { peer.unary(echo(b"")).await }))
        .collect();
    for call in &mut waiting {
        assert!(call.now_or_never().is_none(), "it waits");
    }
    while line.attempts() == 0 {
        tokio::task::yield_now().await;
    }
    let status = call(&channel).await.expect_err("no seat");
    assert_status(&status, Code::ResourceExhausted, "3 calls wait");
    // A seat that is given up is another call's.
    waiting.pop();
    let status = call(&channel)
        .await
        .expect_err("the same attempt as all of them");
    assert_status(&status, Code::Unavailable, "no connection within 20s");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_leads_nowhere_ends_in_time() {
    for to in [To::Nowhere, To::Says(b"")] {
        let line = Line::new(to);
        let channel = over(&line).build().expect("a channel");
        let begun = Instant::now();
        let status = call(&channel).await.expect_err("no connection");
        assert_status(&status, Code::Unavailable, "no connection within 20s");
        assert_eq!(begun.elapsed(), 20 * SECOND);
    }
}

#[tokio::test]
async fn a_server_of_another_protocol_is_named() {
    let line = Line::new(To::Says(
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n",
    ));
    let channel = over(&line).build().expect("a channel");
    let status = call(&channel).await.expect_err("HTTP/1.1");
    assert_status(&status, Code::Unavailable, "HTTP/1.1 400 Bad Request");
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_named() {
    // Port 1 belongs to the system, and nobody has it.
    let channel = switchboard_client::Channel::open("http://127.0.0.1:1").expect("a channel");
    let status = call(&channel).await.expect_err("nobody");
    assert_status(&status, Code::Unavailable, "cannot connect to 127.0.0.1:1");
}

#[tokio::test(start_paused = true)]
async fn the_backoff_grows_and_begins_anew_after_a_connection() {
    let (server, feed) = Server::fed(Limits::default());
    let line = Line::new(nobody());
    let channel = over(&line)
        .configure(|config| {
            config.keep_connected = true;
            config.backoff.jitter = 0.0;
        })
        .build()
        .expect("a channel");
    let mut events = channel.events();
    call(&channel).await.expect_err("nobody");
    let mut delays = Vec::new();
    for _ in 0..5 {
        let backoff = event(&mut events, |event| matches!(event, Event::Backoff { .. })).await;
        if let Event::Backoff { delay, .. } = backoff {
            delays.push(delay.as_secs_f64());
        }
    }
    for (delay, expected) in delays.iter().zip([1.0, 1.6, 2.56, 4.096, 6.5536]) {
        assert!((delay - expected).abs() < 0.01, "{delays:?}");
    }
    line.set(To::Server(feed));
    state(&channel, State::Ready).await;
    call(&channel).await.expect("an answer");
    line.set(nobody());
    line.cut();
    let backoff = event(&mut events, |event| matches!(event, Event::Backoff { .. })).await;
    assert!(
        matches!(backoff, Event::Backoff { attempt: 1, .. }),
        "{backoff:?}"
    );
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_after_as_many_attempts_as_allowed() {
    let line = Line::new(nobody());
    let channel = over(&line)
        .configure(|config| {
            config.attempts_max = NonZeroU32::new(3);
            config.wait_for_ready = true;
        })
        .build()
        .expect("a channel");
    let mut events = channel.events();
    let status = call(&channel).await.expect_err("nobody");
    assert_status(&status, Code::Unavailable, "gave up connecting: ");
    assert_eq!((channel.state(), line.attempts()), (State::Stopped, 3));
    assert_eq!(events_so_far(&mut events).last(), Some(&Event::Stopped));
    let status = call(&channel).await.expect_err("for good");
    assert_status(&status, Code::Unavailable, "gave up connecting: ");
}

fn keepalive(idle: bool) -> Option<Keepalive> {
    Some(Keepalive {
        interval: 10 * SECOND,
        timeout: 5 * SECOND,
        idle,
    })
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_no_ping_is_dead() {
    let (line, server) = line();
    let channel = over(&line)
        .configure(|config| config.keepalive = keepalive(false))
        .build()
        .expect("a channel");
    let mut events = channel.events();
    channel.connect().await.expect("connected");
    let mut peer = client(&channel);
    let under_way = peer.unary(hang());
    let stop = async {
        counted(&mut server.services.counts(), |counts| counts.begun == 1).await;
        // As a laptop does that is closed: the connection stays, the bytes do not come.
        line.stop(true);
        Instant::now()
    };
    let (status, stopped) = tokio::join!(under_way, stop);
    let status = status.expect_err("dead");
    assert_status(
        &status,
        Code::Unavailable,
        "does not answer a PING within 5s",
    );
    let lasted = stopped.elapsed();
    assert!(lasted >= 5 * SECOND && lasted <= 16 * SECOND, "{lasted:?}");
    let closed = event(&mut events, |event| matches!(event, Event::Closed { .. })).await;
    let reason = CloseReason::Silent(5 * SECOND);
    assert_eq!(
        closed,
        Event::Closed {
            connection: 1,
            reason
        }
    );
    call(&channel).await.expect("another connection");
    assert_eq!(line.attempts(), 2);
}

#[tokio::test(start_paused = true)]
async fn pings_go_out_with_calls_and_without_them_if_asked_for() {
    for idle in [false, true] {
        let (mut fake, line) = Fake::new();
        let channel = over(&line)
            .configure(|config| config.keepalive = keepalive(idle))
            .build()
            .expect("a channel");
        let serving = async {
            let mut connection = fake.accept().await;
            let stream = connection.call().await;
            // With a call: a PING for each interval, each answered.
            for _ in 0..3 {
                connection.until(PING).await;
            }
            connection.answer(stream).await;
            let waiting = tokio::time::timeout(60 * SECOND, connection.until(PING));
            assert_eq!(waiting.await.is_ok(), idle);
            channel.stop_now();
            connection.until_closed().await;
        };
        let (answer, ()) = tokio::join!(call(&channel), serving);
        answer.expect("an answer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_complains_of_pings_is_pinged_half_as_often() {
    const ENHANCE_YOUR_CALM: u32 = 11;
    let (mut fake, line) = Fake::new();
    let channel = over(&line)
        .configure(|config| config.keepalive = keepalive(true))
        .build()
        .expect("a channel");
    let serving = async {
        let mut first = fake.accept().await;
        let begun = Instant::now();
        first.until(PING).await;
        assert_eq!(begun.elapsed().as_secs(), 10);
        first.go_away(0, ENHANCE_YOUR_CALM, "too_many_pings").await;
        first.until_closed().await;
        let mut second = fake.accept().await;
        let begun = Instant::now();
        second.until(PING).await;
        assert_eq!(begun.elapsed().as_secs(), 20);
        channel.stop_now();
        second.until_closed().await;
    };
    let calling = async {
        channel.connect().await.expect("connected");
        let mut states = channel.states();
        states.wait_for(|state| state == State::Idle).await;
        channel.connect().await.expect("connected again");
    };
    tokio::join!(calling, serving);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_uses_is_closed_and_opened_again() {
    let (line, _server) = line();
    let channel = over(&line)
        .configure(|config| config.idle_timeout = Some(60 * SECOND))
        .build()
        .expect("a channel");
    let mut events = channel.events();
    call(&channel).await.expect("an answer");
    let begun = Instant::now();
    let closed = event(&mut events, |event| matches!(event, Event::Closed { .. })).await;
    let reason = CloseReason::Idle(60 * SECOND);
    assert_eq!(
        closed,
        Event::Closed {
            connection: 1,
            reason
        }
    );
    assert_eq!(begun.elapsed().as_secs(), 60);
    assert_eq!(channel.state(), State::Idle);
    call(&channel).await.expect("an answer");
    assert_eq!(line.attempts(), 2);
}

#[tokio::test]
async fn a_drain_of_the_server_costs_no_call() {
    for over in [Over::Tcp, Over::Tunnel] {
        let rig = Rig::start(over).await;
        let mut events = rig.channel.events();
        call(&rig.channel).await.expect("an answer");
        let mut counts = rig.counts();
        let (send, sent) = tokio::sync::mpsc::channel(1);
        let sent = tokio_stream::wrappers::ReceiverStream::new(sent);
        let answers = patiently(rig.client().converse(sent))
            .await
            .expect("a stream");
        let mut answers = answers.into_inner();
        counted(&mut counts, |counts| counts.begun == 2).await;
        rig.server.drain();
        event(&mut events, |event| matches!(event, Event::Draining { .. })).await;
        // The stream goes on where it is.
        for _ in 0..3 {
            send.send(echo(b"still here")).await.expect("wanted");
            let answer = patiently(answers.message()).await.expect("no error");
            assert_eq!(answer.expect("an answer").payload, b"still here");
        }
        drop(send);
        assert_eq!(patiently(answers.message()).await.expect("no error"), None);
        event(&mut events, |event| matches!(event, Event::Closed { .. })).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_slow_to_close_is_in_nobodys_way() {
    let (mut fake, line) = Fake::new();
    line.stick();
    let channel = over(&line).build().expect("a channel");
    let mut events = channel.events();
    let serving = async {
        let mut first = fake.accept().await;
        first.call().await;
        // A frame for a stream that nobody opened ends the connection.
        first.data(9, b"stray", false).await;
        let mut second = fake.accept().await;
        let stream = second.call().await;
        second.answer(stream).await;
        (first, second)
    };
    let calling = async {
        let begun = Instant::now();
        let status = call(&channel).await.expect_err("broken");
        assert_status(&status, Code::Unavailable, "the server broke HTTP/2");
        call(&channel).await.expect("another connection");
        assert_eq!(begun.elapsed(), Duration::ZERO);
    };
    let (_connections, ()) = tokio::join!(serving, calling);
    // Nor in that of an end with a limit of its own.
    let begun = Instant::now();
    channel.stop().await;
    assert_eq!(begun.elapsed().as_secs(), 2);
    assert_eq!(events_so_far(&mut events).last(), Some(&Event::Stopped));
}
