//! Messages that are small, and large once they are decompressed.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use futures_util::future::join_all;

use crate::attacker::Attacker;
use crate::siege::Siege;
use crate::wire::{
    DATA, END_HEADERS, END_STREAM, FRAME_BYTES_MAX, HEADERS, compressed, frame, head, header,
    stream,
};

/// Connections side by side.
const CONNECTIONS: usize = 4;

/// Calls on each.
const CALLS: usize = 25;

/// What a bomb becomes, in bytes: far above what a request may be.
const LARGE_BYTES: usize = 128 << 20;

/// Much of nothing, by what this makes encoders of.
fn zeros<W: Write>(mut encoder: W) -> W {
    let part = vec![0; 1 << 20];
    for _ in 0..LARGE_BYTES >> 20 {
        encoder.write_all(&part).expect("memory");
    }
    encoder
}

/// The same in zstd, where a block of one byte again and again takes four. Source: RFC 8878, section 3.1.1.
fn zstd() -> Vec<u8> {
    const BLOCK_BYTES: usize = 128 << 10;
    // No content size, no checksum, a window of 8 MiB, the largest that everybody takes.
    let mut wire = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3];
    let blocks = LARGE_BYTES / BLOCK_BYTES;
    for at in 1..=blocks {
        let head = BLOCK_BYTES << 3 | 1 << 1 | usize::from(at == blocks);
        wire.extend_from_slice(&head.to_le_bytes()[..3]);
        wire.push(0);
    }
    wire
}

/// A call with a compressed message.
fn call(stream: u32, encoding: &str, message: &[u8]) -> Vec<u8> {
    let head = [head("/echo.Echo/Unary"), header("grpc-encoding", encoding)].concat();
    let mut wire = frame(HEADERS, END_HEADERS, stream, &head);
    for part in compressed(message).chunks(FRAME_BYTES_MAX) {
        wire.extend(frame(DATA, 0, stream, part));
    }
    wire.extend(frame(DATA, END_STREAM, stream, b""));
    wire
}

async fn bombs(encoding: &str, message: &[u8]) {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| {
        let ask = async || {
            let mut attacker = Attacker::open(siege.addr()).await;
            for number in 0..CALLS {
                attacker
                    .send(&call(stream(number), encoding, message))
                    .await;
            }
            attacker
        };
        join_all((0..CONNECTIONS).map(|_| ask())).await
    };
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gzip_bombs() {
    let encoder = zeros(GzEncoder::new(Vec::new(), Compression::best()));
    bombs("gzip", &encoder.finish().expect("memory")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deflate_bombs() {
    let encoder = zeros(ZlibEncoder::new(Vec::new(), Compression::best()));
    bombs("deflate", &encoder.finish().expect("memory")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zstd_bombs() {
    bombs("zstd", &zstd()).await;
}
