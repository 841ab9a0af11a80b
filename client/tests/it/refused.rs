//! Tunnels that open and tunnels that do not: what is offered, agreed, refused, closed.

use std::time::Duration;

use http::StatusCode;
use switchboard_client::transport::Transport;
use switchboard_client::tunnel::{self, TunnelTarget};
use switchboard_client::{Channel, CloseReason, ConnectError, Event, State};
use switchboard_client_peer::bridge::Bridge;
use switchboard_client_peer::server::{Limits, Server};
use switchboard_client_peer::tunnel::{Door, TunnelDoor};
use switchboard_tunnel::{Close, CloseCode, Ending};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use crate::support::{assert_status, call, event, events_so_far, patiently};

const PATIENCE: Duration = Duration::from_secs(20);

async fn door() -> (Server, TunnelDoor) {
    let (server, feed) = Server::fed(Limits::default());
    let door = TunnelDoor::start(feed).await.expect("a port");
    (server, door)
}

#[tokio::test]
async fn a_refusal_says_what_the_server_said_and_what_to_do() {
    let table = [
        (
            401,
            "no such token",
            Code::Unauthenticated,
            "give a valid token",
        ),
        (403, "not from there", Code::PermissionDenied, "not allowed"),
        (404, "", Code::Unavailable, "no tunnel at this path"),
        (
            426,
            "upgrade please",
            Code::Unavailable,
            "wants a WebSocket",
        ),
        (503, "full", Code::Unavailable, "asks to wait 7 s"),
        (302, "", Code::Unavailable, "redirects are not followed"),
    ];
    let (_server, door) = door().await;
    for (number, text, code, advice) in table {
        let status = StatusCode::from_u16(number).expect("a status");
        door.set(Door::Refuse(status, text, (number == 503).then_some("7")));
        let channel = Channel::open(&door.url()).expect("a channel");
        let refused = call(&channel).await.expect_err("refused");
        assert_status(&refused, code, &number.to_string());
        assert_status(&refused, code, text);
        assert_status(&refused, code, advice);
    }
}

#[tokio::test]
async fn retry_after_keeps_the_channel_away() {
    let (_server, door) = door().await;
    let busy = StatusCode::SERVICE_UNAVAILABLE;
    door.set(Door::Refuse(busy, "full\nof people", Some("45")));
    let channel = Channel::open(&door.url()).expect("a channel");
    let mut events = channel.events();
    call(&channel).await.expect_err("refused");
    let backoff = event(&mut events, |event| matches!(event, Event::Backoff { .. })).await;
    let Event::Backoff { delay, error, .. } = backoff else {
        panic!("{backoff:?}");
    };
    assert!(delay > Duration::from_secs(44) && delay <= Duration::from_secs(45));
    let ConnectError::Refused(refusal) = error else {
        panic!("{error:?}");
    };
    assert_eq!(refusal.line.as_deref(), Some("full"));
    assert!(refusal.try_again());
}

#[tokio::test]
async fn a_wrong_answer_opens_no_tunnel() {
    let (_server, door) = door().await;
    door.set(Door::WrongAccept);
    let channel = Channel::open(&door.url()).expect("a channel");
    let status = call(&channel).await.expect_err("not our answer");
    assert_status(&status, Code::Unavailable, "opened no usable WebSocket");
}

#[tokio::test]
async fn what_answers_no_http_at_all_is_named() {
    let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    let at = listener.local_addr().expect("an address");
    let answering = async {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        socket
            .write_all(b"SSH-2.0-Door\r\n")
            .await
            .expect("written");
        drop(socket.read_to_end(&mut Vec::new()).await);
    };
    let channel = Channel::open(&format!("ws://{at}/tunnel")).expect("a channel");
    let (status, ()) = tokio::join!(call(&channel), answering);
    assert_status(&status.expect_err("ssh"), Code::Unavailable, "not HTTP/1.1");
}

#[tokio::test]
async fn the_token_reaches_the_server_and_nobody_else() {
    let (_server, door) = door().await;
    let builder = Channel::builder(&door.url())
        .with_token("open sesame")
        .with_header("origin", "https://page.test")
        .expect("a header");
    assert!(!format!("{builder:?}").contains("sesame"));
    let channel = builder.build().expect("a channel");
    let mut events = channel.events();
    call(&channel).await.expect("an answer");
    channel.set_token(Some("another one"));
    channel.reconnect();
    call(&channel).await.expect("an answer");
    channel.set_token(None);
    channel.reconnect();
    call(&channel).await.expect("an answer");
    let tokens: Vec<_> = door.seen().into_iter().map(|seen| seen.token).collect();
    let expected = [Some(&b"open sesame"[..]), Some(b"another one"), None];
    assert!(
        tokens.iter().map(Option::as_deref).eq(expected),
        "{tokens:?}"
    );
    assert!(
        door.seen()
            .iter()
            .all(|seen| seen.headers["origin"] == "https://page.test")
    );
    let told = format!("{:?} {channel:?}", events_so_far(&mut events));
    assert!(
        !told.contains("sesame") && !told.contains("b3Blbi"),
        "{told}"
    );
}

#[tokio::test]
async fn the_subprotocol_is_agreed_if_it_is_offered_and_known() {
    let (_server, door) = door().await;
    let opened = async |offer: bool, known: bool| {
        door.set(if known { Door::Open } else { Door::OpenWithout });
        let channel = Channel::builder(&door.url()).with_subprotocol(offer);
        let channel = channel.build().expect("a channel");
        let mut events = channel.events();
        call(&channel).await.expect("an answer");
        let opened = event(&mut events, |event| matches!(event, Event::Opened { .. })).await;
        let Event::Opened {
            transport,
            subprotocol,
            ..
        } = opened
        else {
            panic!("{opened:?}");
        };
        assert_eq!(transport, Transport::WebSocket);
        subprotocol
    };
    assert_eq!(opened(true, true).await.as_deref(), Some("switchboard.v1"));
    assert_eq!(opened(true, false).await, None);
    assert_eq!(opened(false, true).await, None);
}

#[tokio::test]
async fn a_channel_that_stops_says_goodbye() {
    let (_server, door) = door().await;
    let channel = Channel::open(&door.url()).expect("a channel");
    call(&channel).await.expect("an answer");
    patiently(channel.stop()).await;
    let handle = door.seen()[0].handle.clone().expect("a tunnel");
    let ending = patiently(handle.closed()).await;
    let Ending::ClosedByPeer(close) = ending else {
        panic!("{ending:?}");
    };
    assert_eq!(close.code, CloseCode::NORMAL);
}

#[tokio::test]
async fn the_close_of_the_server_is_told_with_its_reason() {
    let table = [
        (CloseCode::GOING_AWAY, "the server restarts"),
        (CloseCode::POLICY, "the session has ended"),
    ];
    let (_server, door) = door().await;
    for (code, reason) in table {
        let channel = Channel::open(&door.url()).expect("a channel");
        let mut events = channel.events();
        call(&channel).await.expect("an answer");
        let seen = door.seen();
        let handle = seen.last().and_then(|seen| seen.handle.clone());
        handle.expect("a tunnel").close(Close::new(code, reason));
        let closed = event(&mut events, |event| matches!(event, Event::Closed { .. })).await;
        let Event::Closed {
            reason: CloseReason::Lost(text),
            ..
        } = closed
        else {
            panic!("{closed:?}");
        };
        assert!(
            text.contains(&code.to_string()) && text.contains(reason),
            "{text}"
        );
        assert_eq!(channel.state(), State::Idle);
        call(&channel).await.expect("another tunnel");
    }
}

#[tokio::test]
async fn a_tunnel_without_a_channel_carries_bytes() {
    let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    let upstream = listener.local_addr().expect("an address");
    let bridge = Bridge::start(upstream).await.expect("a port");
    let target = TunnelTarget::builder(&bridge.url())
        .build()
        .expect("a target");
    let opening = tunnel::connect(&target, PATIENCE);
    let (opened, accepted) = tokio::join!(opening, listener.accept());
    let (mut stream, mut socket) = (
        opened.expect("a tunnel").stream,
        accepted.expect("a socket").0,
    );
    stream.write_all(b"ping").await.expect("written");
    stream.flush().await.expect("sent");
    let mut bytes = [0; 4];
    socket.read_exact(&mut bytes).await.expect("read");
    assert_eq!(&bytes, b"ping");
    socket.write_all(b"pong").await.expect("written");
    stream.read_exact(&mut bytes).await.expect("read");
    assert_eq!(&bytes, b"pong");
    drop(socket);
    assert_eq!(stream.read(&mut bytes).await.expect("the end"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_is_never_answered_ends_in_time() {
    let (_server, door) = door().await;
    door.set(Door::Silent);
    let target = TunnelTarget::builder(&door.url())
        .build()
        .expect("a target");
    let error = tunnel::connect(&target, PATIENCE)
        .await
        .expect_err("silent");
    assert_eq!(error, ConnectError::Timeout(PATIENCE));
    assert!(error.try_again());
}

#[tokio::test]
async fn a_refused_tunnel_says_whether_to_try_again() {
    let (_server, door) = door().await;
    let target = TunnelTarget::builder(&door.url())
        .build()
        .expect("a target");
    for (number, again, after) in [
        (401, false, None),
        (503, true, Some("3")),
        (403, false, None),
    ] {
        let status = StatusCode::from_u16(number).expect("a status");
        door.set(Door::Refuse(status, "no", after));
        let error = tunnel::connect(&target, PATIENCE)
            .await
            .expect_err("refused");
        assert_eq!(error.try_again(), again, "{error}");
        let after = after.map(|_| Duration::from_secs(3));
        assert_eq!(error.retry_after(), after, "{error}");
    }
    let nowhere = TunnelTarget::builder("ws://127.0.0.1:1/tunnel").build();
    let error = tunnel::connect(&nowhere.expect("a target"), PATIENCE).await;
    let error = error.expect_err("nobody");
    assert!(matches!(error, ConnectError::Unreachable { .. }) && error.try_again());
    let unknown = TunnelTarget::builder("ws://no.such.host.invalid/tunnel").build();
    let error = tunnel::connect(&unknown.expect("a target"), PATIENCE).await;
    let error = error.expect_err("no such name");
    assert!(matches!(error, ConnectError::Lookup { .. }), "{error}");
}
