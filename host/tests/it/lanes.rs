//! Who computes waits for nobody and nobody waits for it: plugins that hold a thread beside calls that
//! must not notice.
//!
//! The host and its clients share one thread here, and long calls another: a call that kept its
//! thread would stop everything, so that short calls end at all is what is tested.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use switchboard_test_support::{
    RawCall, RawClient, Setup, TestHost, eventually, frame, guest, patiently,
};

const SPIN: &str = "/faulty.Faulty/Spin";
const ECHO: &str = "/echo.Echo/Unary";
const BURN: &str = "/testservice.Probe/Burn";

fn one_thread(setup: &mut Setup) {
    setup.config.lane.workers = NonZeroU32::new(1);
}

/// `SleepRequest { duration_ms }`, below 128.
fn milliseconds(duration_ms: u8) -> [u8; 2] {
    assert!(duration_ms < 128, "one byte of varint");
    [8, duration_ms]
}

/// Calls that compute until they are cancelled.
async fn spin(host: &TestHost, client: &RawClient, count: u32) -> Vec<RawCall> {
    let mut calls = Vec::new();
    for _ in 0..count {
        let mut call = client.begin(RawClient::head(SPIN)).await;
        call.body.send_data(frame(b""), true).expect("open");
        calls.push(call);
    }
    eventually("all compute", || host.stats("faulty").leased.unary == count).await;
    calls
}

async fn short_calls_end(client: &RawClient) {
    for number in 0..50_u8 {
        let answer = patiently("a short call", client.unary(ECHO, &[number])).await;
        assert_eq!(answer.messages(), [vec![number]]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_that_compute_for_ever_stop_no_short_call() {
    let host = TestHost::start_with("echo", |setup| {
        setup.paths.push(guest("faulty"));
        one_thread(setup);
    })
    .await;
    let (client, other) = (host.raw().await, host.raw().await);
    let calls = spin(&host, &client, 8).await;
    short_calls_end(&client).await;
    short_calls_end(&other).await;
    assert_eq!(
        host.stats("faulty").leased.unary,
        8,
        "they compute all the while"
    );
    for mut call in calls {
        call.cancel();
    }
    eventually("all are stopped", || {
        let stats = host.stats("faulty");
        (stats.leased.unary, stats.retired_unclean) == (0, 8)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_connection_that_goes_stops_what_it_left_computing() {
    let host = TestHost::start_with("echo", |setup| {
        setup.paths.push(guest("faulty"));
        one_thread(setup);
    })
    .await;
    let client = host.raw().await;
    let calls = spin(&host, &client, 4).await;
    drop((calls, client));
    eventually("all are stopped", || {
        host.stats("faulty").retired_unclean == 4
    })
    .await;
    short_calls_end(&host.raw().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_method_known_to_be_long_is_served_cancelled_and_timed_out() {
    let host = TestHost::start_with("echo", |setup| {
        setup.paths.push(guest("faulty"));
        one_thread(setup);
        setup.config.plugin.long_methods = BTreeSet::from([
            SPIN.to_owned(),
            ECHO.to_owned(),
            "/echo.Echo/Bidi".to_owned(),
        ]);
    })
    .await;
    let client = host.raw().await;
    short_calls_end(&client).await;
    let stream = client
        .call(RawClient::head("/echo.Echo/Bidi"), frame(b"streamed"))
        .await;
    assert_eq!(stream.messages(), ["streamed"]);
    // On a machine that is busy the first deadline may pass before the plugin is entered.
    for timeout in ["50m", "500m", "5S"] {
        let head = RawClient::head(SPIN).header("grpc-timeout", timeout);
        let answer = client.call(head, frame(b"")).await;
        assert_eq!(answer.code(), 4, "DEADLINE_EXCEEDED");
        eventually("it is stopped", || host.stats("faulty").leased.unary == 0).await;
        if host.stats("faulty").retired_unclean == 1 {
            break;
        }
    }
    spin(&host, &client, 1).await[0].cancel();
    eventually("both were stopped", || {
        host.stats("faulty").retired_unclean == 2
    })
    .await;
    short_calls_end(&client).await;
}

/// Enough calls that the method is found out to be long on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_that_take_long_all_end_side_by_side() {
    let host = TestHost::start_with("testservice", |setup| {
        setup.paths.push(guest("echo"));
        one_thread(setup);
    })
    .await;
    let client = host.raw().await;
    for duration_ms in [1, 3] {
        let mut calls = Vec::new();
        for _ in 0..20 {
            let mut call = client.begin(RawClient::head(BURN)).await;
            call.body
                .send_data(frame(&milliseconds(duration_ms)), true)
                .expect("open");
            calls.push(call);
        }
        short_calls_end(&client).await;
        for call in calls {
            let answer = call.answer().await.expect("an answer");
            assert_eq!(answer.code(), 0, "{}", answer.message());
        }
    }
    assert_eq!(host.stats("testservice").retired_unclean, 0);
}
