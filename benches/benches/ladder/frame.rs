//! Rung 1, `frame`: a message is cut out of the bytes of a request, and one is framed for the response.
//!
//! No HTTP/2 and no copy but the decoder's own, when a message came in several frames of HTTP/2.

use bytes::{Buf, Bytes};
use criterion::{Criterion, Throughput};
use switchboard_benches::messages::framed;
use switchboard_host::Outbound;
use switchboard_host::ladder::Cutter;

/// The default limit of requests.
const BYTES_MAX: usize = 4 << 20;

/// Payload of HTTP/2's frames if nobody agrees on more. Source: RFC 9113, section 6.5.2.
const HTTP2_FRAME_BYTES: usize = 16 << 10;

pub(crate) fn frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for (name, len, chunk_len) in [
        ("16 B", 16, usize::MAX),
        ("1 KiB", 1 << 10, usize::MAX),
        ("64 KiB", 64 << 10, usize::MAX),
        ("64 KiB in frames of HTTP2", 64 << 10, HTTP2_FRAME_BYTES),
    ] {
        let message: Vec<u8> = (0..251).cycle().take(len).collect();
        let wire = framed([&message]);
        let chunks: Vec<_> = wire.chunks(chunk_len).map(Bytes::copy_from_slice).collect();
        let mut response = cut_and_frame(&chunks);
        assert_eq!(response.copy_to_bytes(wire.len()), wire);
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let response = cut_and_frame(&chunks);
                assert_eq!(response.remaining(), wire.len());
                response
            });
        });
    }
    group.finish();
}

fn cut_and_frame(chunks: &[Bytes]) -> Outbound {
    let mut cutter = Cutter::new(BYTES_MAX);
    let mut last = None;
    for chunk in chunks {
        cutter.push(chunk.clone());
        last = cutter.message().expect("a well-formed message");
    }
    Outbound::new(last.expect("a whole message"))
}
