//! Flags about connections: each reaches what it is about, and a wrong one is named.

use switchboard_test_support::{RawClient, frame, guest, patiently};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::serving::{Serving, run};

#[tokio::test(flavor = "multi_thread")]
async fn each_flag_is_in_the_configuration() {
    let flags = [
        "--connections-per-peer-max=3",
        "--handshake-timeout=11s",
        "--first-request-timeout=never",
        "--idle-timeout=12s",
        "--keepalive-time=13s",
        "--keepalive-timeout=14s",
        "--keepalive-only-with-calls",
        "--connection-age-max=15s",
        "--connection-age-grace=16s",
        "--header-list-max=100KiB",
        "--http1-head-timeout=17s",
        "--http1-stall-timeout=18s",
        "--http1-head-max=20KiB",
        "--http1-headers-max=21",
        "--tunnel-close-timeout=22s",
    ];
    let echo = guest("echo").display().to_string();
    let serving = Serving::start(flags.into_iter().chain([&*echo])).await;
    let ended = serving.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for said in [
        "connections.per_peer_max=3 ",
        "connections.handshake_timeout=11s ",
        "connections.first_request_timeout=never ",
        "connections.idle_timeout=12s ",
        "connections.keepalive_time=13s ",
        "connections.keepalive_timeout=14s ",
        "connections.keepalive_without_calls=false ",
        "connections.age_max=15s ",
        "connections.age_grace=16s ",
        "connections.header_list_max=100KiB ",
        "connections.http1_head_timeout=17s ",
        "connections.http1_stall_timeout=18s ",
        "connections.http1_head_max=20KiB ",
        "connections.http1_headers_max=21 ",
        "tunnel.close_timeout=22s,",
    ] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_values_are_named_all_at_once() {
    let ended = run([
        "serve",
        "--handshake-timeout=0s",
        "--first-request-timeout=0s",
        "--idle-timeout=0s",
        "--keepalive-time=0s",
        "--keepalive-timeout=0s",
        "--connection-age-max=0s",
        "--header-list-max=1KiB",
        "--http1-head-timeout=0s",
        "--http1-head-max=1KiB",
        "--http1-headers-max=0",
        "--tunnel-close-timeout=0s",
    ])
    .await;
    assert_eq!(
        (ended.code, &*ended.stdout),
        (Some(64), ""),
        "{}",
        ended.stderr
    );
    for said in [
        "--handshake-timeout must be",
        "--first-request-timeout must be",
        "--idle-timeout must be",
        "--keepalive-time must be",
        "--keepalive-timeout must be",
        "--connection-age-max must be",
        "--header-list-max must be --metadata-max (16384) to 1048576 bytes, not 1024",
        "--http1-head-timeout must be",
        "--http1-head-max must be",
        "--http1-headers-max must be",
        "--tunnel-close-timeout must be",
    ] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    let ended = run(["serve", "--idle-timeout=soon"]).await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_ends() {
    let echo = guest("echo").display().to_string();
    let serving = Serving::start(["--first-request-timeout=100ms", &echo]).await;
    let mut silent = TcpStream::connect(serving.addr)
        .await
        .expect("the host listens");
    // What every connection begins with, and empty SETTINGS.
    let opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    silent.write_all(opening).await.expect("sent");
    let mut read = Vec::new();
    let ended = patiently("the end", silent.read_to_end(&mut read)).await;
    ended.expect("it is ended, not reset");
    // Eight bytes of GOAWAY (7) on no stream.
    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0];
    assert!(read.windows(9).any(|head| head == goaway), "{read:?}");
    assert_eq!(serving.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_the_http2_library_finds_is_in_the_log_too() {
    let serving = Serving::start([guest("echo")]).await;
    let client = RawClient::connect(serving.addr).await;
    // Twenty times what is read of a header block: more CONTINUATION frames than there may be.
    let head = RawClient::head("/echo.Echo/Unary").header("x-large", "a".repeat(640 << 10));
    let mut call = client.begin(head).await;
    // Its connection may be gone already.
    drop(call.body.send_data(frame(b""), true));
    drop(call.answer().await);
    serving
        .says("a connection was ended: its peer floods it")
        .await;
    serving.says("why=\"excessive_load\"").await;
    assert_eq!(serving.stop().await.code, Some(0));
}
