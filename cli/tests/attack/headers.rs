//! Headers that are large, become large when they are decoded, or never end.

use futures_util::future::join_all;
use switchboard_test_support::{http1, patiently};

use crate::attacker::{Attacker, REQUESTS, requests};
use crate::siege::Siege;
use crate::wire::{
    CONTINUATION, END_HEADERS, END_STREAM, FRAME_BYTES_MAX, HEADERS, frame, head, header, length,
    request,
};

/// Connections side by side.
const CONNECTIONS: usize = 8;

const UNARY: &str = "/echo.Echo/Unary";
const STREAMING: &str = "/echo.Echo/Bidi";

/// A header block in as many frames as it takes.
fn block(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    let parts = block.chunks(FRAME_BYTES_MAX);
    let last = parts.len() - 1;
    let mut wire = Vec::new();
    for (at, part) in parts.enumerate() {
        let (kind, first) = if at == 0 {
            (HEADERS, flags)
        } else {
            (CONTINUATION, 0)
        };
        let end = if at == last { END_HEADERS } else { 0 };
        wire.extend(frame(kind, first | end, stream, part));
    }
    wire
}

/// A header that goes into the table, of nearly as much as fits in there, and then so many references
/// to it, of one byte each.
fn bomb(path: &str, references: usize) -> Vec<u8> {
    let mut wire = head(path);
    // Literal with incremental indexing, new name. Source: RFC 7541, section 6.2.1.
    wire.push(0x40);
    let value = "x".repeat(4000);
    for text in ["bomb", &value] {
        length(&mut wire, 7, 0, text.len());
        wire.extend_from_slice(text.as_bytes());
    }
    // Indexed, the newest entry of the dynamic table. Source: RFC 7541, section 6.1.
    wire.extend(std::iter::repeat_n(0x80 | 62, references));
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn hpack_bombs() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| {
        let mut held = Vec::new();
        // Within what metadata may be, within what HTTP/2 reads, above it, and far above it.
        for references in [2, 13, 40, 12_000] {
            for path in [UNARY, STREAMING] {
                let made = |stream| block(stream, 0, &bomb(path, references));
                held.push(requests(siege, CONNECTIONS, made).await);
            }
        }
        held
    };
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_one_mebibyte() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| {
        let large = "x".repeat(1 << 20);
        let small = "x".repeat(1000);
        let one = [head(UNARY), header("large", &large)].concat();
        let mut many = head(UNARY);
        for number in 0..1000 {
            many.extend(header(&format!("many-{number}"), &small));
        }
        let one = requests(siege, CONNECTIONS, |stream| block(stream, 0, &one)).await;
        (
            one,
            requests(siege, CONNECTIONS, |stream| block(stream, 0, &many)).await,
        )
    };
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_one_mebibyte_over_http1() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| {
        let ask = async || {
            let mut attacker = Attacker::connect(siege.addr()).await;
            let large = "x".repeat(1 << 20);
            let request = format!("GET / HTTP/1.1\r\nhost: localhost\r\nlarge: {large}\r\n\r\n");
            attacker.send(request.as_bytes()).await;
            attacker.goodbye().await;
            assert!(
                attacker.gone(),
                "more than a head may be ends the connection"
            );
        };
        for _ in 0..REQUESTS / CONNECTIONS {
            join_all((0..CONNECTIONS).map(|_| ask())).await;
        }
    };
    siege.withstands(attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_without_end() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| {
        let large = header("trailer", &"x".repeat(16_000));
        // Trailers that do not end the stream, that are large, and that never end themselves.
        let again = |stream| {
            let more = frame(HEADERS, END_HEADERS, stream, &large);
            [request(stream, STREAMING), more.repeat(4)].concat()
        };
        let whole = |stream| {
            let more = block(stream, END_STREAM, &large.repeat(3));
            [request(stream, STREAMING), more].concat()
        };
        let endless = |stream| {
            let more = frame(CONTINUATION, 0, stream, &large);
            let first = frame(HEADERS, END_STREAM, stream, &large);
            [request(stream, STREAMING), first, more.repeat(1000)].concat()
        };
        let held = (
            requests(siege, CONNECTIONS, again).await,
            requests(siege, CONNECTIONS, whole).await,
        );
        (held, requests(siege, CONNECTIONS, endless).await)
    };
    siege.withstands(attack).await;
}

/// The host still answers HTTP/1.1 as it should after all that.
#[tokio::test(flavor = "multi_thread")]
async fn requests_over_http1_whose_answers_nobody_reads() {
    let siege = Siege::start(&[], &[]).await;
    let attack = async |siege: &Siege| {
        let ask = async || {
            let mut attacker = Attacker::connect(siege.addr()).await;
            let request = b"GET /nothing/here HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
            for _ in 0..100 {
                if !attacker.shout(&request, siege).await {
                    break;
                }
            }
            attacker
        };
        let held = join_all((0..CONNECTIONS).map(|_| ask())).await;
        let socket = tokio::net::TcpStream::connect(siege.addr()).await;
        let request = b"GET /nothing/here HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let answer = http1(socket.expect("the host listens"), request);
        assert_eq!(patiently("an answer", answer).await.status, 404);
        held
    };
    siege.withstands(attack).await;
}
