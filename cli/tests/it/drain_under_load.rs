//! SIGTERM while calls come as fast as they can: every call that was taken is answered, whatever its kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use h2::client::SendRequest;
use rustix::process::Signal;
use switchboard_test_support::{eventually, frame, frames, guest, patiently};
use tokio::net::TcpStream;

use crate::serving::Serving;

/// Connections, calls in flight on each, and calls that were answered before the signal.
const CONNECTIONS: usize = 8;
const IN_FLIGHT: usize = 16;
const BEFORE: usize = 2000;

/// What became of the calls.
#[derive(Default)]
struct Calls {
    answered: AtomicUsize,
    /// Told that nobody took them.
    refused: AtomicUsize,
    /// Never sent: there was no connection any more.
    unsent: AtomicUsize,
}

#[expect(clippy::disallowed_methods, reason = "a test's own task")]
async fn connect(serving: &Serving) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(serving.addr).await.expect("it listens");
    let (requests, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move { drop(connection.await) });
    requests
}

/// One call after the other, until there is no connection to make them on.
async fn call_on(mut requests: SendRequest<Bytes>, calls: Arc<Calls>, path: &str) {
    loop {
        let Ok(ready) = requests.ready().await else {
            calls.unsent.fetch_add(1, Ordering::SeqCst);
            return;
        };
        requests = ready;
        let head = http::Request::post(format!("http://switchboard{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let head = head.body(()).expect("a request");
        let Ok((response, mut body)) = requests.send_request(head, false) else {
            calls.unsent.fetch_add(1, Ordering::SeqCst);
            return;
        };
        // Whether it can still be sent, its response tells.
        drop(body.send_data(frame(b"taken"), true));
        match answer(response).await {
            Ok(()) => calls.answered.fetch_add(1, Ordering::SeqCst),
            // "Requests on the stream ... can be safely retried" (RFC 9113, 8.7), or above the last stream
            // of a GOAWAY (6.8): the server has not looked at it, and says so.
            Err(error)
                if error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM) =>
            {
                assert!(error.is_remote() || error.is_library(), "{error:?}");
                calls.refused.fetch_add(1, Ordering::SeqCst)
            }
            Err(error) => panic!("a call was taken and lost: {error:?}"),
        };
    }
}

async fn answer(response: h2::client::ResponseFuture) -> Result<(), h2::Error> {
    let mut body = response.await?.into_body();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        all.extend_from_slice(&data?);
    }
    let trailers = body.trailers().await?.expect("a status");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(frames(all.into()), ["taken"]);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a test's own task")]
async fn no_call_is_lost(path: &'static str) {
    let serving = Serving::start([guest("echo")]).await;
    let calls = Arc::new(Calls::default());
    let mut callers = Vec::new();
    for _ in 0..CONNECTIONS {
        let requests = connect(&serving).await;
        for _ in 0..IN_FLIGHT {
            let call = call_on(requests.clone(), Arc::clone(&calls), path);
            callers.push(tokio::spawn(call));
        }
    }
    let answered = || calls.answered.load(Ordering::SeqCst);
    eventually("calls are answered", || answered() >= BEFORE).await;
    serving.signal(Signal::TERM);
    for caller in patiently("the callers", join_all(callers)).await {
        caller.expect("no call was lost");
    }
    let ended = serving.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("every call ended"),
        "{}",
        ended.stderr
    );
    // Each caller ended because there was nobody to call, and not before.
    let unsent = calls.unsent.load(Ordering::SeqCst);
    assert_eq!(unsent, CONNECTIONS * IN_FLIGHT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_under_load_loses_no_unary_call() {
    no_call_is_lost("/echo.Echo/Unary").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_under_load_loses_no_stream() {
    no_call_is_lost("/echo.Echo/Bidi").await;
}
