//! Two ends over a simulated link with delay, stalls and loss; the time is a number that jumps.

use std::collections::VecDeque;
use std::time::Duration;

use super::{codec, message, other};
use crate::{Close, CloseCode, Codec, Config, Ending, Role, TunnelError};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// One direction of the link.
#[derive(Default)]
struct Wire {
    delay: Duration,
    /// Nothing arrives before this; it is not lost.
    stalled_until: Duration,
    /// What is sent from this time on is lost, and nobody is told.
    lost_from: Option<Duration>,
    in_flight: VecDeque<(Duration, Vec<u8>)>,
}

impl Wire {
    /// Sends in pieces of odd sizes, as networks do.
    fn send(&mut self, now: Duration, bytes: &[u8]) {
        if self.lost_from.is_some_and(|from| now >= from) {
            return;
        }
        let mut rest = bytes;
        for size in [1, 13, 1448, 7].into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at(size.min(rest.len()));
            self.in_flight.push_back((now + self.delay, piece.to_vec()));
            rest = behind;
        }
    }

    fn next_arrival(&self) -> Option<Duration> {
        self.in_flight
            .front()
            .map(|(at, _)| (*at).max(self.stalled_until))
    }
}

struct End {
    codec: Codec,
    received: Vec<u8>,
    sent_bytes: usize,
    ended_at: Option<Duration>,
}

impl End {
    fn new(role: Role, config: &Config) -> Self {
        Self {
            codec: codec(role, config),
            received: Vec::new(),
            sent_bytes: 0,
            ended_at: None,
        }
    }
}

/// A client, a server and what lies between them: `wires[0]` leads to the server.
struct World {
    now: Duration,
    ends: [End; 2],
    wires: [Wire; 2],
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

impl World {
    fn new(config: &Config, delay: Duration) -> Self {
        let wire = || Wire {
            delay,
            ..Wire::default()
        };
        Self {
            now: Duration::ZERO,
            ends: [
                End::new(Role::Client, config),
                End::new(other(Role::Client), config),
            ],
            wires: [wire(), wire()],
        }
    }

    fn write(&mut self, end: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let codec = &mut self.ends[end].codec;
            let count = rest.len().min(codec.message_bytes_max());
            let wire = message(codec, rest).expect("the tunnel is open");
            self.send(end, &wire);
            rest = &rest[count..];
        }
    }

    fn close(&mut self, end: usize, code: CloseCode) {
        self.ends[end].codec.close(self.now, code.into());
        self.settle();
    }

    fn send(&mut self, end: usize, bytes: &[u8]) {
        self.ends[end].sent_bytes += bytes.len();
        self.wires[end].send(self.now, bytes);
    }

    /// Sends what is due, notes who has ended.
    fn settle(&mut self) {
        for end in [CLIENT, SERVER] {
            let mut out = Vec::new();
            self.ends[end].codec.poll_output(&mut out);
            self.send(end, &out);
            let ended = self.ends[end].codec.ending().is_some();
            if ended && self.ends[end].ended_at.is_none() {
                self.ends[end].ended_at = Some(self.now);
            }
        }
    }

    /// Goes on to the next thing that happens before `until`; whether there was one.
    fn step(&mut self, until: Duration) -> bool {
        let arrivals = [CLIENT, SERVER].map(|end| self.wires[1 - end].next_arrival());
        let timeouts = [CLIENT, SERVER].map(|end| self.ends[end].codec.poll_timeout());
        let next = arrivals.iter().chain(&timeouts).flatten().min().copied();
        let Some(at) = next.filter(|at| *at < until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(at);
        for end in [CLIENT, SERVER] {
            let due = |time: Option<Duration>| time.is_some_and(|time| time <= self.now);
            // Bytes before timers: a peer whose answer is here is not silent.
            if due(arrivals[end]) {
                let piece = self.wires[1 - end].in_flight.pop_front();
                let (_, mut piece) = piece.expect("it was about to arrive");
                let kept = self.ends[end].codec.handle_input(self.now, &mut piece);
                self.ends[end].received.extend_from_slice(&piece[..kept]);
            } else if due(timeouts[end]) {
                self.ends[end].codec.handle_timeout(self.now);
            }
        }
        self.settle();
        true
    }

    fn run_until(&mut self, until: Duration) {
        while self.step(until) {}
    }

    fn ending(&self, end: usize) -> Option<Ending> {
        self.ends[end].codec.ending().cloned()
    }
}

fn config() -> Config {
    Config {
        ping_interval: Some(30 * SECOND),
        ping_timeout: 20 * SECOND,
        close_timeout: 5 * SECOND,
        ..Config::default()
    }
}

fn failed(error: TunnelError) -> Option<Ending> {
    Some(Ending::Failed(error))
}

#[test]
fn streams_cross_in_pieces_and_in_order() {
    let mut world = World::new(&config(), 40 * MS);
    let up: Vec<u8> = (0..300_000_u32).map(|n| (n / 3) as u8).collect();
    let down: Vec<u8> = (0..200_000_u32).map(|n| (n / 7) as u8).collect();
    for (up, down) in up.chunks(75_000).zip(down.chunks(50_000)) {
        world.write(CLIENT, up);
        world.write(SERVER, down);
        world.run_until(world.now + 10 * MS);
    }
    world.run_until(10 * SECOND);
    assert!(world.ends[SERVER].received == up);
    assert!(world.ends[CLIENT].received == down);
}

#[test]
fn an_idle_tunnel_lives_and_costs_little() {
    let mut world = World::new(&config(), 100 * MS);
    let day = 24 * 3600 * SECOND;
    world.run_until(day);
    assert_eq!([world.ending(CLIENT), world.ending(SERVER)], [None, None]);
    for end in [CLIENT, SERVER] {
        // A ping of ours answers for the peer's silence too, so one end pings and the other answers.
        let beats = (day.as_secs() / 30) as usize;
        let bytes = world.ends[end].sent_bytes;
        assert!(
            (beats..=2 * 6 * beats).contains(&bytes),
            "{bytes} bytes in a day"
        );
    }
}

#[test]
fn a_silent_link_is_found_dead_by_both_ends() {
    let mut world = World::new(&config(), 100 * MS);
    world.write(CLIENT, b"hello");
    world.run_until(5 * SECOND);
    for wire in &mut world.wires {
        wire.lost_from = Some(5 * SECOND);
    }
    world.write(CLIENT, b"into the void");
    world.run_until(1000 * SECOND);
    // The client has heard nothing since the start, the server since 100 ms.
    assert_eq!(
        world.ending(CLIENT),
        failed(TunnelError::Silent(50 * SECOND))
    );
    assert_eq!(world.ends[CLIENT].ended_at, Some(50 * SECOND));
    assert_eq!(
        world.ending(SERVER),
        failed(TunnelError::Silent(50 * SECOND))
    );
    assert_eq!(world.ends[SERVER].ended_at, Some(50 * SECOND + 100 * MS));
    assert_eq!(world.ends[SERVER].received, b"hello");
}

#[test]
fn a_link_that_is_dead_one_way_is_found_by_the_end_that_hears_nothing() {
    let mut world = World::new(&config(), 100 * MS);
    world.wires[CLIENT].lost_from = Some(Duration::ZERO);
    world.run_until(60 * SECOND);
    assert_eq!(
        world.ending(SERVER),
        failed(TunnelError::Silent(50 * SECOND))
    );
    // It says so, and the way to the client works.
    let told = Close::new(
        CloseCode::INTERNAL,
        TunnelError::Silent(50 * SECOND).to_string(),
    );
    assert_eq!(world.ending(CLIENT), Some(Ending::ClosedByPeer(told)));
}

#[test]
fn a_stall_shorter_than_the_patience_is_survived() {
    for (stall, survived) in [(49 * SECOND, true), (51 * SECOND, false)] {
        let mut world = World::new(&config(), Duration::ZERO);
        for wire in &mut world.wires {
            wire.stalled_until = stall;
        }
        world.write(SERVER, b"late");
        world.run_until(200 * SECOND);
        assert_eq!(world.ending(CLIENT).is_none(), survived, "{stall:?}");
        assert_eq!(
            world.ends[CLIENT].received == b"late",
            survived,
            "{stall:?}"
        );
    }
}

#[test]
fn a_close_takes_one_round_trip_and_loses_nothing_before_it() {
    for closer in [CLIENT, SERVER] {
        let mut world = World::new(&config(), 300 * MS);
        world.write(CLIENT, b"last words");
        world.write(SERVER, b"of both");
        world.close(closer, CloseCode::GOING_AWAY);
        world.run_until(10 * SECOND);
        let going = Close::from(CloseCode::GOING_AWAY);
        let peer = 1 - closer;
        assert_eq!(
            world.ending(closer),
            Some(Ending::ClosedByUs(going.clone()))
        );
        assert_eq!(world.ends[closer].ended_at, Some(600 * MS));
        assert_eq!(world.ending(peer), Some(Ending::ClosedByPeer(going)));
        assert_eq!(world.ends[peer].ended_at, Some(300 * MS));
        assert_eq!(world.ends[SERVER].received, b"last words");
        assert_eq!(world.ends[CLIENT].received, b"of both");
    }
}

#[test]
fn a_close_into_the_void_ends_after_its_patience() {
    let mut world = World::new(&config(), 100 * MS);
    world.wires[SERVER].lost_from = Some(Duration::ZERO);
    world.run_until(SECOND);
    world.close(SERVER, CloseCode::RESTART);
    world.run_until(100 * SECOND);
    assert_eq!(
        world.ending(SERVER),
        failed(TunnelError::CloseUnanswered(5 * SECOND))
    );
    assert_eq!(world.ends[SERVER].ended_at, Some(6 * SECOND));
    assert_eq!(
        world.ending(CLIENT),
        failed(TunnelError::Silent(50 * SECOND))
    );
}

#[test]
fn a_link_cut_at_any_byte_gives_a_beginning_and_no_false_end() {
    let mut sender = codec(Role::Client, &config());
    let mut wire = message(&mut sender, b"all ").unwrap();
    wire.extend(message(&mut sender, b"of it").unwrap());
    sender.close(Duration::ZERO, CloseCode::NORMAL.into());
    sender.poll_output(&mut wire);
    for cut in 0..=wire.len() {
        let mut server = codec(Role::Server, &config());
        let mut arrived = wire[..cut].to_vec();
        let kept = server.handle_input(Duration::ZERO, &mut arrived);
        server.handle_end_of_input(SECOND);
        assert!(b"all of it".starts_with(&arrived[..kept]), "cut at {cut}");
        if cut == wire.len() {
            assert_eq!(&arrived[..kept], b"all of it");
            let closed = Ending::ClosedByPeer(CloseCode::NORMAL.into());
            assert_eq!(server.ending(), Some(&closed));
        } else {
            assert_eq!(
                server.ending(),
                Some(&Ending::Failed(TunnelError::Vanished))
            );
        }
    }
}
