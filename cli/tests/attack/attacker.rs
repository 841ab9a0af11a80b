//! One connection of an attacker: sends what it is told, and reads only if the attack does.
//!
//! Used by all attacks. A host that hangs up is no failure here: that is what most of them provoke.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join_all;
use switchboard_test_support::{eventually, patiently};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::siege::Siege;
use crate::wire;

/// Bytes kept of what was read, for the goodbye at the end.
const TAIL_BYTES: usize = 256;

/// Bytes read at a time.
const READ_BYTES: usize = 4096;

/// Calls of the good client during which a host that reads nothing counts as one that will not.
const STUCK_CALLS: u64 = 30;

/// Connections from one address before the next one is used: an address has some 28 000 ports.
const CONNECTIONS_EACH: u32 = 2000;

/// Requests on a connection, as many as it may have open calls.
pub(crate) const REQUESTS: usize = 250;

/// A connection of an attacker.
#[derive(Debug)]
pub(crate) struct Attacker {
    stream: TcpStream,
    tail: Vec<u8>,
    gone: bool,
}

impl Attacker {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let block = COUNT.fetch_add(1, Ordering::Relaxed) / CONNECTIONS_EACH;
        let [_, _, high, low] = (block % 60_000 + 2).to_be_bytes();
        let own = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 1, high, low)), 0);
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(own).expect("all of 127/8 is ours");
        let stream = patiently("a connection", socket.connect(addr)).await;
        Self {
            stream: stream.expect("the host listens"),
            tail: Vec::new(),
            gone: false,
        }
    }

    /// Connects and opens HTTP/2.
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        let mut this = Self::connect(addr).await;
        this.send(&wire::opening()).await;
        this
    }

    /// Whether the host has ended the connection, as far as was seen.
    pub(crate) fn gone(&self) -> bool {
        self.gone
    }

    /// Sends, and reads what comes meanwhile; answers whether the host still listens.
    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> bool {
        let mut buffer = [0; READ_BYTES];
        while !bytes.is_empty() && !self.gone {
            let (mut read, mut write) = self.stream.split();
            tokio::select! {
                biased;
                count = read.read(&mut buffer) => self.took(&buffer, count),
                count = write.write(bytes) => match count {
                    Ok(count) => bytes = &bytes[count..],
                    // What came before the end is there all the same.
                    Err(_) => self.look_to_the_end(),
                },
            }
        }
        !self.gone
    }

    /// Sends and never reads; ends when all is sent, the host hung up, or it has taken nothing for a
    /// while. Answers whether all was sent.
    pub(crate) async fn shout(&mut self, mut bytes: &[u8], siege: &Siege) -> bool {
        while !bytes.is_empty() && !self.gone {
            tokio::select! {
                biased;
                count = self.stream.write(bytes) => match count {
                    Ok(count) => bytes = &bytes[count..],
                    Err(_) => self.gone = true,
                },
                () = siege.calls(STUCK_CALLS) => return false,
            }
        }
        !self.gone
    }

    /// Reads until the host has ended the connection; what its GOAWAY said, if there was one.
    pub(crate) async fn goodbye(&mut self) -> Option<(u32, String)> {
        let mut buffer = [0; READ_BYTES];
        while !self.gone {
            let count = patiently("a goodbye", self.stream.read(&mut buffer)).await;
            self.took(&buffer, count);
        }
        wire::goodbye(&self.tail)
    }

    /// Reads what has come, without waiting.
    pub(crate) fn look(&mut self) {
        let mut buffer = [0; READ_BYTES];
        while !self.gone {
            match self.stream.try_read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                count => self.took(&buffer, count),
            }
        }
    }

    fn look_to_the_end(&mut self) {
        self.look();
        self.gone = true;
    }

    /// Waits until something has come.
    pub(crate) async fn hears(&mut self) {
        eventually("an answer", || {
            self.look();
            self.gone || !self.tail.is_empty()
        })
        .await;
    }

    fn took(&mut self, buffer: &[u8], count: std::io::Result<usize>) {
        match count {
            Ok(0) | Err(_) => self.gone = true,
            Ok(count) => {
                self.tail.extend_from_slice(&buffer[..count]);
                let too_much = self.tail.len().saturating_sub(TAIL_BYTES);
                self.tail.drain(..too_much);
            }
        }
    }
}

/// Sends requests as `made` makes them over so many connections, and reads the answers; all are held.
pub(crate) async fn requests(
    siege: &Siege,
    connections: usize,
    made: impl Fn(u32) -> Vec<u8>,
) -> Vec<Attacker> {
    let attack = async || {
        let mut attacker = Attacker::open(siege.addr()).await;
        for number in 0..REQUESTS {
            if !attacker.send(&made(wire::stream(number))).await {
                break;
            }
        }
        attacker
    };
    join_all((0..connections).map(|_| attack())).await
}
