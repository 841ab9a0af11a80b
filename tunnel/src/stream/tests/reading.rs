//! What arrives goes into the caller's buffer, and what is wrong with it comes after it.

use std::io;
use std::task::Poll;

use bytes::Bytes;

use super::wire::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, frame, frames};
use super::{ROLES, SECOND, failure, open, open_with, poll_read, read};
use crate::stream::TunnelStream;
use crate::{Close, CloseCode, Config, Ending, Role, TunnelError};

use super::conn::Conn;

#[test]
fn one_read_takes_all_that_arrived() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        conn.arrive(&frame(role, true, BINARY, b"one "));
        conn.arrive(&frame(role, true, PING, b"?"));
        conn.arrive(&frame(role, false, BINARY, b"two "));
        conn.arrive(&frame(role, true, CONTINUATION, b"three"));
        assert_eq!(read(&mut stream), b"one two three");
        assert_eq!(conn.inside().reads_tried, 1);
        // The pong did not wait for the next read, and was flushed.
        assert_eq!(frames(&conn.wire()), [(PONG, b"?".to_vec())]);
        assert_eq!(conn.inside().unflushed, 0);
    }
}

#[test]
fn any_size_of_read_gives_the_same_stream() {
    for role in ROLES {
        let long: Vec<u8> = (0..400_u16).map(|n| n as u8).collect();
        let wire = [
            frame(role, false, BINARY, &long),
            frame(role, true, PING, b"?"),
            frame(role, true, CONTINUATION, &long),
            close(role, 1000, b"done"),
        ]
        .concat();
        for room in (1..50).chain([100, 1000]) {
            for read_max in [1, 2, 3, 7, usize::MAX] {
                let (mut stream, conn) = open(role);
                conn.inside().read_max = read_max;
                conn.arrive(&wire);
                let mut stream_bytes = Vec::new();
                loop {
                    match poll_read(&mut stream, room) {
                        Poll::Ready(Ok(bytes)) if bytes.is_empty() => break,
                        Poll::Ready(Ok(bytes)) => stream_bytes.extend(bytes),
                        // It let others have a turn.
                        Poll::Pending => assert!(!conn.inside().arrived.is_empty()),
                        Poll::Ready(Err(error)) => panic!("{error}"),
                    }
                }
                assert_eq!(stream_bytes, [&long[..], &long].concat());
            }
        }
    }
}

#[test]
fn a_read_without_room_is_no_end() {
    let (mut stream, conn) = open(Role::Client);
    conn.arrive(&frame(Role::Client, true, BINARY, b"x"));
    assert!(matches!(poll_read(&mut stream, 0), Poll::Ready(Ok(bytes)) if bytes.is_empty()));
    assert_eq!(read(&mut stream), b"x");
}

#[test]
fn what_came_with_the_handshake_comes_first() {
    for role in ROLES {
        let wire = [
            frame(role, true, BINARY, b"early"),
            frame(role, true, BINARY, b" and late"),
        ]
        .concat();
        for cut in 0..wire.len() {
            let conn = Conn::new();
            let early = Bytes::copy_from_slice(&wire[..cut]);
            let mut stream = TunnelStream::new(conn.clone(), role, early, &Config::default());
            conn.arrive(&wire[cut..]);
            let mut found = Vec::new();
            while found.len() < 14 {
                found.extend(read(&mut stream));
            }
            assert_eq!(found, b"early and late");
        }
    }
}

#[test]
fn bytes_before_a_fault_are_read_before_the_error() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        conn.arrive(&frame(role, true, BINARY, b"data"));
        conn.arrive(&frame(role, true, TEXT, b"text"));
        assert_eq!(read(&mut stream), b"data");
        let refused = (io::ErrorKind::InvalidData, TunnelError::Text);
        assert_eq!(failure(poll_read(&mut stream, 10)), refused);
        assert_eq!(failure(poll_read(&mut stream, 10)), refused, "for good");
        let said = frames(&conn.wire());
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].0, CLOSE);
        assert_eq!(said[0].1[..2], 1003_u16.to_be_bytes());
        assert_eq!(
            stream.handle().ending(),
            Some(Ending::Failed(TunnelError::Text))
        );
    }
}

#[test]
fn a_clean_close_is_the_end_and_another_an_error() {
    for role in ROLES {
        for code in [1000, 1001, 1012] {
            let (mut stream, conn) = open(role);
            conn.arrive(&frame(role, true, BINARY, b"data"));
            conn.arrive(&close(role, code, b""));
            assert_eq!(read(&mut stream), b"data");
            assert_eq!(read(&mut stream), b"");
            assert_eq!(read(&mut stream), b"");
            let answer = (CLOSE, code.to_be_bytes().to_vec());
            assert_eq!(frames(&conn.wire()), [answer]);
        }
        for code in [1002, 1003, 1008, 1009, 1011, 1013, 4000] {
            let (mut stream, conn) = open(role);
            conn.arrive(&close(role, code, b"because"));
            let theirs = Close::new(CloseCode::new(code).unwrap(), "because");
            let (kind, error) = failure(poll_read(&mut stream, 10));
            assert_eq!(kind, io::ErrorKind::ConnectionReset);
            assert_eq!(error, TunnelError::ClosedByPeer(theirs));
        }
    }
}

#[test]
fn a_connection_that_ends_or_fails_is_an_error() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        conn.end();
        let vanished = (io::ErrorKind::UnexpectedEof, TunnelError::Vanished);
        assert_eq!(failure(poll_read(&mut stream, 10)), vanished);

        let (mut stream, conn) = open(role);
        let kind = io::ErrorKind::ConnectionReset;
        conn.inside().read_error = Some(kind);
        assert!(
            matches!(poll_read(&mut stream, 10), Poll::Ready(Err(error)) if error.kind() == kind)
        );
        let failed = TunnelError::Connection(kind);
        assert_eq!(failure(poll_read(&mut stream, 10)), (kind, failed.clone()));
        assert_eq!(stream.handle().ending(), Some(Ending::Failed(failed)));
    }
}

#[test]
fn control_frames_alone_let_others_have_their_turn() {
    let config = Config {
        control_frames_max: u32::MAX,
        ping_interval: None,
        ..Config::default()
    };
    for role in ROLES {
        let (mut stream, conn) = open_with(role, &config);
        conn.inside().read_max = 10;
        for _ in 0..1000 {
            conn.arrive(&frame(role, true, PONG, b"12345678"));
        }
        assert!(poll_read(&mut stream, 100).is_pending());
        assert!(conn.inside().reads_tried < 100);
    }
}

fn pinging() -> Config {
    Config {
        ping_interval: Some(30 * SECOND),
        ping_timeout: 20 * SECOND,
        ..Config::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_then_dead() {
    for role in ROLES {
        let (mut stream, conn) = open_with(role, &pinging());
        assert!(poll_read(&mut stream, 10).is_pending());
        tokio::time::advance(30 * SECOND).await;
        assert!(poll_read(&mut stream, 10).is_pending());
        assert_eq!(frames(&conn.take_wire()), [(PING, vec![])]);
        tokio::time::advance(19 * SECOND).await;
        assert!(poll_read(&mut stream, 10).is_pending());
        tokio::time::advance(SECOND).await;
        let silent = TunnelError::Silent(50 * SECOND);
        let found = failure(poll_read(&mut stream, 10));
        assert_eq!(found, (io::ErrorKind::TimedOut, silent));
        assert_eq!(frames(&conn.wire())[0].1[..2], 1011_u16.to_be_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_whose_connection_is_full_is_not_waited_for() {
    for role in ROLES {
        let (mut stream, conn) = open_with(role, &pinging());
        conn.set_room(0);
        assert!(poll_read(&mut stream, 10).is_pending());
        tokio::time::advance(30 * SECOND).await;
        assert!(poll_read(&mut stream, 10).is_pending());
        tokio::time::advance(20 * SECOND).await;
        let (kind, _) = failure(poll_read(&mut stream, 10));
        assert_eq!(kind, io::ErrorKind::TimedOut);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_was_away_finds_the_answer_before_the_silence() {
    for role in ROLES {
        let (mut stream, conn) = open_with(role, &pinging());
        assert!(poll_read(&mut stream, 10).is_pending());
        tokio::time::advance(30 * SECOND).await;
        assert!(poll_read(&mut stream, 10).is_pending());
        conn.arrive(&frame(role, true, PONG, b""));
        // Nobody polls for an hour: not the peer's fault.
        tokio::time::advance(3600 * SECOND).await;
        assert!(poll_read(&mut stream, 10).is_pending());
        assert_eq!(stream.handle().ending(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_tunnel_is_not_pinged() {
    for role in ROLES {
        let (mut stream, conn) = open_with(role, &pinging());
        for _ in 0..10 {
            tokio::time::advance(20 * SECOND).await;
            conn.arrive(&frame(role, true, BINARY, b"x"));
            assert_eq!(read(&mut stream), b"x");
            assert!(poll_read(&mut stream, 10).is_pending());
        }
        assert_eq!(conn.wire(), b"");
    }
}
