//! Pings, silence, floods and the patience of a close handshake, with the time as an argument.

use std::time::Duration;

use super::wire::{BINARY, CLOSE, PING, PONG, close, frame};
use super::{ROLES, codec, output};
use crate::{CloseCode, Codec, Config, Ending, Role, TunnelError};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn config() -> Config {
    Config {
        ping_interval: Some(30 * SECOND),
        ping_timeout: 20 * SECOND,
        close_timeout: 5 * SECOND,
        control_frames_max: 3,
        ..Config::default()
    }
}

fn hear(codec: &mut Codec, at: Duration, opcode: u8, payload: &[u8]) {
    let role = codec.role();
    codec.handle_input(at, &mut frame(role, true, opcode, payload));
}

#[test]
fn silence_is_pinged_then_fatal() {
    for role in ROLES {
        let mut codec = codec(role, &config());
        assert_eq!(codec.poll_timeout(), Some(30 * SECOND));
        codec.handle_timeout(30 * SECOND - MS);
        assert_eq!(output(&mut codec), [], "too early");
        codec.handle_timeout(30 * SECOND);
        assert_eq!(output(&mut codec), [(PING, vec![])]);
        assert_eq!(codec.poll_timeout(), Some(50 * SECOND));
        codec.handle_timeout(50 * SECOND - MS);
        assert_eq!(codec.ending(), None);
        assert_eq!(output(&mut codec), [], "one ping is enough");
        codec.handle_timeout(50 * SECOND);
        let silent = TunnelError::Silent(50 * SECOND);
        assert_eq!(codec.ending(), Some(&Ending::Failed(silent.clone())));
        let reason = silent.to_string();
        let said = [&1011_u16.to_be_bytes()[..], reason.as_bytes()].concat();
        assert_eq!(output(&mut codec), [(CLOSE, said)]);
    }
}

#[test]
fn any_byte_of_the_peer_is_a_sign_of_life() {
    for role in ROLES {
        for (opcode, payload) in [(PONG, &b""[..]), (BINARY, b"x"), (PING, b"")] {
            let mut codec = codec(role, &config());
            hear(&mut codec, 29 * SECOND, opcode, payload);
            output(&mut codec);
            assert_eq!(codec.poll_timeout(), Some(59 * SECOND));
            codec.handle_timeout(59 * SECOND);
            assert_eq!(output(&mut codec), [(PING, vec![])]);
            // The first byte of a frame, long before its end.
            let begun = &mut frame(role, true, opcode, payload)[..1];
            codec.handle_input(78 * SECOND, begun);
            assert_eq!(codec.poll_timeout(), Some(108 * SECOND));
            codec.handle_timeout(79 * SECOND);
            assert_eq!(codec.ending(), None);
        }
    }
}

#[test]
fn without_an_interval_nobody_is_pinged_or_silent() {
    let config = Config {
        ping_interval: None,
        ..config()
    };
    let mut codec = codec(Role::Server, &config);
    assert_eq!(codec.poll_timeout(), None);
    codec.handle_timeout(Duration::MAX);
    assert_eq!(output(&mut codec), []);
    assert_eq!(codec.ending(), None);
}

#[test]
fn a_close_frame_is_waited_for_only_so_long() {
    for role in ROLES {
        let mut codec = codec(role, &config());
        codec.close(7 * SECOND, CloseCode::NORMAL.into());
        output(&mut codec);
        // What arrives is no answer.
        hear(&mut codec, 11 * SECOND, BINARY, b"more");
        assert_eq!(codec.poll_timeout(), Some(12 * SECOND));
        codec.handle_timeout(12 * SECOND - MS);
        assert_eq!(codec.ending(), None);
        codec.handle_timeout(12 * SECOND);
        let unanswered = TunnelError::CloseUnanswered(5 * SECOND);
        assert_eq!(codec.ending(), Some(&Ending::Failed(unanswered)));
        assert_eq!(codec.poll_timeout(), None);
        assert_eq!(output(&mut codec), []);
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_given_up() {
    for role in ROLES {
        let mut codec = codec(role, &config());
        codec.handle_input(SECOND, &mut close(role, 1000, b""));
        assert_eq!(codec.poll_timeout(), Some(6 * SECOND));
        codec.handle_timeout(6 * SECOND);
        assert_eq!(codec.poll_timeout(), None);
        assert_eq!(output(&mut codec), []);
        let closed = Ending::ClosedByPeer(CloseCode::NORMAL.into());
        assert_eq!(codec.ending(), Some(&closed), "the ending stays");
    }
}

#[test]
fn more_frames_without_data_than_allowed_are_a_flood() {
    for role in ROLES {
        for (opcode, payload) in [(PING, &b"x"[..]), (PONG, b""), (BINARY, b"")] {
            let mut codec = codec(role, &config());
            for _ in 0..3 {
                hear(&mut codec, SECOND, opcode, payload);
            }
            assert_eq!(codec.ending(), None);
            hear(&mut codec, SECOND + 999 * MS, opcode, payload);
            let flood = Ending::Failed(TunnelError::ControlFlood(3));
            assert_eq!(codec.ending(), Some(&flood));
            assert_eq!(
                output(&mut codec)
                    .last()
                    .map(|(opcode, payload)| (*opcode, payload[..2].to_vec())),
                Some((CLOSE, 1008_u16.to_be_bytes().to_vec()))
            );
        }
    }
}

#[test]
fn data_and_time_make_room_for_more_control_frames() {
    for role in ROLES {
        let mut codec = codec(role, &config());
        for round in 1..100 {
            for _ in 0..3 {
                hear(&mut codec, SECOND, PING, b"");
            }
            hear(&mut codec, SECOND, BINARY, b"x");
            assert_eq!(codec.ending(), None, "round {round}");
        }
        for round in 2..100 {
            for _ in 0..3 {
                hear(&mut codec, round * SECOND, PING, b"");
            }
            assert_eq!(codec.ending(), None, "second {round}");
        }
    }
}

#[test]
fn times_beyond_the_end_of_time_do_not_overflow() {
    let config = Config {
        ping_interval: Some(Duration::MAX),
        ping_timeout: Duration::MAX,
        close_timeout: Duration::MAX,
        ..Config::default()
    };
    let mut codec = codec(Role::Client, &config);
    hear(&mut codec, SECOND, BINARY, b"x");
    assert_eq!(codec.poll_timeout(), Some(Duration::MAX));
    codec.handle_timeout(Duration::MAX);
    assert_eq!(codec.poll_timeout(), Some(Duration::MAX));
    codec.close(SECOND, CloseCode::NORMAL.into());
    assert_eq!(codec.poll_timeout(), Some(Duration::MAX));
}
