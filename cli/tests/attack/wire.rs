//! Frames of HTTP/2 as bytes: what attackers are made of. Nothing here keeps the rules of the protocol.

/// What every connection begins with. Source: RFC 9113, section 3.4.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames. Source: RFC 9113, section 6.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// None that exists.
pub(crate) const UNKNOWN: u8 = 0x42;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// Codes of errors. Source: RFC 9113, section 7.
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

const INITIAL_WINDOW_SIZE: u16 = 4;

/// What a window has at the beginning, and at most, in bytes. Source: RFC 9113, section 6.9.
const WINDOW_BYTES: u32 = 65_535;
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// The largest payload of a frame that every HTTP/2 peer takes. Source: RFC 9113, section 4.2.
pub(crate) const FRAME_BYTES_MAX: usize = 16 * 1024;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("short");
    let mut wire = Vec::with_capacity(9 + payload.len());
    wire.extend_from_slice(&len.to_be_bytes()[1..]);
    wire.extend_from_slice(&[kind, flags]);
    wire.extend_from_slice(&stream.to_be_bytes());
    wire.extend_from_slice(payload);
    wire
}

/// Preface and settings, as an honest client begins.
pub(crate) fn opening() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()
}

/// The same, and no stream may send a byte of an answer.
pub(crate) fn opening_with_closed_windows() -> Vec<u8> {
    opening_with_windows(0)
}

/// The same, and all streams may send as much as HTTP/2 can say.
pub(crate) fn opening_with_open_windows() -> Vec<u8> {
    let more = WINDOW_BYTES_MAX - WINDOW_BYTES;
    let connection = frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
    [opening_with_windows(WINDOW_BYTES_MAX), connection].concat()
}

fn opening_with_windows(bytes: u32) -> Vec<u8> {
    let mut setting = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    setting.extend_from_slice(&bytes.to_be_bytes());
    [PREFACE, &frame(SETTINGS, 0, 0, &setting)].concat()
}

/// The stream of the `number`th request of a connection.
pub(crate) fn stream(number: usize) -> u32 {
    u32::try_from(number * 2 + 1).expect("a connection has fewer streams")
}

/// A header as HPACK has it without compression: literal, not indexed, new name.
/// Source: RFC 7541, section 6.2.2.
pub(crate) fn header(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0];
    for text in [name, value] {
        length(&mut block, 7, 0, text.len());
        block.extend_from_slice(text.as_bytes());
    }
    block
}

/// An integer of HPACK behind `bits` bits of prefix. Source: RFC 7541, section 5.1.
pub(crate) fn length(block: &mut Vec<u8>, bits: u32, first: u8, value: usize) {
    let most = (1_usize << bits) - 1;
    if value < most {
        block.push(first | u8::try_from(value).expect("below a byte"));
        return;
    }
    block.push(first | u8::try_from(most).expect("a byte"));
    let mut left = value - most;
    while left >= 128 {
        block.push(u8::try_from(left % 128 + 128).expect("a byte"));
        left /= 128;
    }
    block.push(u8::try_from(left).expect("a byte"));
}

/// The header block of a gRPC request.
pub(crate) fn head(path: &str) -> Vec<u8> {
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    .into_iter()
    .flat_map(|(name, value)| header(name, value))
    .collect()
}

/// The head of a gRPC request whose body is still to come.
pub(crate) fn request(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &head(path))
}

/// A gRPC message in one DATA frame that ends the request.
pub(crate) fn last_message(stream: u32, message: &[u8]) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, &declared(message.len(), message))
}

/// A gRPC message that says it is so long, and as much of it as is given.
pub(crate) fn declared(len: usize, message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(len).expect("gRPC counts in 32 bits");
    [&[0][..], &len.to_be_bytes(), message].concat()
}

/// A gRPC message that says it is compressed.
pub(crate) fn compressed(message: &[u8]) -> Vec<u8> {
    let mut wire = declared(message.len(), message);
    wire[0] = 1;
    wire
}

/// RST_STREAM with CANCEL.
pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// The error of a GOAWAY that ends these bytes, and what it says beside.
pub(crate) fn goodbye(bytes: &[u8]) -> Option<(u32, String)> {
    (0..bytes.len().checked_sub(16)?).find_map(|at| {
        let [a, b, c, GOAWAY, 0, 0, 0, 0, 0, payload @ ..] = &bytes[at..] else {
            return None;
        };
        let len = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).expect("24 bits");
        let (_last, rest) = payload.split_first_chunk::<4>()?;
        let (code, said) = rest.split_first_chunk::<4>()?;
        let whole = payload.len() == len;
        whole.then(|| {
            let said = String::from_utf8_lossy(said).into_owned();
            (u32::from_be_bytes(*code), said)
        })
    })
}
