//! Frames of HTTP/2, written and read by hand: for what a client that keeps the rules never sends.
//! Used by the tests of connections and of tunnels.

use bytes::{Buf, BytesMut};

/// What every connection begins with. Source: RFC 9113, section 3.4.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames. Source: RFC 9113, section 6.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// What a gRPC request begins with; the path is to be filled in.
pub(crate) const GRPC_HEAD: [(&str, &str); 6] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", ""),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
];
pub(crate) const PATH_AT: usize = 2;

pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        let payload = payload.into();
        Self {
            kind,
            flags,
            stream,
            payload,
        }
    }

    /// The head of a gRPC request of `path`, without compression of headers.
    pub(crate) fn request(stream: u32, path: &str) -> Self {
        let mut fields = GRPC_HEAD;
        fields[PATH_AT].1 = path;
        Self::head(stream, 0, &fields)
    }

    /// A head of these fields, as they are.
    pub(crate) fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Self {
        let mut block = Vec::new();
        for (name, value) in fields {
            // Literal without indexing, new name. Source: RFC 7541, section 6.2.2.
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).expect("short"));
                block.extend_from_slice(text.as_bytes());
            }
        }
        Self::new(HEADERS, END_HEADERS | flags, stream, block)
    }

    pub(crate) fn reset(stream: u32) -> Self {
        Self::new(RST_STREAM, 0, stream, 8_u32.to_be_bytes())
    }

    /// The error code of RST_STREAM, and of GOAWAY, where it stands behind a stream's number.
    pub(crate) fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    /// Takes the next frame out of what was read, if it is there as a whole.
    pub(crate) fn parse(read: &mut BytesMut) -> Option<Self> {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *read.first_chunk()?;
        let len = usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("a length fits");
        if read.len() < 9 + len {
            return None;
        }
        read.advance(9);
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        let payload = read.split_to(len).to_vec();
        Some(Self::new(kind, flags, stream, payload))
    }
}

/// Frames as they go over the wire.
pub(crate) fn wire(frames: &[Frame]) -> Vec<u8> {
    let mut wire = Vec::new();
    for frame in frames {
        let len = u32::try_from(frame.payload.len()).expect("short");
        wire.extend_from_slice(&len.to_be_bytes()[1..]);
        wire.extend_from_slice(&[frame.kind, frame.flags]);
        wire.extend_from_slice(&frame.stream.to_be_bytes());
        wire.extend_from_slice(&frame.payload);
    }
    wire
}
