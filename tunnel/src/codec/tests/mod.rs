//! The codec against wires laid out by hand, each cut at every byte; the same on wasm32.

mod closing;
mod link;
mod properties;
mod timing;
pub(crate) mod wire;

use std::num::NonZeroUsize;
use std::time::Duration;

use super::Codec;
use crate::{Close, CloseCode, Config, Ending, Role, TunnelError};
use wire::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, frame, frames};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

fn codec(role: Role, config: &Config) -> Codec {
    let mut next = 0_u32;
    let keys = move || {
        next = next.wrapping_mul(0x9E37_79B1).wrapping_add(0x7F4A_7C15);
        Some(next.to_be_bytes())
    };
    match role {
        Role::Client => Codec::client(config, keys),
        Role::Server => Codec::server(config),
    }
}

fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

/// A message as `codec` sends it.
fn message(codec: &mut Codec, payload: &[u8]) -> Result<Vec<u8>, TunnelError> {
    let header = codec.message_header(payload.len())?;
    let mut payload = payload[..header.payload_bytes()].to_vec();
    if let Some(mut mask) = header.mask() {
        mask.apply(&mut payload);
    }
    Ok([header.as_slice(), &payload].concat())
}

fn output(codec: &mut Codec) -> Vec<(u8, Vec<u8>)> {
    let mut wire = Vec::new();
    assert_eq!(codec.has_output(), codec.poll_output(&mut wire));
    assert!(!codec.has_output(), "one poll gives all");
    assert!(wire.len() <= 268, "{} bytes of control frames", wire.len());
    frames(&wire)
}

/// What became of an input: the stream, how it ended, what is said in turn.
#[derive(Debug, PartialEq)]
struct Outcome {
    stream: Vec<u8>,
    ending: Option<Ending>,
    said: Vec<(u8, Vec<u8>)>,
}

impl Outcome {
    fn open(stream: &[u8]) -> Self {
        Self {
            stream: stream.to_vec(),
            ending: None,
            said: Vec::new(),
        }
    }

    fn failed(stream: &[u8], error: TunnelError) -> Self {
        let said = error.close_code().map(|code| {
            let reason = error.to_string();
            (
                CLOSE,
                [&code.get().to_be_bytes(), reason.as_bytes()].concat(),
            )
        });
        Self {
            stream: stream.to_vec(),
            ending: Some(Ending::Failed(error)),
            said: said.into_iter().collect(),
        }
    }

    fn closed(stream: &[u8], theirs: Close) -> Self {
        let answer = match theirs.code {
            CloseCode::NO_STATUS => Vec::new(),
            code => code.get().to_be_bytes().to_vec(),
        };
        Self {
            stream: stream.to_vec(),
            ending: Some(Ending::ClosedByPeer(theirs)),
            said: vec![(CLOSE, answer)],
        }
    }

    fn saying(mut self, opcode: u8, payload: &[u8]) -> Self {
        self.said.insert(0, (opcode, payload.to_vec()));
        self
    }
}

fn outcome<'a>(role: Role, config: &Config, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut codec = codec(role, config);
    let mut stream = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let kept = codec.handle_input(Duration::ZERO, &mut piece);
        stream.extend_from_slice(&piece[..kept]);
    }
    Outcome {
        stream,
        ending: codec.ending().cloned(),
        said: output(&mut codec),
    }
}

/// The wire gives this outcome whole, cut in two at every byte, and byte by byte.
fn check(role: Role, config: &Config, wire: &[u8], expected: &Outcome) {
    assert_eq!(outcome(role, config, [wire]), *expected, "{role:?}, whole");
    for cut in 0..=wire.len() {
        let (first, second) = wire.split_at(cut);
        let found = outcome(role, config, [first, second]);
        assert_eq!(found, *expected, "{role:?}, cut at {cut}");
    }
    let found = outcome(role, config, wire.chunks(1));
    assert_eq!(found, *expected, "{role:?}, byte by byte");
}

fn check_both(wire: impl Fn(Role) -> Vec<u8>, expected: &Outcome) {
    for role in ROLES {
        check(role, &Config::default(), &wire(role), expected);
    }
}

#[test]
fn messages_become_a_stream_however_they_are_cut() {
    let long = [7_u8; 300];
    let wire = |role| {
        [
            frame(role, true, BINARY, b"one"),
            frame(role, true, BINARY, b""),
            frame(role, false, BINARY, b"t"),
            frame(role, false, CONTINUATION, b""),
            frame(role, false, CONTINUATION, b"w"),
            frame(role, true, CONTINUATION, b"o"),
            frame(role, true, BINARY, &long),
        ]
        .concat()
    };
    check_both(wire, &Outcome::open(&[&b"onetwo"[..], &long].concat()));
}

#[test]
fn control_frames_may_stand_between_the_frames_of_a_message() {
    let wire = |role| {
        [
            frame(role, false, BINARY, b"be"),
            frame(role, true, PONG, b"unasked"),
            frame(role, true, PING, b"are you there"),
            frame(role, true, CONTINUATION, b"tween"),
        ]
        .concat()
    };
    let expected = Outcome::open(b"between").saying(PONG, b"are you there");
    check_both(wire, &expected);
}

#[test]
fn of_several_pings_the_latest_is_answered() {
    let longest = [b'x'; 125];
    let wire = |role| {
        [
            frame(role, true, PING, b"first"),
            frame(role, true, PING, b""),
            frame(role, true, PING, &longest),
        ]
        .concat()
    };
    check_both(wire, &Outcome::open(b"").saying(PONG, &longest));
}

#[test]
fn a_close_ends_the_stream_and_is_answered_with_its_code() {
    let after = |role, close: Vec<u8>| {
        let data = frame(role, true, BINARY, b"data");
        [&data[..], &close, &data].concat()
    };
    let normal = Close::new(CloseCode::NORMAL, "bye");
    check_both(
        |role| after(role, close(role, 1000, b"bye")),
        &Outcome::closed(b"data", normal),
    );
    let own = CloseCode::new(4999).unwrap();
    check_both(
        |role| after(role, close(role, 4999, b"")),
        &Outcome::closed(b"data", own.into()),
    );
    check_both(
        |role| after(role, frame(role, true, CLOSE, b"")),
        &Outcome::closed(b"data", CloseCode::NO_STATUS.into()),
    );
    let longest = "é".repeat(61) + "!";
    check_both(
        |role| after(role, close(role, 1001, longest.as_bytes())),
        &Outcome::closed(b"data", Close::new(CloseCode::GOING_AWAY, longest.clone())),
    );
}

#[test]
fn a_close_inside_a_message_ends_the_stream_too() {
    let wire = |role| {
        [
            frame(role, false, BINARY, b"half"),
            close(role, 1012, b"restart"),
        ]
        .concat()
    };
    let restart = Close::new(CloseCode::RESTART, "restart");
    check_both(wire, &Outcome::closed(b"half", restart));
}

#[test]
fn close_frames_without_a_valid_code_are_refused() {
    let refused = Outcome::failed(b"", TunnelError::CloseInvalid);
    check_both(|role| frame(role, true, CLOSE, b"x"), &refused);
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        check_both(|role| close(role, code, b""), &refused);
    }
}

#[test]
fn a_reason_that_is_no_utf8_is_refused() {
    let refused = Outcome::failed(b"", TunnelError::CloseReasonNotUtf8);
    check_both(|role| close(role, 1000, b"\xC3\x28"), &refused);
    // Cut in the middle of a character.
    check_both(
        |role| close(role, 1000, "é".as_bytes().split_at(1).0),
        &refused,
    );
}

#[test]
fn what_breaks_the_protocol_is_refused_after_the_data_before_it() {
    let before = |role| frame(role, true, BINARY, b"data");
    let then = |role, bad: Vec<u8>| [before(role), bad].concat();
    let refused = |error| Outcome::failed(b"data", error);
    let first_byte = |byte: u8| {
        move |role| {
            let mut bad = frame(role, true, BINARY, b"x");
            bad[0] = byte;
            then(role, bad)
        }
    };
    for bits in [0x40, 0x20, 0x10] {
        check_both(first_byte(0x82 | bits), &refused(TunnelError::ReservedBits));
    }
    check_both(first_byte(0x83), &refused(TunnelError::UnknownOpcode(3)));
    check_both(first_byte(0x8B), &refused(TunnelError::UnknownOpcode(11)));
    check_both(
        |role| then(role, frame(role, true, TEXT, b"hello")),
        &refused(TunnelError::Text),
    );
    check_both(
        |role| then(role, frame(role, false, PING, b"")),
        &refused(TunnelError::ControlFragmented),
    );
    check_both(
        |role| then(role, frame(role, true, PING, &[0; 126])),
        &refused(TunnelError::ControlTooLong),
    );
    check_both(
        |role| then(role, frame(role, true, CONTINUATION, b"of nothing")),
        &refused(TunnelError::UnexpectedContinuation),
    );
}

#[test]
fn a_message_inside_a_message_is_refused() {
    let wire = |role| {
        [
            frame(role, false, BINARY, b"open"),
            frame(role, true, BINARY, b"another"),
        ]
        .concat()
    };
    let refused = Outcome::failed(b"open", TunnelError::UnfinishedMessage);
    check_both(wire, &refused);
}

#[test]
fn masks_are_for_clients_only_and_for_all_of_theirs() {
    let config = Config::default();
    for opcode in [BINARY, PING, CLOSE] {
        let unmasked = frame(Role::Client, true, opcode, b"");
        let refused = Outcome::failed(b"", TunnelError::Unmasked);
        check(Role::Server, &config, &unmasked, &refused);
        let masked = frame(Role::Server, true, opcode, b"");
        let refused = Outcome::failed(b"", TunnelError::Masked);
        check(Role::Client, &config, &masked, &refused);
    }
}

#[test]
fn a_frame_beyond_the_limit_is_refused_before_its_payload() {
    let config = Config {
        frame_bytes_max: 300,
        ..Config::default()
    };
    for role in ROLES {
        let longest = frame(role, false, BINARY, &[1; 300]);
        let more = frame(role, true, CONTINUATION, &[1; 300]);
        let both = [longest, more].concat();
        check(role, &config, &both, &Outcome::open(&[1; 600]));

        let header_bytes = if role == Role::Server { 8 } else { 4 };
        let longer = &frame(role, true, BINARY, &[1; 301])[..header_bytes];
        let error = TunnelError::FrameTooLarge {
            bytes: 301,
            bytes_max: 300,
        };
        check(role, &config, longer, &Outcome::failed(b"", error));
    }
}

#[test]
fn a_frame_of_any_length_there_is_may_be_allowed() {
    let config = Config {
        frame_bytes_max: u64::MAX,
        ..Config::default()
    };
    let mut wire = vec![0x82, 127];
    wire.extend((u64::MAX >> 1).to_be_bytes());
    wire.extend(b"begins");
    check(Role::Client, &config, &wire, &Outcome::open(b"begins"));
}

#[test]
fn a_message_holds_no_more_than_it_may() {
    let config = Config {
        message_bytes_max: NonZeroUsize::new(5).unwrap(),
        ..Config::default()
    };
    for role in ROLES {
        let mut codec = codec(role, &config);
        for (given, sent) in [
            ("", ""),
            ("four", "four"),
            ("fives", "fives"),
            ("sixsix", "sixsi"),
        ] {
            let wire = message(&mut codec, given.as_bytes()).unwrap();
            assert_eq!(frames(&wire), [(BINARY, sent.as_bytes().to_vec())]);
        }
    }
}

#[test]
fn every_frame_of_a_client_has_a_key_of_its_own() {
    let mut client = codec(Role::Client, &Config::default());
    let key = |wire: Vec<u8>| wire[2..6].to_vec();
    let first = key(message(&mut client, b"a").unwrap());
    let second = key(message(&mut client, b"a").unwrap());
    client.close(Duration::ZERO, CloseCode::NORMAL.into());
    let mut wire = Vec::new();
    client.poll_output(&mut wire);
    let third = key(wire);
    assert!(first != second && second != third && first != third);
}

#[test]
fn without_random_bytes_a_client_says_nothing() {
    let config = Config::default();
    let mut client = Codec::client(&config, || None);
    assert_eq!(message(&mut client, b"x"), Err(TunnelError::NoEntropy));

    let mut client = Codec::client(&config, || None);
    client.handle_input(Duration::ZERO, &mut frame(Role::Client, true, PING, b"?"));
    let mut wire = Vec::new();
    assert!(!client.poll_output(&mut wire) && wire.is_empty());
    assert_eq!(
        client.ending(),
        Some(&Ending::Failed(TunnelError::NoEntropy))
    );
}
