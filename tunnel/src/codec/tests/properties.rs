//! What holds for every wire and every cut: tried on random ones; the same on wasm32.

use std::num::NonZeroUsize;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::wire::{BINARY, CONTINUATION, PING, PONG, close, frame, frames, mask};
use super::{Outcome, codec, message, other, outcome};
use crate::{Close, CloseCode, Codec, Config, Role};

/// What a peer may do that follows the protocol.
#[derive(Clone, Debug)]
enum Act {
    /// A message of these fragments.
    Message(Vec<Vec<u8>>),
    /// A control frame after this many fragments of the next message.
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

fn act() -> impl Strategy<Value = Act> {
    let payload = prop_oneof![
        4 => vec(any::<u8>(), 0..20),
        2 => vec(any::<u8>(), 120..140),
        1 => vec(any::<u8>(), 65_530..65_545),
    ];
    prop_oneof![
        3 => vec(payload, 1..5).prop_map(Act::Message),
        1 => vec(any::<u8>(), 0..=125).prop_map(Act::Ping),
        1 => vec(any::<u8>(), 0..=125).prop_map(Act::Pong),
    ]
}

/// The wire of these acts for `reader`, control frames put between fragments of messages.
fn wire(reader: Role, acts: &[Act]) -> Vec<u8> {
    let (controls, messages): (Vec<_>, Vec<_>) =
        acts.iter().partition(|act| !matches!(act, Act::Message(_)));
    let mut controls = controls.into_iter();
    let mut wire = Vec::new();
    let mut say_control = |wire: &mut Vec<u8>| match controls.next() {
        Some(Act::Ping(payload)) => wire.extend(frame(reader, true, PING, payload)),
        Some(Act::Pong(payload)) => wire.extend(frame(reader, true, PONG, payload)),
        Some(Act::Message(_)) | None => {}
    };
    for act in messages {
        let Act::Message(fragments) = act else {
            continue;
        };
        for (at, fragment) in fragments.iter().enumerate() {
            let opcode = if at == 0 { BINARY } else { CONTINUATION };
            let last = at + 1 == fragments.len();
            wire.extend(frame(reader, last, opcode, fragment));
            say_control(&mut wire);
        }
    }
    for _ in acts {
        say_control(&mut wire);
    }
    wire
}

fn stream(acts: &[Act]) -> Vec<u8> {
    let fragments = acts.iter().filter_map(|act| match act {
        Act::Message(fragments) => Some(fragments.concat()),
        Act::Ping(_) | Act::Pong(_) => None,
    });
    fragments.collect::<Vec<_>>().concat()
}

/// `bytes` in pieces of these lengths over and over.
fn pieces<'a>(bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    let mut rest = bytes;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = lengths.next().map_or(rest.len(), |length| *length);
        let (piece, behind) = rest.split_at(length.clamp(1, rest.len()));
        found.push(piece);
        rest = behind;
    }
    found
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..8_usize, 1..70_000_usize], 1..8)
}

fn without_flood_limit() -> Config {
    Config {
        control_frames_max: u32::MAX,
        ..Config::default()
    }
}

proptest! {
    #[test]
    fn any_conversation_in_any_pieces_becomes_the_stream(
        role in role(),
        acts in vec(act(), 0..12),
        cuts in cuts(),
        code in 3000..4999_u16,
    ) {
        let mut wire = wire(role, &acts);
        wire.extend(close(role, code, b"done"));
        let found = outcome(role, &without_flood_limit(), pieces(&wire, &cuts));

        let close = Close::new(CloseCode::new(code).unwrap(), "done");
        let mut expected = Outcome::closed(&stream(&acts), close);
        let last_ping = acts.iter().rev().find_map(|act| match act {
            Act::Ping(payload) => Some(payload),
            Act::Message(_) | Act::Pong(_) => None,
        });
        if let Some(payload) = last_ping {
            expected = expected.saying(PONG, payload);
        }
        prop_assert!(found == expected, "{} bytes of {}", found.stream.len(), expected.stream.len());
    }

    #[test]
    fn what_one_end_sends_the_other_reads(
        sender in role(),
        writes in vec(vec(any::<u8>(), 0..3000), 0..20),
        message_bytes_max in 1..2000_usize,
        pings in any::<bool>(),
        cuts in cuts(),
    ) {
        let config = Config {
            message_bytes_max: NonZeroUsize::new(message_bytes_max).unwrap(),
            ping_interval: pings.then_some(Duration::from_secs(1)),
            ping_timeout: Duration::MAX,
            ..without_flood_limit()
        };
        let mut sending = codec(sender, &config);
        let mut wire = Vec::new();
        for write in &writes {
            let mut rest = &write[..];
            while !rest.is_empty() {
                let count = rest.len().min(message_bytes_max);
                wire.extend(message(&mut sending, rest).unwrap());
                rest = &rest[count..];
                sending.handle_timeout(Duration::from_secs(1));
                sending.poll_output(&mut wire);
            }
        }
        let found = outcome(other(sender), &config, pieces(&wire, &cuts));
        prop_assert_eq!(found.stream, writes.concat());
        prop_assert_eq!(found.ending, None);
        let pinged = pings && !wire.is_empty();
        prop_assert_eq!(found.said, vec![(PONG, vec![]); usize::from(pinged)]);
    }

    #[test]
    fn any_bytes_in_any_pieces_have_one_meaning(
        role in role(),
        bytes in hostile(),
        frame_bytes_max in prop_oneof![0..200_u64, Just(u64::MAX)],
        control_frames_max in 0..5_u32,
        cuts in cuts(),
    ) {
        let config = Config { frame_bytes_max, control_frames_max, ..Config::default() };
        let whole = outcome(role, &config, [&bytes[..]]);
        prop_assert!(whole.stream.len() <= bytes.len());
        let cut = outcome(role, &config, pieces(&bytes, &cuts));
        prop_assert_eq!(cut, whole);
    }

    #[test]
    fn any_order_of_calls_keeps_the_promises(role in role(), calls in vec(call(), 0..40)) {
        let config = Config {
            ping_interval: Some(Duration::from_secs(3)),
            ping_timeout: Duration::from_secs(2),
            ..Config::default()
        };
        let mut codec = codec(role, &config);
        let mut now = Duration::ZERO;
        let mut said = Vec::new();
        for call in calls {
            let before = codec.ending().cloned();
            make(&mut codec, &mut now, &mut said, call);
            if before.is_some() {
                prop_assert_eq!(codec.ending().cloned(), before, "an ending is final");
            }
        }
        let said = frames(&said);
        let closes = said.iter().filter(|(opcode, _)| *opcode == super::CLOSE).count();
        prop_assert!(closes <= 1);
        let last = said.last().map(|(opcode, _)| *opcode);
        prop_assert!(closes == 0 || last == Some(super::CLOSE), "something follows the close");
    }
}

/// Bytes that get deeper into the codec than random ones: frames with one byte changed.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let mutated = (
        role(),
        vec(act(), 1..6),
        any::<prop::sample::Index>(),
        any::<u8>(),
    );
    let mutated = mutated.prop_map(|(role, acts, at, byte)| {
        let mut wire = wire(role, &acts);
        wire.truncate(2000);
        if !wire.is_empty() {
            let at = at.index(wire.len());
            wire[at] ^= byte;
        }
        wire
    });
    prop_oneof![
        1 => vec(any::<u8>(), 0..300),
        3 => mutated,
    ]
}

/// One call of the codec's interface.
#[derive(Clone, Debug)]
enum Call {
    Input(Vec<u8>),
    Frame(bool, u8, Vec<u8>),
    Time(u64),
    Write(usize),
    Output,
    Close,
    EndOfInput,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        1 => vec(any::<u8>(), 0..10).prop_map(Call::Input),
        6 => (any::<bool>(), 0..11_u8, vec(any::<u8>(), 0..10))
            .prop_map(|(last, opcode, payload)| Call::Frame(last, opcode, payload)),
        4 => (0..3000_u64).prop_map(Call::Time),
        4 => (0..200_usize).prop_map(Call::Write),
        4 => Just(Call::Output),
        1 => Just(Call::Close),
        1 => Just(Call::EndOfInput),
    ]
}

fn make(codec: &mut Codec, now: &mut Duration, said: &mut Vec<u8>, call: Call) {
    match call {
        Call::Input(mut bytes) => {
            codec.handle_input(*now, &mut bytes);
        }
        Call::Frame(last, opcode, payload) => {
            codec.handle_input(*now, &mut frame(codec.role(), last, opcode, &payload));
        }
        Call::Time(ms) => {
            *now += Duration::from_millis(ms);
            codec.handle_timeout(*now);
        }
        Call::Write(count) => said.extend(message(codec, &vec![1; count]).unwrap_or_default()),
        Call::Output => {
            codec.poll_output(said);
        }
        Call::Close => codec.close(*now, CloseCode::NORMAL.into()),
        Call::EndOfInput => codec.handle_end_of_input(*now),
    }
}

proptest! {
    #[test]
    fn a_mask_applied_twice_is_none(
        key in any::<[u8; 4]>(),
        bytes in vec(any::<u8>(), 0..300),
        cuts in cuts(),
    ) {
        let mut masked = bytes.clone();
        let mut running = crate::Mask::new(key);
        let mut at = 0;
        for piece in pieces(&bytes, &cuts) {
            running.apply(&mut masked[at..at + piece.len()]);
            at += piece.len();
        }
        prop_assert_eq!(mask(key, &masked), bytes);
    }
}
