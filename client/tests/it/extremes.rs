//! Times without an end: `Duration::MAX` is what people write for "never".

use std::time::Duration;

use switchboard_client::{Config, Keepalive, State};
use switchboard_client_peer::line::{Line, To};
use switchboard_client_peer::server::{Limits, Server};
use tonic::Code;

use crate::support::{
    assert_status, call, client, echo, event, line, over, patiently, state, timed,
};

type Change = fn(&mut Config);

/// Every time of a channel, each on its own.
const FOR_EVER: [(&str, Change); 8] = [
    ("connect_timeout", |config| {
        config.connect_timeout = Duration::MAX
    }),
    ("backoff.max", |config| config.backoff.max = Duration::MAX),
    ("backoff", |config| {
        config.backoff.initial = Duration::MAX;
        config.backoff.max = Duration::MAX;
    }),
    ("deadline_default", |config| {
        config.deadline_default = Some(Duration::MAX);
    }),
    ("keepalive.interval", |config| {
        config.keepalive = Some(Keepalive {
            interval: Duration::MAX,
            idle: true,
            ..Keepalive::default()
        });
    }),
    ("keepalive.timeout", |config| {
        config.keepalive = Some(Keepalive {
            timeout: Duration::MAX,
            idle: true,
            ..Keepalive::default()
        });
    }),
    ("idle_timeout", |config| {
        config.idle_timeout = Some(Duration::MAX)
    }),
    ("stop_timeout", |config| config.stop_timeout = Duration::MAX),
];

#[tokio::test(start_paused = true)]
async fn no_time_is_too_long() {
    for (name, change) in FOR_EVER {
        let (line, _server) = line();
        let channel = over(&line).configure(change).build().expect(name);
        call(&channel).await.expect(name);
        // Long enough for a PING.
        tokio::time::advance(Duration::from_secs(60)).await;
        call(&channel).await.expect(name);
        assert_eq!(line.attempts(), 1, "{name}");
        patiently(channel.stop()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_pause_is_too_long() {
    for (name, change) in FOR_EVER {
        let nobody = switchboard_client::ConnectError::Other("nobody is there".to_owned());
        let line = Line::new(To::Error(nobody));
        let channel = over(&line).configure(change).build().expect(name);
        for _ in 0..2 {
            let status = call(&channel).await.expect_err(name);
            assert_status(&status, Code::Unavailable, "nobody is there");
        }
        assert_eq!(channel.state(), State::Backoff { attempt: 1 }, "{name}");
        patiently(channel.stop()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_may_take_for_ever_does_and_can_be_ended() {
    let line = Line::new(To::Nowhere);
    let channel = over(&line)
        .configure(|config| config.connect_timeout = Duration::MAX)
        .build()
        .expect("a channel");
    let request = timed(echo(b""), Duration::from_secs(3600));
    let status = client(&channel).unary(request).await.expect_err("nobody");
    assert_status(&status, Code::DeadlineExceeded, "waiting for a connection");
    assert_eq!(line.attempts(), 1);
    assert_eq!(channel.state(), State::Connecting { attempt: 1 });
    channel.stop_now();
    state(&channel, State::Stopped).await;
}

#[tokio::test(start_paused = true)]
async fn all_of_them_together_go_too() {
    let (server, feed) = Server::fed(Limits::default());
    let line = Line::new(To::Server(feed));
    let channel = over(&line)
        .configure(|config| FOR_EVER.iter().for_each(|(_, change)| change(config)))
        .build()
        .expect("a channel");
    let mut events = channel.events();
    call(&channel).await.expect("an answer");
    server.drain();
    event(&mut events, |event| {
        matches!(event, switchboard_client::Event::Closed { .. })
    })
    .await;
    patiently(channel.stop()).await;
}
