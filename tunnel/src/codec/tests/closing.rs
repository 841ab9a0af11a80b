//! How a tunnel ends: by either side, by both, by the connection, by nobody.

use std::time::Duration;

use super::wire::{BINARY, CLOSE, PING, PONG, close, frame};
use super::{ROLES, codec, message, output};
use crate::{Close, CloseCode, Config, Ending, Role, TunnelError};

#[test]
fn after_our_close_nothing_is_said_but_everything_is_heard() {
    for role in ROLES {
        let mut codec = codec(role, &Config::default());
        let ours = Close::new(CloseCode::GOING_AWAY, "drain");
        codec.close(Duration::ZERO, ours.clone());
        assert_eq!(message(&mut codec, b"late"), Err(TunnelError::Closing));
        let closed = [&1001_u16.to_be_bytes()[..], b"drain"].concat();
        assert_eq!(output(&mut codec), [(CLOSE, closed)]);

        let mut wire = [
            frame(role, true, BINARY, b"on its way"),
            frame(role, true, PING, b"hello?"),
            close(role, 1001, b""),
        ]
        .concat();
        assert_eq!(codec.handle_input(Duration::ZERO, &mut wire), 10);
        assert_eq!(&wire[..10], b"on its way");
        assert_eq!(output(&mut codec), [], "no pong and no second close");
        assert_eq!(codec.ending(), Some(&Ending::ClosedByUs(ours)));
        // Too late: the tunnel has ended.
        codec.close(Duration::ZERO, CloseCode::INTERNAL.into());
        assert_eq!(output(&mut codec), []);
    }
}

#[test]
fn what_was_due_goes_out_before_our_close() {
    let mut server = codec(Role::Server, &Config::default());
    server.handle_input(Duration::ZERO, &mut frame(Role::Server, true, PING, b"?"));
    server.close(Duration::ZERO, CloseCode::NORMAL.into());
    let said = output(&mut server);
    assert_eq!(said[0], (PONG, b"?".to_vec()));
    assert_eq!(said[1], (CLOSE, 1000_u16.to_be_bytes().to_vec()));
}

#[test]
fn both_ends_may_close_at_once() {
    let config = Config::default();
    let mut ends = ROLES.map(|role| codec(role, &config));
    let mut wires = [Vec::new(), Vec::new()];
    for (end, wire) in ends.iter_mut().zip(&mut wires) {
        end.close(Duration::ZERO, CloseCode::NORMAL.into());
        end.poll_output(wire);
    }
    wires.swap(0, 1);
    for (end, wire) in ends.iter_mut().zip(&mut wires) {
        end.handle_input(Duration::ZERO, wire);
        assert_eq!(
            end.ending(),
            Some(&Ending::ClosedByUs(CloseCode::NORMAL.into()))
        );
        assert_eq!(output(end), []);
    }
}

#[test]
fn a_connection_that_ends_without_a_close_frame_has_vanished() {
    for role in ROLES {
        let wire = frame(role, true, BINARY, b"data");
        for cut in 0..=wire.len() {
            let mut codec = codec(role, &Config::default());
            codec.handle_input(Duration::ZERO, &mut wire[..cut].to_vec());
            codec.handle_end_of_input(Duration::ZERO);
            assert_eq!(codec.ending(), Some(&Ending::Failed(TunnelError::Vanished)));
            assert_eq!(output(&mut codec), []);
            assert_eq!(message(&mut codec, b"x"), Err(TunnelError::Vanished));
        }
    }
}

#[test]
fn a_connection_that_ends_after_our_close_was_closed_by_us() {
    let ours = Close::from(CloseCode::RESTART);
    let mut server = codec(Role::Server, &Config::default());
    server.close(Duration::ZERO, ours.clone());
    output(&mut server);
    server.handle_end_of_input(Duration::ZERO);
    assert_eq!(server.ending(), Some(&Ending::ClosedByUs(ours.clone())));

    // Our close frame was never written, so the peer cannot have agreed.
    let mut server = codec(Role::Server, &Config::default());
    server.close(Duration::ZERO, ours);
    server.handle_end_of_input(Duration::ZERO);
    assert_eq!(
        server.ending(),
        Some(&Ending::Failed(TunnelError::Vanished))
    );
}

#[test]
fn a_dropped_tunnel_was_closed_by_us_or_given_up() {
    let ours = Close::from(CloseCode::NORMAL);
    let mut closed = codec(Role::Server, &Config::default());
    closed.close(Duration::ZERO, ours.clone());
    assert_eq!(
        codec(Role::Server, &Config::default()).handle_drop(),
        Ending::Failed(TunnelError::Aborted)
    );
    output(&mut closed);
    assert_eq!(closed.handle_drop(), Ending::ClosedByUs(ours));
}

#[test]
fn an_abort_says_and_hears_nothing_more() {
    for role in ROLES {
        let mut codec = codec(role, &Config::default());
        codec.handle_input(Duration::ZERO, &mut frame(role, true, PING, b"?"));
        codec.abort(TunnelError::Aborted);
        assert_eq!(output(&mut codec), []);
        assert_eq!(codec.poll_timeout(), None);
        let mut wire = frame(role, true, BINARY, b"data");
        assert_eq!(codec.handle_input(Duration::ZERO, &mut wire), 0);
        assert_eq!(codec.ending(), Some(&Ending::Failed(TunnelError::Aborted)));
    }
}

#[test]
fn an_output_that_fails_leaves_the_input_to_be_read() {
    let kind = std::io::ErrorKind::BrokenPipe;
    let lost = TunnelError::Connection(kind);
    let failed = Some(Ending::Failed(lost.clone()));
    let second = Duration::from_secs(1);
    for role in ROLES {
        let broken = || {
            let mut codec = codec(role, &Config::default());
            codec.handle_output_failure(second, kind);
            assert_eq!(message(&mut codec, b"x"), Err(lost.clone()));
            codec
        };
        let mut explained = broken();
        let mut wire = [frame(role, true, BINARY, b"data"), close(role, 1009, b"")].concat();
        assert_eq!(explained.handle_input(second, &mut wire), 4);
        let theirs = Ending::ClosedByPeer(CloseCode::TOO_BIG.into());
        assert_eq!(explained.ending(), Some(&theirs));
        assert_eq!(output(&mut explained), [], "nobody hears an answer");

        let mut ended = broken();
        ended.handle_end_of_input(second);
        assert_eq!(ended.ending().cloned(), failed);

        let mut silent = broken();
        silent.handle_timeout(6 * second);
        assert_eq!(silent.ending().cloned(), failed);
        assert_eq!(silent.poll_timeout(), None);

        assert_eq!(Some(broken().handle_drop()), failed);
    }
}

#[test]
fn a_close_that_an_output_failure_overtakes_was_not_said() {
    let mut server = codec(Role::Server, &Config::default());
    server.close(Duration::ZERO, CloseCode::NORMAL.into());
    let kind = std::io::ErrorKind::BrokenPipe;
    server.handle_output_failure(Duration::ZERO, kind);
    server.handle_end_of_input(Duration::ZERO);
    let lost = Ending::Failed(TunnelError::Connection(kind));
    assert_eq!(server.ending(), Some(&lost));
}
