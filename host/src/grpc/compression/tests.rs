//! Messages of any bytes through every encoding, and what is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use bytes::Buf;
use proptest::prelude::*;

use super::*;

const MAX: usize = 1 << 20;

/// Counts how often the task was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls to the end, which every pause must have been woken for or waits for room; answers with the
/// number of pauses.
fn run<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> (T, usize) {
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut pauses = 0;
    loop {
        match poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return (done, pauses),
            Poll::Pending => pauses += 1,
        }
        // Other tests share the room, so this one may have to wait for it.
        while wakes.0.swap(0, Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
    }
}

fn packed(encoding: Encoding, message: &[u8]) -> Bytes {
    let mut packing = Packing::new(encoding, Bytes::copy_from_slice(message));
    run(|cx| packing.poll(cx)).0.expect("it compresses")
}

fn unpacked(encoding: Encoding, message: impl Into<Bytes>, max: usize) -> Result<Bytes, CallError> {
    let mut unpacking = Unpacking::new(encoding, message.into(), max)?;
    run(|cx| unpacking.poll(cx)).0
}

fn is_too_large(unpacked: &Result<Bytes, CallError>) -> bool {
    matches!(unpacked, Err(CallError::UnpackedTooLarge { .. }))
}

fn is_corrupt(unpacked: &Result<Bytes, CallError>) -> bool {
    matches!(unpacked, Err(CallError::Corrupt { .. }))
}

/// Bytes that no encoding makes smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn every_encoding_that_is_accepted_is_named() {
    let accepted = ACCEPTED;
    let names = accepted.to_str().expect("ASCII").split(',').skip(1);
    let names: Vec<_> = names.collect();
    assert_eq!(names, Encoding::ALL.map(Encoding::name));
}

#[test]
fn the_encoding_of_a_request_is_known_or_refused() {
    let of = |pairs| of_request(&headers(pairs));
    assert!(matches!(of(&[]), Ok(None)));
    assert!(matches!(of(&[(ENCODING, "identity")]), Ok(None)));
    for encoding in Encoding::ALL {
        let headers = headers(&[(ENCODING, encoding.name())]);
        assert!(matches!(of_request(&headers), Ok(Some(found)) if found == encoding));
    }
    for name in ["br", "GZIP", "gzip,deflate", "snappy", ""] {
        let mut headers = HeaderMap::new();
        headers.insert(ENCODING, HeaderValue::from_static(name));
        let refused = of_request(&headers).expect_err("unknown");
        assert!(matches!(refused, CallError::UnknownEncoding(found) if found == name));
    }
}

#[test]
fn the_operators_order_decides_among_what_the_caller_takes() {
    use Encoding::{Deflate, Gzip, Zstd};
    let all: &[Encoding] = &[Zstd, Gzip, Deflate];
    for (takes, allowed, expected) in [
        ("gzip", all, Some(Gzip)),
        ("identity,deflate,gzip", all, Some(Gzip)),
        ("identity , deflate ,gzip,zstd ", all, Some(Zstd)),
        ("deflate,gzip", &[Deflate, Gzip], Some(Deflate)),
        ("gzip", &[Zstd], None),
        ("gzip", &[], None),
        ("identity", all, None),
        ("gzipped,x-gzip,GZIP", all, None),
        ("", all, None),
    ] {
        let found = agreed(&headers(&[(ACCEPT_ENCODING, takes)]), allowed);
        assert_eq!(found, expected, "{takes:?} of {allowed:?}");
    }
    assert_eq!(agreed(&headers(&[]), all), None);
    let twice = headers(&[(ACCEPT_ENCODING, "identity"), (ACCEPT_ENCODING, "gzip")]);
    assert_eq!(agreed(&twice, all), Some(Gzip));
}

/// The flag before a message that leaves, and whether the message is the same again.
fn sent(responses: &mut Responses, message: &[u8]) -> u8 {
    let mut outbound = responses.frame(Bytes::copy_from_slice(message));
    run(|cx| responses.poll_pack(cx, &mut outbound));
    let flag = outbound.get_u8();
    assert_eq!(outbound.get_u32() as usize, outbound.remaining());
    let body = outbound.copy_to_bytes(outbound.remaining());
    match flag {
        0 => assert_eq!(body, message),
        _ => assert_eq!(
            unpacked(Encoding::Gzip, body, MAX).expect("it decompresses"),
            message
        ),
    }
    flag
}

#[test]
fn a_plugin_switches_compression_message_by_message() {
    let config = CompressionConfig::default();
    let request = headers(&[(ACCEPT_ENCODING, "gzip")]);
    let mut responses = Responses::new(&request, None, &config);
    assert_eq!(sent(&mut responses, &[7; 5000]), 0, "nobody asked");
    assert!(responses.set(true, Some(&request), &config));
    let mut names = HeaderMap::new();
    responses.announce(&mut names);
    assert_eq!(names, headers(&[(ENCODING, "gzip")]));
    for (message, flag) in [(&[7; 5000][..], 1), (&[], 0), (&[1, 2], 1)] {
        assert_eq!(sent(&mut responses, message), flag, "{}", message.len());
    }
    assert!(!responses.set(false, None, &config));
    assert_eq!(sent(&mut responses, &[7; 5000]), 0);
    assert!(responses.set(true, None, &config), "the headers named it");
    assert_eq!(sent(&mut responses, &[7; 5000]), 1);
}

#[test]
fn what_the_headers_do_not_name_is_not_used() {
    let config = CompressionConfig::default();
    for (request, now) in [
        (headers(&[(ACCEPT_ENCODING, "gzip")]), false),
        (headers(&[(ACCEPT_ENCODING, "identity")]), true),
        (headers(&[]), true),
    ] {
        let mut responses = Responses::new(&request, None, &config);
        assert!(!responses.set(true, now.then_some(&request), &config));
        assert_eq!(sent(&mut responses, &[7; 5000]), 0, "{request:?}");
        let mut names = HeaderMap::new();
        responses.announce(&mut names);
        assert_eq!(names, HeaderMap::new());
    }
}

#[test]
fn by_default_what_is_small_or_does_not_shrink_stays() {
    let config = CompressionConfig {
        by_default: true,
        bytes_min: 100,
        ..CompressionConfig::default()
    };
    let request = headers(&[(ACCEPT_ENCODING, "gzip")]);
    let mut responses = Responses::new(&request, Some(Encoding::Zstd), &config);
    let mut names = HeaderMap::new();
    responses.announce(&mut names);
    let told = [
        (ENCODING, "gzip"),
        (ACCEPT_ENCODING, "identity,deflate,gzip,zstd"),
    ];
    assert_eq!(names, headers(&told));
    for (message, flag) in [
        (vec![7; 99], 0),
        (vec![7; 100], 1),
        (noise(10_000), 0),
        (vec![], 0),
    ] {
        assert_eq!(sent(&mut responses, &message), flag, "{}", message.len());
    }
    responses.set(true, None, &config);
    assert_eq!(
        sent(&mut responses, &noise(10_000)),
        1,
        "the plugin insists"
    );
    responses.set(false, None, &config);
    assert_eq!(sent(&mut responses, &[7; 5000]), 0, "the plugin opts out");
}

#[test]
fn a_large_message_is_worked_on_in_steps() {
    let message = vec![1; STEP_BYTES * 10 + 1];
    for encoding in Encoding::ALL {
        let mut packing = Packing::new(encoding, Bytes::copy_from_slice(&message));
        let (packed, pauses) = run(|cx| packing.poll(cx));
        assert!(pauses >= 10, "{encoding}: {pauses}");
        let packed = packed.expect("it compresses");
        assert!(packed.len() < message.len() / 50, "{encoding}");
        let mut unpacking = Unpacking::new(encoding, packed, MAX).expect("it fits");
        let (unpacked, pauses) = run(|cx| unpacking.poll(cx));
        assert!(pauses >= 9, "{encoding}: {pauses}");
        assert_eq!(unpacked.expect("whole"), message);
    }
}

#[test]
fn a_message_may_be_as_large_as_the_limit_and_no_larger() {
    for encoding in Encoding::ALL {
        for message in [vec![0; 70_000], noise(70_000), vec![5], Vec::new()] {
            let packed = packed(encoding, &message);
            let len = message.len();
            let whole = unpacked(encoding, packed.clone(), len);
            assert_eq!(whole.expect("it fits"), message, "{encoding}");
            if let Some(less) = len.checked_sub(1) {
                assert!(
                    is_too_large(&unpacked(encoding, packed, less)),
                    "{encoding}"
                );
            }
        }
    }
}

#[test]
fn a_bomb_takes_no_more_than_the_limit() {
    for encoding in Encoding::ALL {
        let bomb = match encoding {
            // Without the size that the frame would declare, as those who mean harm make it.
            Encoding::Zstd => zstd_without_size(&vec![0; 64 << 20]),
            Encoding::Deflate | Encoding::Gzip => packed(encoding, &vec![0; 64 << 20]),
        };
        assert!(bomb.len() < 100_000, "{encoding}: {}", bomb.len());
        let mut unpacking = Unpacking::new(encoding, bomb, MAX).expect("it does not say");
        let refused = run(|cx| {
            let polled = unpacking.poll(cx);
            assert!(unpacking.capacity() <= MAX + 1, "{encoding}");
            polled
        });
        assert!(is_too_large(&refused.0), "{encoding}");
    }
}

/// As a stream whose length nobody knew in advance.
fn zstd_without_size(message: &[u8]) -> Bytes {
    use zstd_safe::zstd_sys::ZSTD_EndDirective;
    let mut packed = Vec::with_capacity(message.len() + 1024);
    let mut tool = zstd_safe::CCtx::create();
    let mut input = zstd_safe::InBuffer::around(message);
    let mut output = zstd_safe::OutBuffer::around(&mut packed);
    for end in [
        ZSTD_EndDirective::ZSTD_e_continue,
        ZSTD_EndDirective::ZSTD_e_end,
    ] {
        let left = tool.compress_stream2(&mut output, &mut input, end);
        assert!(left.is_ok());
    }
    packed.into()
}

#[test]
fn a_frame_that_declares_too_much_is_refused_at_once() {
    let honest = packed(Encoding::Zstd, &[0; 2000]);
    let refused = Unpacking::new(Encoding::Zstd, honest, 1999);
    assert!(matches!(
        refused,
        Err(CallError::UnpackedTooLarge { max: 1999 })
    ));
    // A window of 16 MiB and no content size; then 128 KiB of the same byte.
    let [a, b, c, _] = (128_u32 << 10 << 3 | 1 << 1 | 1).to_le_bytes();
    let wide = [0x28, 0xb5, 0x2f, 0xfd, 0, 14 << 3, a, b, c, 7];
    let refused = unpacked(Encoding::Zstd, wide.to_vec(), MAX);
    assert!(matches!(refused, Err(CallError::WindowTooLarge { .. })));
    let mut fits = wide;
    fits[5] = 13 << 3;
    let fits = unpacked(Encoding::Zstd, fits.to_vec(), MAX);
    assert_eq!(fits.expect("8 MiB"), vec![7; 128 << 10]);
}

#[test]
fn what_is_damaged_cut_or_followed_by_more_is_refused() {
    let message: Vec<u8> = (0..3000_u32).flat_map(u32::to_le_bytes).collect();
    for encoding in Encoding::ALL {
        let whole = packed(encoding, &message);
        for cut in [0, 1, 5, whole.len() / 2, whole.len() - 1] {
            let refused = unpacked(encoding, whole.slice(..cut), MAX);
            assert!(is_corrupt(&refused), "{encoding} cut at {cut}");
        }
        let mut longer = whole.to_vec();
        longer.push(0);
        assert!(is_corrupt(&unpacked(encoding, longer, MAX)), "{encoding}");
        let twice = [&whole[..], &whole[..]].concat();
        assert!(is_corrupt(&unpacked(encoding, twice, MAX)), "{encoding}");
        for other in Encoding::ALL {
            if other != encoding {
                let refused = unpacked(other, whole.clone(), MAX);
                assert!(is_corrupt(&refused), "{encoding} as {other}");
            }
        }
    }
    // DEFLATE by itself, which some call "deflate", has no header to tell.
    let zlib = packed(Encoding::Deflate, &message);
    let raw = zlib.slice(2..zlib.len() - 4);
    assert!(is_corrupt(&unpacked(Encoding::Deflate, raw, MAX)));
    // The checksum of gzip, and the one of zlib.
    for encoding in [Encoding::Gzip, Encoding::Deflate] {
        let mut wrong = packed(encoding, &message).to_vec();
        let at = wrong.len() - if encoding == Encoding::Gzip { 6 } else { 2 };
        wrong[at] ^= 1;
        assert!(is_corrupt(&unpacked(encoding, wrong, MAX)), "{encoding}");
    }
}

#[test]
fn gzip_with_a_name_and_more_in_its_header_is_read() {
    let plain = packed(Encoding::Gzip, b"content");
    let mut named = vec![0x1f, 0x8b, 8, 0b0000_1100, 0, 0, 0, 0, 0, 3];
    named.extend([2, 0, 9, 9]);
    named.extend(b"name\0");
    named.extend(&plain[10..]);
    assert_eq!(
        unpacked(Encoding::Gzip, named, MAX).expect("valid"),
        "content"
    );
}

fn any_encoding() -> impl Strategy<Value = Encoding> {
    prop::sample::select(Encoding::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Repeated pieces, so that there is something to find, and bytes of all kinds.
    #[test]
    fn messages_survive_both_ways(
        encoding in any_encoding(),
        piece in prop::collection::vec(any::<u8>(), 0..300),
        times in 0_usize..700,
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let message = [piece.repeat(times), rest].concat();
        let packed = packed(encoding, &message);
        prop_assert_eq!(unpacked(encoding, packed, MAX).expect("valid"), message);
    }

    #[test]
    fn any_bytes_are_decompressed_or_refused(
        encoding in any_encoding(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        if let Ok(message) = unpacked(encoding, bytes, 1000) {
            prop_assert!(message.len() <= 1000);
        }
    }

    /// Damage that the checks of a format do not find gives other bytes, never more than the limit.
    #[test]
    fn flipped_bits_are_refused_or_harmless(
        encoding in any_encoding(),
        message in prop::collection::vec(any::<u8>(), 0..500),
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let mut wire = packed(encoding, &message).to_vec();
        let at = at.index(wire.len());
        wire[at] ^= 1 << bit;
        if let Ok(message) = unpacked(encoding, wire, 1000) {
            prop_assert!(message.len() <= 1000);
        }
    }
}
