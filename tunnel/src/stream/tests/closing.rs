//! The close handshake from both sides, by shutdown and by handle, and what happens without it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::conn::Conn;
use super::wire::{BINARY, CLOSE, PING, TEXT, close, frame, frames};
use super::{ROLES, SECOND, failure, open, open_with, poll_read, read};
use crate::stream::TunnelStream;
use crate::{Close, CloseCode, Config, Ending, Role, TunnelError};

fn shut_down(stream: &mut TunnelStream<Conn>) -> Poll<io::Result<Vec<u8>>> {
    let mut cx = Context::from_waker(Waker::noop());
    let result = Pin::new(stream).poll_shutdown(&mut cx);
    result.map_ok(|()| Vec::new())
}

fn write(stream: &mut TunnelStream<Conn>, bytes: &[u8]) -> Poll<io::Result<Vec<u8>>> {
    let mut cx = Context::from_waker(Waker::noop());
    let result = Pin::new(stream).poll_write(&mut cx, bytes);
    result.map_ok(|_| Vec::new())
}

fn is_done(result: &Poll<io::Result<Vec<u8>>>) -> bool {
    matches!(result, Poll::Ready(Ok(_)))
}

fn normal() -> (u8, Vec<u8>) {
    (CLOSE, 1000_u16.to_be_bytes().to_vec())
}

#[tokio::test(start_paused = true)]
async fn shutdown_says_goodbye_and_waits_for_the_answer() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        assert!(shut_down(&mut stream).is_pending());
        assert_eq!(frames(&conn.wire()), [normal()]);
        assert_eq!(conn.inside().unflushed, 0);
        conn.arrive(&frame(role, true, BINARY, &[0; 10_000]));
        assert!(shut_down(&mut stream).is_pending());
        assert!(!conn.inside().shut_down);
        conn.arrive(&close(role, 1000, b""));
        if role == Role::Client {
            assert!(shut_down(&mut stream).is_pending(), "the server ends first");
            conn.end();
        }
        assert!(is_done(&shut_down(&mut stream)));
        assert!(conn.inside().shut_down);
        assert_eq!(conn.inside().writes.len(), 1, "one close frame");
        let ours = Ending::ClosedByUs(CloseCode::NORMAL.into());
        assert_eq!(stream.handle().closed().await, ours);
        assert_eq!(read(&mut stream), b"", "no error for a reader");
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_answers_a_peer_that_closed_first() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        conn.arrive(&close(role, 1001, b"leaving"));
        assert_eq!(read(&mut stream), b"");
        conn.end();
        assert!(is_done(&shut_down(&mut stream)));
        let answer = (CLOSE, 1001_u16.to_be_bytes().to_vec());
        assert_eq!(frames(&conn.wire()), [answer]);
        let theirs = Close::new(CloseCode::GOING_AWAY, "leaving");
        assert_eq!(stream.handle().ending(), Some(Ending::ClosedByPeer(theirs)));
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_no_longer_than_it_should() {
    for role in ROLES {
        for (room, at_end) in [(usize::MAX, false), (0, false)] {
            let (mut stream, conn) = open(role);
            conn.set_room(room);
            conn.inside().at_end = at_end;
            assert!(shut_down(&mut stream).is_pending());
            tokio::time::advance(4 * SECOND).await;
            assert!(shut_down(&mut stream).is_pending());
            tokio::time::advance(SECOND).await;
            let found = failure(shut_down(&mut stream));
            let unanswered = TunnelError::CloseUnanswered(5 * SECOND);
            assert_eq!(found, (io::ErrorKind::TimedOut, unanswered));
            assert!(conn.inside().shut_down);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_waits_for_the_end_of_the_connection_only_so_long() {
    let (mut stream, conn) = open(Role::Client);
    assert!(shut_down(&mut stream).is_pending());
    conn.arrive(&close(Role::Client, 1000, b""));
    assert!(shut_down(&mut stream).is_pending());
    tokio::time::advance(5 * SECOND).await;
    assert!(is_done(&shut_down(&mut stream)));
    assert!(conn.inside().shut_down);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_stops_talking_puts_off_no_shutdown() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        let wire = frame(role, true, BINARY, &[1; 3000]);
        let result = loop {
            while conn.inside().arrived.len() < 1_000_000 {
                conn.arrive(&wire);
            }
            match shut_down(&mut stream) {
                Poll::Pending => tokio::time::advance(SECOND / 10).await,
                done => break done,
            }
        };
        assert_eq!(failure(result).0, io::ErrorKind::TimedOut);
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_sends_the_rest_of_a_message_first() {
    for role in ROLES {
        for room in 1..12 {
            let (mut stream, conn) = open(role);
            conn.set_room(room);
            assert!(is_done(&write(&mut stream, b"message")));
            for _ in 0..40 {
                assert!(shut_down(&mut stream).is_pending());
                conn.set_room(1);
            }
            assert_eq!(
                frames(&conn.wire()),
                [(BINARY, b"message".to_vec()), normal()]
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_vanished_peer_ends_a_shutdown() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        assert!(shut_down(&mut stream).is_pending());
        conn.end();
        assert!(
            is_done(&shut_down(&mut stream)),
            "it ended after our close frame"
        );

        let (mut stream, conn) = open(role);
        conn.end();
        let vanished = (io::ErrorKind::UnexpectedEof, TunnelError::Vanished);
        assert_eq!(failure(poll_read(&mut stream, 10)), vanished);
        assert_eq!(failure(shut_down(&mut stream)), vanished);
        assert!(conn.inside().shut_down);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handle_closes_after_what_was_written() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        let handle = stream.handle();
        conn.set_room(4);
        assert!(is_done(&write(&mut stream, b"message")));
        handle.close(Close::new(CloseCode::RESTART, "new version"));
        handle.close(CloseCode::INTERNAL.into());
        conn.set_room(usize::MAX);
        let (kind, error) = failure(write(&mut stream, b"late"));
        assert_eq!(
            (kind, error),
            (io::ErrorKind::BrokenPipe, TunnelError::Closing)
        );
        let said = [&1012_u16.to_be_bytes()[..], b"new version"].concat();
        assert_eq!(
            frames(&conn.wire()),
            [(BINARY, b"message".to_vec()), (CLOSE, said)]
        );
        // Reads go on until the answer.
        conn.arrive(&frame(role, true, BINARY, b"on its way"));
        assert_eq!(read(&mut stream), b"on its way");
        assert!(poll_read(&mut stream, 10).is_pending());
        assert_eq!(handle.ending(), None);
        conn.arrive(&close(role, 1012, b""));
        assert_eq!(read(&mut stream), b"");
        let ours = Close::new(CloseCode::RESTART, "new version");
        assert_eq!(handle.closed().await, Ending::ClosedByUs(ours));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_sends_the_close_of_a_handle() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        stream.handle().close(CloseCode::NORMAL.into());
        assert!(poll_read(&mut stream, 10).is_pending());
        assert_eq!(frames(&conn.wire()), [normal()]);
        // And gives up waiting, even while data arrives.
        tokio::time::advance(5 * SECOND).await;
        conn.arrive(&frame(role, true, BINARY, b"still here"));
        let unanswered = TunnelError::CloseUnanswered(5 * SECOND);
        let found = failure(poll_read(&mut stream, 10));
        assert_eq!(found, (io::ErrorKind::TimedOut, unanswered));
    }
}

#[tokio::test(start_paused = true)]
async fn a_handle_ends_a_tunnel_at_once() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        conn.set_room(4);
        assert!(is_done(&write(&mut stream, b"message")));
        let handle = stream.handle();
        handle.close(CloseCode::NORMAL.into());
        handle.close_now();
        conn.set_room(usize::MAX);
        let aborted = (io::ErrorKind::ConnectionAborted, TunnelError::Aborted);
        assert_eq!(failure(poll_read(&mut stream, 10)), aborted);
        assert_eq!(failure(write(&mut stream, b"x")), aborted);
        assert_eq!(failure(shut_down(&mut stream)), aborted);
        assert_eq!(conn.wire().len(), 4, "nothing more went out");
        assert_eq!(handle.closed().await, Ending::Failed(TunnelError::Aborted));
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_close_is_sent_before_the_end_is_told() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        conn.set_room(0);
        conn.arrive(&close(role, 1000, b""));
        assert!(
            poll_read(&mut stream, 10).is_pending(),
            "the peer waits for it"
        );
        conn.set_room(usize::MAX);
        assert_eq!(read(&mut stream), b"");
        assert_eq!(frames(&conn.wire()), [normal()]);

        // Not for ever.
        let (mut stream, conn) = open(role);
        conn.set_room(0);
        conn.arrive(&close(role, 1000, b""));
        assert!(poll_read(&mut stream, 10).is_pending());
        tokio::time::advance(5 * SECOND).await;
        assert_eq!(read(&mut stream), b"");
        assert_eq!(conn.wire(), b"");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_told_even_when_the_connection_is_full_for_a_while() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        conn.set_room(0);
        conn.arrive(&frame(role, true, TEXT, b""));
        assert!(poll_read(&mut stream, 10).is_pending());
        tokio::time::advance(SECOND).await;
        conn.set_room(usize::MAX);
        assert_eq!(failure(poll_read(&mut stream, 10)).1, TunnelError::Text);
        assert_eq!(frames(&conn.wire())[0].1[..2], 1003_u16.to_be_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_tells_its_handle() {
    for role in ROLES {
        let (stream, _conn) = open(role);
        let handle = stream.handle();
        assert_eq!(handle.ending(), None);
        drop(stream);
        assert_eq!(handle.closed().await, Ending::Failed(TunnelError::Aborted));
        // Too late for orders.
        handle.close(CloseCode::NORMAL.into());
        assert_eq!(handle.ending(), Some(Ending::Failed(TunnelError::Aborted)));

        let (mut stream, _conn) = open(role);
        let handle = stream.handle();
        handle.close(CloseCode::GOING_AWAY.into());
        assert!(poll_read(&mut stream, 10).is_pending());
        drop(stream);
        let ours = Ending::ClosedByUs(CloseCode::GOING_AWAY.into());
        assert_eq!(handle.closed().await, ours);
    }
}

#[tokio::test(start_paused = true)]
async fn tunnels_end_cleanly_whoever_begins() {
    for (first, second) in [(Role::Client, Role::Server), (Role::Server, Role::Client)] {
        for capacity in [1, 64] {
            let (one, two) = tokio::io::duplex(capacity);
            let config = Config::default();
            let mut one = TunnelStream::new(one, first, Default::default(), &config);
            let mut two = TunnelStream::new(two, second, Default::default(), &config);
            let begin = async {
                one.write_all(b"last words").await?;
                one.shutdown().await?;
                Ok::<_, io::Error>(one.handle().closed().await)
            };
            let follow = async {
                let mut heard = Vec::new();
                tokio::io::AsyncReadExt::read_to_end(&mut two, &mut heard).await?;
                two.shutdown().await?;
                let ending = two.handle().closed().await;
                drop(two);
                Ok::<_, io::Error>((heard, ending))
            };
            let (ours, theirs) = tokio::try_join!(begin, follow).unwrap();
            let normal = Close::from(CloseCode::NORMAL);
            assert_eq!(ours, Ending::ClosedByUs(normal.clone()));
            assert_eq!(theirs.0, b"last words");
            assert_eq!(theirs.1, Ending::ClosedByPeer(normal));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pings_stop_when_the_tunnel_closes() {
    let config = Config {
        close_timeout: 1000 * SECOND,
        ..Config::default()
    };
    let (mut stream, conn) = open_with(Role::Server, &config);
    assert!(shut_down(&mut stream).is_pending());
    conn.arrive(&frame(Role::Server, true, PING, b"?"));
    tokio::time::advance(900 * SECOND).await;
    assert!(shut_down(&mut stream).is_pending());
    assert_eq!(frames(&conn.wire()), [normal()]);
}
