//! Looks at the HTTP/2 frames that come in, for what the HTTP/2 library does not tell.
//!
//! Fed by `wire` with every byte that is read, before the library gets it. It wants to know three things:
//! that the peer speaks HTTP/2 at all (its first frame must be SETTINGS), that SETTINGS came, and
//! what a GOAWAY says: the last stream the server has looked at decides which calls may be made
//! again. Pure. Invariants: any split of the bytes gives the same answers; memory is bounded by
//! [`TEXT_BYTES_MAX`]; it changes and rejects nothing but a foreign first frame.

use std::sync::{Arc, Mutex, PoisonError};

use h2::Reason;

use crate::error::CloseReason;

const HEADER_BYTES: usize = 9;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

/// How much of the text of a GOAWAY is kept. Bytes.
const TEXT_BYTES_MAX: usize = 128;
/// Last stream and code, then the text. Source: RFC 9113 6.8.
const GOAWAY_FIXED_BYTES: usize = 8;

/// What a GOAWAY says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoAway {
    /// Streams above this one were not looked at.
    pub last_stream: u32,
    pub code: u32,
    pub text: String,
}

impl GoAway {
    /// As observers and callers are told.
    pub(crate) fn reason(&self) -> CloseReason {
        let text = if self.text.is_empty() {
            String::new()
        } else {
            format!(": {}", self.text.escape_debug())
        };
        CloseReason::GoAway {
            code: crate::error::reason_name(Reason::from(self.code)),
            text,
        }
    }

    /// Whether the server complains of our PINGs. Source: gRPC proposal A8.
    pub(crate) fn is_too_many_pings(&self) -> bool {
        Reason::from(self.code) == Reason::ENHANCE_YOUR_CALM && self.text == "too_many_pings"
    }
}

/// Where the last GOAWAY of a connection is kept: written as it is read, so that whoever gets an error
/// that comes of it finds it there.
#[derive(Clone, Debug, Default)]
pub(crate) struct GoAwayCell(Arc<Mutex<Option<GoAway>>>);

impl GoAwayCell {
    pub(crate) fn put(&self, go_away: GoAway) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(go_away);
    }

    pub(crate) fn last(&self) -> Option<GoAway> {
        let cell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cell.clone()
    }
}

/// What was seen among the frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The peer's settings, first or later.
    Settings,
    GoAway(GoAway),
}

#[derive(Debug, Default)]
pub(crate) struct FrameWatch {
    header: [u8; HEADER_BYTES],
    header_len: usize,
    /// Bytes of the payload that are still to come.
    payload_left: usize,
    /// The beginning of a GOAWAY's payload.
    payload: Vec<u8>,
    begun: bool,
}

impl FrameWatch {
    /// Takes the next bytes and says what it sees in them.
    ///
    /// # Errors
    /// The first bytes, when they are no SETTINGS frame.
    pub(crate) fn handle(
        &mut self,
        mut bytes: &[u8],
        mut seen: impl FnMut(Seen),
    ) -> Result<(), String> {
        while !bytes.is_empty() {
            if self.header_len < HEADER_BYTES {
                let count = bytes.len().min(HEADER_BYTES - self.header_len);
                self.header[self.header_len..self.header_len + count]
                    .copy_from_slice(&bytes[..count]);
                self.header_len += count;
                if self.header_len < HEADER_BYTES {
                    return Ok(());
                }
                if !self.begun && !is_first_frame(&self.header) {
                    return Err(describe(&self.header, &bytes[count..]));
                }
                self.begun = true;
                bytes = &bytes[count..];
                self.payload_left = payload_len(&self.header);
            }
            let count = bytes.len().min(self.payload_left);
            if self.kind() == GOAWAY {
                let wanted = GOAWAY_FIXED_BYTES + TEXT_BYTES_MAX - self.payload.len();
                self.payload.extend_from_slice(&bytes[..count.min(wanted)]);
            }
            bytes = &bytes[count..];
            self.payload_left -= count;
            if self.payload_left == 0 {
                self.end_frame(&mut seen);
            }
        }
        Ok(())
    }

    /// What came so far, if it is too little for a frame: perhaps all that a foreign server says.
    pub(crate) fn beginning(&self) -> Option<String> {
        let first = &self.header[..self.header_len];
        (!self.begun && !first.is_empty()).then(|| describe(first, &[]))
    }

    fn end_frame(&mut self, seen: &mut impl FnMut(Seen)) {
        match self.kind() {
            SETTINGS if self.header[4] & ACK == 0 => seen(Seen::Settings),
            GOAWAY => {
                if let Some(go_away) = parse_go_away(&self.payload) {
                    seen(Seen::GoAway(go_away));
                }
                self.payload = Vec::new();
            }
            _ => {}
        }
        self.header_len = 0;
    }

    fn kind(&self) -> u8 {
        self.header[3]
    }
}

fn payload_len(header: &[u8; HEADER_BYTES]) -> usize {
    usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2])
}

fn is_first_frame(header: &[u8; HEADER_BYTES]) -> bool {
    // A SETTINGS frame of a million settings is a web page that happens to look like one.
    header[3] == SETTINGS && header[4] & ACK == 0 && header[5..] == [0; 4] && header[0] == 0
}

fn parse_go_away(payload: &[u8]) -> Option<GoAway> {
    let (fixed, text) = payload.split_first_chunk::<GOAWAY_FIXED_BYTES>()?;
    let number =
        |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    Some(GoAway {
        last_stream: number(0) & 0x7fff_ffff,
        code: number(4),
        text: String::from_utf8_lossy(text).into_owned(),
    })
}

/// The first line of what came instead of HTTP/2.
fn describe(header: &[u8], rest: &[u8]) -> String {
    const SHOWN_MAX: usize = 60;
    let mut first = header.to_vec();
    first.extend_from_slice(&rest[..rest.len().min(SHOWN_MAX)]);
    if first.starts_with(b"HTTP/1") {
        let line = first.split(|byte| *byte == b'\r').next().unwrap_or(&first);
        let line = String::from_utf8_lossy(line);
        return format!("it answers in HTTP/1.1, {:?}", &*line);
    }
    if matches!(first.as_slice(), [0x15 | 0x16, 3, ..]) {
        return "it answers in TLS: use https:// or wss://".to_owned();
    }
    format!(
        "its first bytes are {:?}",
        header.escape_ascii().to_string()
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    fn go_away(last: u32, code: u32, text: &[u8]) -> Vec<u8> {
        let payload = [&last.to_be_bytes()[..], &code.to_be_bytes(), text].concat();
        frame(GOAWAY, 0, 0, &payload)
    }

    fn seen(pieces: &[&[u8]]) -> Result<Vec<Seen>, String> {
        let mut watch = FrameWatch::default();
        let mut all = Vec::new();
        for piece in pieces {
            watch.handle(piece, |seen| all.push(seen))?;
        }
        Ok(all)
    }

    #[test]
    fn settings_and_goaway_are_seen_wherever_the_bytes_are_cut() {
        let bytes = [
            frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
            frame(SETTINGS, ACK, 0, &[]),
            frame(0, 1, 5, b"data that is no frame \x00\x00\x00\x07"),
            go_away(0x8000_0007, 11, b"too_many_pings"),
            frame(SETTINGS, 0, 0, &[]),
        ]
        .concat();
        let expected = vec![
            Seen::Settings,
            Seen::GoAway(GoAway {
                last_stream: 7,
                code: 11,
                text: "too_many_pings".to_owned(),
            }),
            Seen::Settings,
        ];
        for cut in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(seen(&[head, tail]), Ok(expected.clone()), "cut at {cut}");
        }
        let mut watch = FrameWatch::default();
        watch.handle(&bytes[..5], |_| {}).expect("too little");
        assert!(watch.beginning().is_some());
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(seen(&single), Ok(expected));
    }

    #[test]
    fn a_goaway_tells_what_observers_want_to_know() {
        let bytes = [frame(SETTINGS, 0, 0, &[]), go_away(3, 0, &[b'x'; 5000])].concat();
        let Ok(all) = seen(&[&bytes]) else {
            panic!("is HTTP/2");
        };
        let Some(Seen::GoAway(go_away)) = all.last() else {
            panic!("{all:?}");
        };
        assert_eq!(go_away.text.len(), TEXT_BYTES_MAX);
        let text = go_away.reason().to_string();
        assert!(text.contains("GOAWAY NO_ERROR: xxx"), "{text}");
    }

    #[test]
    fn a_goaway_that_is_too_short_is_left_to_the_library() {
        let bytes = [frame(SETTINGS, 0, 0, &[]), frame(GOAWAY, 0, 0, &[1, 2, 3])].concat();
        assert_eq!(seen(&[&bytes]), Ok(vec![Seen::Settings]));
    }

    #[test]
    fn what_is_not_http2_is_named() {
        let table: [(&[u8], &str); 4] = [
            (
                b"HTTP/1.1 400 Bad Request\r\n\r\n",
                "HTTP/1.1 400 Bad Request",
            ),
            (b"\x15\x03\x03\x00\x02\x02\x46\x00\x00\x00", "use https://"),
            (b"SSH-2.0-OpenSSH_9", "SSH-2.0-O"),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 1, 1], "first bytes"),
        ];
        for (bytes, expected) in table {
            let error = seen(&[bytes]).expect_err("foreign");
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_survived(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            size in 1_usize..50,
        ) {
            let mut stream = frame(SETTINGS, 0, 0, &[]);
            stream.extend_from_slice(&bytes);
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            prop_assert_eq!(seen(&pieces), seen(&[&stream]));
        }
    }
}
