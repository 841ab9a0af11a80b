//! One write is one message, whatever the connection takes of it at a time.

use std::io::{self, IoSlice};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncWrite;

use super::wire::{BINARY, PING, PONG, close, frame, frames};
use super::{ROLES, SECOND, failure, open, open_with, poll_read, read};
use crate::stream::TunnelStream;
use crate::{Close, CloseCode, Config, Ending, Role, TunnelError};

use super::conn::Conn;

fn poll_write(stream: &mut TunnelStream<Conn>, parts: &[&[u8]]) -> Poll<io::Result<usize>> {
    let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(stream).poll_write_vectored(&mut cx, &slices)
}

fn write(stream: &mut TunnelStream<Conn>, parts: &[&[u8]]) -> usize {
    let written = poll_write(stream, parts);
    let Poll::Ready(Ok(count)) = written else {
        panic!("not written but {written:?}");
    };
    count
}

fn flush(stream: &mut TunnelStream<Conn>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    match Pin::new(stream).poll_flush(&mut cx) {
        Poll::Ready(result) => result.map(|()| true).unwrap(),
        Poll::Pending => false,
    }
}

fn binary(payload: &[u8]) -> (u8, Vec<u8>) {
    (BINARY, payload.to_vec())
}

#[test]
fn all_slices_of_a_write_are_one_message_and_one_write_of_the_connection() {
    for role in ROLES {
        for vectored in [true, false] {
            let (mut stream, conn) = open(role);
            conn.inside().vectored = vectored;
            let count = write(&mut stream, &[b"head", b"", b"body", b"trailers"]);
            assert_eq!(count, 16);
            assert_eq!(conn.inside().writes.len(), 1);
            assert_eq!(frames(&conn.wire()), [binary(b"headbodytrailers")]);
        }
    }
}

#[test]
fn a_write_of_nothing_is_no_message() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        assert_eq!(write(&mut stream, &[]), 0);
        assert_eq!(write(&mut stream, &[b"", b""]), 0);
        assert_eq!(conn.inside().writes_tried, 0);
    }
}

#[test]
fn a_long_write_is_accepted_up_to_one_message() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        let half = vec![5; 40_000];
        assert_eq!(write(&mut stream, &[&half, &half]), 65_536);
        assert_eq!(conn.inside().writes.len(), 1);
        assert_eq!(frames(&conn.wire()), [binary(&[5; 65_536])]);
    }
}

#[test]
fn more_slices_than_one_write_takes_are_left_for_the_next() {
    let (mut stream, conn) = open(Role::Server);
    let parts = vec![&b"x"[..]; 100];
    let empties = vec![&b""[..]; 100];
    assert_eq!(write(&mut stream, &[&empties[..], &parts].concat()), 63);
    assert_eq!(frames(&conn.wire()), [binary(&[b'x'; 63])]);
}

#[test]
fn a_message_is_sent_whole_wherever_the_connection_is_full() {
    for role in ROLES {
        for room in 0..=30 {
            let (mut stream, conn) = open(role);
            conn.set_room(room);
            let taken = poll_write(&mut stream, &[b"sixteen ", b"bytes !!"]);
            if role == Role::Server && room == 0 {
                assert!(taken.is_pending(), "nothing has gone out yet");
                conn.set_room(usize::MAX);
                assert_eq!(write(&mut stream, &[b"another"]), 7);
                assert_eq!(frames(&conn.wire()), [binary(b"another")]);
                continue;
            }
            assert!(matches!(taken, Poll::Ready(Ok(16))), "{room}: {taken:?}");
            while !flush(&mut stream) {
                // Not before the first is out.
                assert!(poll_write(&mut stream, &[b"second"]).is_pending());
                conn.set_room(1);
            }
            assert_eq!(frames(&conn.wire()), [binary(b"sixteen bytes !!")]);
            conn.set_room(usize::MAX);
            assert_eq!(write(&mut stream, &[b"second"]), 6);
            assert_eq!(
                frames(&conn.wire()),
                [binary(b"sixteen bytes !!"), binary(b"second")]
            );
        }
    }
}

#[test]
fn control_frames_wait_for_the_end_of_a_message() {
    for role in ROLES {
        for room in 1..=20 {
            let (mut stream, conn) = open(role);
            conn.set_room(room);
            assert_eq!(write(&mut stream, &[b"a message"]), 9);
            conn.arrive(&frame(role, true, PING, b"!"));
            assert!(poll_read(&mut stream, 100).is_pending());
            conn.set_room(usize::MAX);
            assert!(flush(&mut stream));
            assert_eq!(
                frames(&conn.wire()),
                [binary(b"a message"), (PONG, b"!".to_vec())]
            );
        }
    }
}

#[test]
fn a_reader_sends_what_a_writer_left_behind() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        conn.set_room(3);
        write(&mut stream, &[b"left behind"]);
        conn.set_room(usize::MAX);
        assert!(poll_read(&mut stream, 100).is_pending());
        assert_eq!(frames(&conn.wire()), [binary(b"left behind")]);
        assert_eq!(conn.inside().unflushed, 0);
    }
}

#[test]
fn a_peer_that_does_not_read_costs_one_message() {
    let config = Config {
        control_frames_max: u32::MAX,
        message_bytes_max: NonZeroUsize::new(1000).unwrap(),
        ping_interval: None,
        ..Config::default()
    };
    for role in ROLES {
        let (mut stream, conn) = open_with(role, &config);
        conn.set_room(1);
        assert_eq!(write(&mut stream, &[&[1; 99][..]; 50]), 1000);
        for _ in 0..1000 {
            conn.arrive(&frame(role, true, PING, &[2; 125]));
            assert!(poll_read(&mut stream, 100).is_pending());
            assert!(poll_write(&mut stream, &[&[3; 5000]]).is_pending());
        }
        assert!(
            stream.out.room_bytes() <= 1014,
            "{}",
            stream.out.room_bytes()
        );
        conn.set_room(usize::MAX);
        assert!(flush(&mut stream));
        assert_eq!(
            frames(&conn.wire()),
            [binary(&[1; 1000]), (PONG, vec![2; 125])]
        );
    }
}

#[test]
fn a_server_gives_its_room_back_and_a_client_uses_it_again() {
    let (mut stream, conn) = open(Role::Server);
    conn.set_room(1);
    write(&mut stream, &[&[1; 50_000]]);
    assert!(stream.out.room_bytes() >= 50_000);
    conn.set_room(usize::MAX);
    assert!(flush(&mut stream));
    assert_eq!(stream.out.room_bytes(), 0);

    let (mut stream, _) = open(Role::Client);
    write(&mut stream, &[&[1; 65_536]]);
    let room = stream.out.room_bytes();
    assert_eq!(room, 65_536 + 14);
    write(&mut stream, &[&[1; 65_536]]);
    assert_eq!(stream.out.room_bytes(), room);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_takes_nothing_for_good_is_still_read() {
    let kind = io::ErrorKind::ConnectionReset;
    let lost = (kind, TunnelError::Connection(kind));
    for role in ROLES {
        let (mut stream, conn) = open(role);
        conn.inside().write_error = Some(kind);
        let refused = poll_write(&mut stream, &[b"x"]);
        assert!(matches!(refused, Poll::Ready(Err(error)) if error.kind() == kind));
        let again = poll_write(&mut stream, &[b"x"]).map_ok(|_| Vec::new());
        assert_eq!(failure(again), lost);
        let mut cx = Context::from_waker(Waker::noop());
        let flushed = Pin::new(&mut stream).poll_flush(&mut cx);
        assert_eq!(failure(flushed.map_ok(|()| Vec::new())), lost);

        // The peer's last words explain it.
        conn.arrive(&frame(role, true, BINARY, b"before you were too big"));
        conn.arrive(&frame(role, true, PING, b""));
        assert_eq!(read(&mut stream), b"before you were too big");
        assert!(poll_read(&mut stream, 10).is_pending());
        conn.arrive(&close(role, 1009, b"too big"));
        let theirs = Close::new(CloseCode::TOO_BIG, "too big");
        let (_, error) = failure(poll_read(&mut stream, 10));
        assert_eq!(error, TunnelError::ClosedByPeer(theirs));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_takes_nothing_for_good_is_read_only_so_long() {
    let kind = io::ErrorKind::BrokenPipe;
    let lost = (kind, TunnelError::Connection(kind));
    for role in ROLES {
        // Found by a writer, or by a reader with a pong to send.
        for by_writer in [true, false] {
            for end in [true, false] {
                let (mut stream, conn) = open(role);
                conn.inside().write_error = Some(kind);
                if by_writer {
                    assert!(poll_write(&mut stream, &[b"x"]).is_ready());
                } else {
                    conn.arrive(&frame(role, true, PING, b""));
                }
                assert!(poll_read(&mut stream, 10).is_pending());
                match end {
                    true => conn.end(),
                    false => tokio::time::advance(5 * SECOND).await,
                }
                assert_eq!(failure(poll_read(&mut stream, 10)), lost);
                let handle = stream.handle();
                assert_eq!(handle.ending(), Some(Ending::Failed(lost.1.clone())));
            }
        }
        let (mut stream, conn) = open(role);
        conn.inside().write_error = Some(kind);
        assert!(poll_write(&mut stream, &[b"x"]).is_ready());
        let handle = stream.handle();
        drop(stream);
        assert_eq!(handle.ending(), Some(Ending::Failed(lost.1.clone())));
    }
}

#[test]
fn what_was_sent_is_counted() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        write(&mut stream, &[b"12345"]);
        write(&mut stream, &[b"678"]);
        conn.arrive(&frame(role, true, BINARY, b"four"));
        let _ = poll_read(&mut stream, 100);
        conn.arrive(&frame(role, true, PING, b"not counted"));
        let _ = poll_read(&mut stream, 100);
        let activity = stream.handle().activity();
        assert_eq!(activity.sent_bytes, 8);
        assert_eq!(activity.sent_messages, 2);
        assert_eq!(activity.received_bytes, 4);
    }
}
