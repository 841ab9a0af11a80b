//! Frames that cost a client nothing and the host a little each, without end.

use futures_util::future::join_all;

use crate::attacker::Attacker;
use crate::siege::Siege;
use crate::wire::{
    ACK, CONTINUATION, DATA, ENHANCE_YOUR_CALM, HEADERS, PADDED, PING, PRIORITY, SETTINGS, UNKNOWN,
    WINDOW_UPDATE, frame, head, request,
};

/// Connections side by side.
const CONNECTIONS: usize = 8;

/// Frames on each, if the host lets them come so far.
const FRAMES: usize = 20_000;

/// Frames sent in one go.
const BATCH: usize = 500;

/// A call that holds its stream open.
const STREAMING: &str = "/echo.Echo/Bidi";

/// One connection that sends `first` and then `again` until the host ends it; what it was told.
async fn flooding(siege: &Siege, first: &[u8], again: &[u8]) -> Option<(u32, String)> {
    let mut attacker = Attacker::open(siege.addr()).await;
    attacker.send(first).await;
    let batch = again.repeat(BATCH);
    for _ in 0..FRAMES / BATCH {
        if !attacker.send(&batch).await {
            break;
        }
    }
    attacker.goodbye().await
}

/// The same by a client that reads nothing.
async fn unread(siege: &Siege, first: &[u8], again: &[u8]) -> Attacker {
    let mut attacker = Attacker::open(siege.addr()).await;
    attacker.send(first).await;
    let batch = again.repeat(BATCH);
    for _ in 0..FRAMES / BATCH {
        if !attacker.shout(&batch, siege).await {
            break;
        }
    }
    attacker
}

/// Attacks with clients that read and are told why they are sent away, and with some that never read.
async fn flood(first: Vec<u8>, again: Vec<u8>, why: &str) {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| {
        let told = (0..CONNECTIONS).map(|_| flooding(siege, &first, &again));
        for told in join_all(told).await {
            assert_eq!(told, Some((ENHANCE_YOUR_CALM, why.to_owned())));
        }
        join_all((0..CONNECTIONS).map(|_| unread(siege, &first, &again))).await
    };
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings() {
    flood(Vec::new(), frame(PING, 0, 0, b"whatever"), "too_many_pings").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_beside_an_open_call() {
    let ping = frame(PING, 0, 0, b"whatever");
    flood(request(1, STREAMING), ping, "too_many_pings").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_pings_that_nobody_sent() {
    flood(
        Vec::new(),
        frame(PING, ACK, 0, b"whatever"),
        "too_many_idle_frames",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings() {
    // The size of the table for headers, which every peer takes.
    let setting = frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 16, 0]);
    flood(Vec::new(), setting, "too_many_idle_frames").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn priorities() {
    let priority = frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]);
    flood(Vec::new(), priority, "too_many_idle_frames").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn window_updates() {
    let update = frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
    flood(Vec::new(), update, "too_many_idle_frames").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_no_known_type() {
    flood(
        Vec::new(),
        frame(UNKNOWN, 0, 0, b""),
        "too_many_idle_frames",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_data() {
    flood(
        request(1, STREAMING),
        frame(DATA, 0, 1, b""),
        "too_many_data_frames",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_all_padding() {
    let padding = [&[255][..], &[0; 255]].concat();
    let data = frame(DATA, PADDED, 1, &padding);
    flood(request(1, STREAMING), data, "too_many_data_frames").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn continuations() {
    let begun = frame(HEADERS, 0, 1, &head(STREAMING));
    let empty = frame(CONTINUATION, 0, 1, b"");
    flood(begun, empty, "too_many_continuations").await;
}
