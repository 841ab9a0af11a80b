//! Many calls at once, and many bytes, with memory that does not grow with them.

use std::fs;

use serde_json::json;

use crate::tab::{Tab, assert_ended};

const MIB: u64 = 1 << 20;

/// 100 MiB in blocks of 64 KiB.
const BLOCKS: u64 = 1600;
const BLOCK_BYTES: u64 = 64 << 10;

/// What the page's WebAssembly may take: windows of 4 MiB, messages on their way, and what the
/// allocator keeps.
const PAGE_BYTES_MAX: u64 = 24 * MIB;

/// By how much the host, which runs in this process, may grow: a fraction of what travels.
const HOST_BYTES_MAX: u64 = 48 * MIB;

/// What may wait in the browser to be sent. HTTP/2's windows bound it (the host's for a stream is
/// 512 KiB); beyond 1 MiB the client itself waits.
const BUFFERED_BYTES_MAX: u64 = MIB + 64 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_calls_in_flight() {
    let tab = Tab::open().await;
    let host = tab.host(&["testservice"], |_| {}).await;
    tab.channel(host.addr).await;
    assert_eq!(tab.run("in_flight", json!([64, 20])).await, 64 * 20);
    // More than the host lets a tunnel have at once: the client waits for its turn.
    assert_eq!(tab.run("in_flight", json!([300, 3])).await, 300 * 3);
    assert!(
        tab.only_socket().await["code"].is_null(),
        "it is open still"
    );
    tab.page.assert_no_errors();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_mebibytes_down_and_up_in_bounded_memory() {
    let tab = Tab::open_alone().await;
    let host = tab.host(&["testservice"], |_| {}).await;
    tab.channel(host.addr).await;
    // Once through, so that what is made once is there.
    tab.run("down", json!([16, BLOCK_BYTES])).await;
    tab.run("up", json!([16, BLOCK_BYTES])).await;
    let before = resident_bytes("VmRSS");
    fs::write("/proc/self/clear_refs", "5").expect("the high-water mark is reset");

    let down = tab.run("down", json!([BLOCKS, BLOCK_BYTES])).await;
    assert_ended(&down["end"], "OK", &[]);
    assert_eq!(
        (&down["blocks"], &down["bytes"]),
        (&json!(BLOCKS), &json!(100 * MIB))
    );
    let up = tab.run("up", json!([BLOCKS, BLOCK_BYTES])).await;
    assert_eq!(up, json!({ "blocks": BLOCKS, "bytes": 100 * MIB }));

    let page = tab.page.run("memory_bytes", json!([])).await;
    let page = page.as_u64().expect("a number");
    assert!(page <= PAGE_BYTES_MAX, "the page has {page} bytes");
    let grown = resident_bytes("VmHWM").saturating_sub(before);
    assert!(grown <= HOST_BYTES_MAX, "the host grew by {grown} bytes");
    let socket = tab.only_socket().await;
    let buffered = socket["buffered_bytes_max"].as_u64().expect("a number");
    assert!(buffered <= BUFFERED_BYTES_MAX, "{buffered} bytes waited");
    // Both sides agreed on our subprotocol, so messages may be as large as this, and no larger.
    for direction in ["sent_bytes_max", "received_bytes_max"] {
        let largest = socket[direction].as_u64().expect("a number");
        assert!(
            (16 << 10..=64 << 10).contains(&largest),
            "{direction}: {largest}"
        );
    }
    tab.page.assert_no_errors();
}

/// A line of this process' status, in bytes.
fn resident_bytes(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.expect("a number").parse::<u64>().expect("a number") << 10
}
