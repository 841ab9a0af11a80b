//! Whoever waits is woken: reader and writer may be different tasks, and orders come from a third.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::conn::Conn;
use super::wire::{PING, close, frame};
use super::{ROLES, SECOND, open, open_with};
use crate::stream::TunnelStream;
use crate::{CloseCode, Config, Role};

/// Counts how often a task was woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Task {
    fn new() -> (Arc<Self>, Waker) {
        let task = Arc::new(Self::default());
        (task.clone(), Waker::from(task))
    }

    fn was_woken(&self) -> bool {
        self.0.swap(0, Ordering::SeqCst) > 0
    }
}

fn reads(stream: &mut TunnelStream<Conn>, waker: &Waker) -> bool {
    let mut bytes = [0; 100];
    let mut buf = ReadBuf::new(&mut bytes);
    let mut cx = Context::from_waker(waker);
    Pin::new(stream).poll_read(&mut cx, &mut buf).is_ready()
}

fn writes(stream: &mut TunnelStream<Conn>, waker: &Waker, bytes: &[u8]) -> bool {
    let mut cx = Context::from_waker(waker);
    Pin::new(stream).poll_write(&mut cx, bytes).is_ready()
}

fn shuts_down(stream: &mut TunnelStream<Conn>, waker: &Waker) -> bool {
    let mut cx = Context::from_waker(waker);
    Pin::new(stream).poll_shutdown(&mut cx).is_ready()
}

#[test]
fn a_full_connection_wakes_reader_and_writer() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        let (reader, reader_waker) = Task::new();
        let (writer, writer_waker) = Task::new();
        conn.set_room(1);
        assert!(writes(&mut stream, &writer_waker, b"message"));
        assert!(!writes(&mut stream, &writer_waker, b"second"));
        // The reader has a pong to send, and finds the connection full as well.
        conn.arrive(&frame(role, true, PING, b"?"));
        assert!(!reads(&mut stream, &reader_waker));
        assert!(!reader.was_woken() && !writer.was_woken());
        conn.set_room(usize::MAX);
        assert!(writer.was_woken(), "the writer still waits");
        assert!(writes(&mut stream, &writer_waker, b"second"));
    }
}

#[test]
fn a_reader_alone_sends_its_pong_when_there_is_room() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        let (reader, waker) = Task::new();
        conn.set_room(0);
        conn.arrive(&frame(role, true, PING, b"?"));
        assert!(!reads(&mut stream, &waker));
        let tried = conn.inside().writes_tried;
        assert!(!reads(&mut stream, &waker));
        assert_eq!(conn.inside().writes_tried, tried, "it is still full");
        conn.set_room(usize::MAX);
        assert!(reader.was_woken());
        assert!(!reads(&mut stream, &waker));
        assert!(!conn.wire().is_empty());
    }
}

#[test]
fn orders_wake_reader_and_writer() {
    for role in ROLES {
        for now in [false, true] {
            let (mut stream, conn) = open(role);
            let (reader, reader_waker) = Task::new();
            let (writer, writer_waker) = Task::new();
            conn.set_room(1);
            assert!(writes(&mut stream, &writer_waker, b"message"));
            assert!(!writes(&mut stream, &writer_waker, b"second"));
            assert!(!reads(&mut stream, &reader_waker));
            let handle = stream.handle();
            match now {
                true => handle.close_now(),
                false => handle.close(CloseCode::NORMAL.into()),
            }
            assert!(reader.was_woken() && writer.was_woken());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_comes_during_a_poll_is_not_missed() {
    // It finds nobody to wake, so the poll has to see it before it waits.
    for role in ROLES {
        let (mut stream, conn) = open(role);
        let (task, waker) = Task::new();
        conn.inside().meddler = Some(stream.handle());
        assert!(!reads(&mut stream, &waker));
        assert!(task.was_woken() || !conn.wire().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_sees_what_a_shutdown_reads() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        let (reader, reader_waker) = Task::new();
        let (closer, closer_waker) = Task::new();
        assert!(!reads(&mut stream, &reader_waker));
        assert!(!shuts_down(&mut stream, &closer_waker));
        // Either may be the one that the connection wakes.
        conn.arrive(&close(role, 1000, b""));
        conn.end();
        assert!(reader.was_woken() && closer.was_woken());
        assert!(shuts_down(&mut stream, &closer_waker));
        assert!(reader.was_woken(), "the tunnel has ended");
        assert!(reads(&mut stream, &reader_waker));
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_woken_though_a_reader_polled_last() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        let (_, reader_waker) = Task::new();
        let (closer, closer_waker) = Task::new();
        assert!(!shuts_down(&mut stream, &closer_waker));
        assert!(!reads(&mut stream, &reader_waker));
        conn.arrive(&close(role, 1000, b""));
        assert!(closer.was_woken());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wake_up_that_comes_during_a_poll_is_not_missed() {
    for role in ROLES {
        // A writer that finds the connection full.
        let (mut stream, conn) = open(role);
        let (writer, waker) = Task::new();
        conn.set_room(1);
        assert!(writes(&mut stream, &waker, b"message"));
        conn.inside().hasty_writes = true;
        assert!(!writes(&mut stream, &waker, b"second"));
        assert!(writer.was_woken());

        // A reader with a pong to send.
        let (mut stream, conn) = open(role);
        let (reader, waker) = Task::new();
        conn.set_room(0);
        conn.inside().hasty_writes = true;
        conn.arrive(&frame(role, true, PING, b"?"));
        assert!(!reads(&mut stream, &waker));
        assert!(reader.was_woken());

        // A task in shutdown, and a reader beside it.
        let (mut stream, conn) = open(role);
        let (closer, closer_waker) = Task::new();
        let (reader, reader_waker) = Task::new();
        conn.inside().hasty_reads = true;
        assert!(!shuts_down(&mut stream, &closer_waker));
        assert!(closer.was_woken());
        assert!(!reads(&mut stream, &reader_waker));
        assert!(reader.was_woken());
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_wakes_the_reader() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        let (reader, reader_waker) = Task::new();
        let (_, writer_waker) = Task::new();
        assert!(!reads(&mut stream, &reader_waker));
        conn.inside().write_error = Some(std::io::ErrorKind::BrokenPipe);
        assert!(writes(&mut stream, &writer_waker, b"x"));
        assert!(reader.was_woken(), "it has only so long now");
        assert!(!reads(&mut stream, &reader_waker));
        tokio::time::advance(6 * SECOND).await;
        assert!(reader.was_woken());
    }
}

#[test]
fn a_reader_flushes_what_it_sent_once() {
    for role in ROLES {
        let (mut stream, conn) = open(role);
        let (reader, waker) = Task::new();
        conn.inside().flush_blocked = true;
        conn.arrive(&frame(role, true, PING, b"?"));
        assert!(!reads(&mut stream, &waker));
        assert!(conn.inside().unflushed > 0 && !reader.was_woken());
        conn.unblock_flush();
        assert!(reader.was_woken());
        assert!(!reads(&mut stream, &waker));
        assert_eq!(conn.inside().unflushed, 0);
        assert!(!reads(&mut stream, &waker));
        assert_eq!(conn.inside().flushes, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_timer_wakes_the_reader() {
    let (mut stream, _conn) = open_with(Role::Server, &Config::default());
    let (reader, waker) = Task::new();
    assert!(!reads(&mut stream, &waker));
    tokio::time::advance(29 * SECOND).await;
    assert!(!reader.was_woken());
    tokio::time::advance(2 * SECOND).await;
    assert!(reader.was_woken());
}

#[test]
fn a_dropped_stream_holds_no_task() {
    let (mut stream, conn) = open(Role::Server);
    let (task, waker) = Task::new();
    conn.set_room(0);
    assert!(!reads(&mut stream, &waker));
    assert!(!writes(&mut stream, &waker, b"x"));
    let handle = stream.handle();
    drop((stream, conn, waker));
    assert_eq!(Arc::strong_count(&task), 1);
    drop(handle);
}
