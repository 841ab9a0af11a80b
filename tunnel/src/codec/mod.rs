//! One end of a tunnel without its connection: bytes and times go in, bytes and a verdict come out.
//!
//! Driven by `TunnelStream`, or by whoever has a connection of another kind.
//! `handle_*` takes what happened, `poll_*` gives what is to be done; the time is an argument, a
//! `Duration` since a moment of the caller's choice that must not go backwards.
//! Invariants: nothing of a data payload is kept; of control frames at most one pong (the latest), one
//! ping and one close wait for output; after our close frame nothing is written; after the ending
//! nothing is read. RFC 6455 sections 5 and 7.

mod heartbeat;
mod incoming;

use std::fmt;
use std::io;
use std::time::Duration;

use heartbeat::{Beat, Flood, Heartbeat};
use incoming::{ControlPayload, Incoming, Piece};

use crate::close::{Close, CloseCode};
use crate::error::{Ending, TunnelError};
use crate::frame::{HeaderBytes, Opcode};
use crate::mask::Mask;
use crate::{Config, Role};

/// Gives masking keys to a client. `None` when the system has no random bytes.
type Keys = Box<dyn FnMut() -> Option<[u8; 4]> + Send>;

/// What our side may still say.
#[derive(Debug, PartialEq, Eq)]
enum Outgoing {
    Open,
    /// A close frame waits for output.
    CloseDue(Close),
    /// It was given to the caller, or the connection is of no use any more.
    Over,
}

/// One end of a tunnel: turns a byte stream into binary messages and back.
///
/// ```
/// use std::time::Duration;
/// use switchboard_tunnel::{Codec, Config};
///
/// let mut server = Codec::server(&Config::default());
/// let header = server.message_header(5)?;
/// let mut wire = [header.as_slice(), b"hello"].concat();
///
/// let mut client = Codec::client(&Config::default(), || Some([1, 2, 3, 4]));
/// let kept = client.handle_input(Duration::ZERO, &mut wire);
/// assert_eq!(&wire[..kept], b"hello");
/// # Ok::<(), switchboard_tunnel::TunnelError>(())
/// ```
pub struct Codec {
    role: Role,
    config: Config,
    incoming: Incoming,
    heartbeat: Heartbeat,
    flood: Flood,
    pong: Option<ControlPayload>,
    ping_due: bool,
    outgoing: Outgoing,
    /// What we close with, when we began it.
    closing: Option<Close>,
    close_deadline: Option<Duration>,
    /// Why the connection takes nothing more, while it may still give something.
    output_failure: Option<io::ErrorKind>,
    ending: Option<Ending>,
    keys: Option<Keys>,
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("role", &self.role)
            .field("outgoing", &self.outgoing)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

impl Codec {
    /// The end that answered the upgrade.
    pub fn server(config: &Config) -> Self {
        Self::new(Role::Server, config, None)
    }

    /// The end that asked for the upgrade. `keys` gives a masking key for each frame, fresh and
    /// not to be guessed (RFC 6455 5.3, 10.3); on `None` the tunnel fails with
    /// [`TunnelError::NoEntropy`].
    pub fn client(config: &Config, keys: impl FnMut() -> Option<[u8; 4]> + Send + 'static) -> Self {
        Self::new(Role::Client, config, Some(Box::new(keys)))
    }

    fn new(role: Role, config: &Config, keys: Option<Keys>) -> Self {
        Self {
            role,
            incoming: Incoming::new(role, config.frame_bytes_max),
            heartbeat: Heartbeat::new(config.ping_interval, config.ping_timeout),
            flood: Flood::new(config.control_frames_max),
            config: config.clone(),
            pong: None,
            ping_due: false,
            outgoing: Outgoing::Open,
            closing: None,
            close_deadline: None,
            output_failure: None,
            ending: None,
            keys,
        }
    }

    /// Which end this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The longest payload of a message that this end sends, in bytes.
    pub fn message_bytes_max(&self) -> usize {
        self.config.message_bytes_max.get()
    }

    /// Takes all of `input`, which arrived at `now`, and leaves the bytes of the stream at its
    /// front, unmasked: the first so many as it returns. The rest of `input` is then rubbish.
    ///
    /// What arrives after the ending is dropped. Look at [`ending`](Self::ending) afterwards: the
    /// bytes returned came before it.
    pub fn handle_input(&mut self, now: Duration, input: &mut [u8]) -> usize {
        if !input.is_empty() {
            self.heartbeat.handle_bytes(now);
        }
        let (mut at, mut kept) = (0, 0);
        while at < input.len() && self.ending.is_none() {
            let (count, piece) = match self.incoming.take(&mut input[at..]) {
                Ok(taken) => taken,
                Err(error) => {
                    self.fail(now, error);
                    break;
                }
            };
            match piece {
                Piece::Partial => {}
                Piece::Data => {
                    self.flood.handle_data();
                    if at != kept {
                        input.copy_within(at..at + count, kept);
                    }
                    kept += count;
                }
                Piece::EmptyFrame | Piece::Pong => self.count_control(now),
                Piece::Ping(payload) => {
                    self.pong = Some(payload);
                    self.count_control(now);
                }
                Piece::Close(close) => self.handle_close(now, close),
            }
            at += count;
        }
        kept
    }

    /// The connection has no more bytes, at `now`. Without a close frame before that is
    /// [`TunnelError::Vanished`].
    pub fn handle_end_of_input(&mut self, now: Duration) {
        match (self.close_written(), self.output_failure) {
            // Some peers answer a close frame by ending the connection.
            (Some(ours), _) => {
                self.ending.get_or_insert(Ending::ClosedByUs(ours));
            }
            (None, Some(kind)) => self.fail(now, TunnelError::Connection(kind)),
            (None, None) => self.fail(now, TunnelError::Vanished),
        }
    }

    /// The connection takes nothing more, since `now`. What it still gives is read, for at most
    /// [`Config::close_timeout`]: there may be data in it, and the peer's reason. Without one the
    /// tunnel then fails with [`TunnelError::Connection`].
    pub fn handle_output_failure(&mut self, now: Duration, kind: io::ErrorKind) {
        self.output_failure.get_or_insert(kind);
        self.outgoing = Outgoing::Over;
        self.close_deadline = match self.ending {
            Some(_) => None,
            None => Some(now.saturating_add(self.config.close_timeout)),
        };
    }

    /// Does what is due at `now`: pings, finds the peer silent, gives up a close handshake.
    pub fn handle_timeout(&mut self, now: Duration) {
        if let Some(deadline) = self.close_deadline {
            if now >= deadline {
                self.close_deadline = None;
                let unanswered = TunnelError::CloseUnanswered(self.config.close_timeout);
                self.fail(
                    now,
                    self.output_failure
                        .map_or(unanswered, TunnelError::Connection),
                );
                self.outgoing = Outgoing::Over;
            }
            return;
        }
        if self.ending.is_some() {
            return;
        }
        match self.heartbeat.handle_timeout(now) {
            Beat::Wait => {}
            Beat::Ping => self.ping_due = true,
            Beat::Dead(silence) => self.fail(now, TunnelError::Silent(silence)),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next, if nothing arrives.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.close_deadline.is_some() {
            return self.close_deadline;
        }
        match self.ending {
            Some(_) => None,
            None => self.heartbeat.poll_timeout(),
        }
    }

    /// Begins a message of the next `available` bytes of the stream, or as many of them as one
    /// message holds. The caller writes the header, then exactly [`MessageHeader::payload_bytes`]
    /// bytes, through [`MessageHeader::mask`] if there is one, and nothing in between.
    ///
    /// # Errors
    ///
    /// What [`write_error`](Self::write_error) gives, and [`TunnelError::NoEntropy`] when there
    /// is no masking key.
    pub fn message_header(&mut self, available: usize) -> Result<MessageHeader, TunnelError> {
        if let Some(error) = self.write_error() {
            return Err(error);
        }
        let payload_bytes = available.min(self.config.message_bytes_max.get());
        let key = self.next_key()?;
        Ok(MessageHeader {
            header: HeaderBytes::new(Opcode::Binary, payload_bytes, key),
            mask: key.map(Mask::new),
            payload_bytes,
        })
    }

    /// Why no message can be begun any more, if so: how the tunnel failed, or
    /// [`TunnelError::Closing`].
    pub fn write_error(&self) -> Option<TunnelError> {
        match (&self.ending, self.output_failure) {
            (Some(Ending::Failed(error)), _) => Some(error.clone()),
            (_, Some(kind)) => Some(TunnelError::Connection(kind)),
            (Some(Ending::ClosedByPeer(_) | Ending::ClosedByUs(_)), None) => {
                Some(TunnelError::Closing)
            }
            (None, None) => (self.outgoing != Outgoing::Open).then_some(TunnelError::Closing),
        }
    }

    /// Appends the control frames that are due to `out`; whether there were any. To be called only
    /// between messages. At most 268 bytes at a time.
    pub fn poll_output(&mut self, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        if !self.has_output() {
            return false;
        }
        if let Err(error) = self.append_control(out) {
            out.truncate(before);
            self.outgoing = Outgoing::Over;
            self.ending.get_or_insert(Ending::Failed(error));
        }
        out.len() > before
    }

    /// Whether a control frame is due.
    pub fn has_output(&self) -> bool {
        match self.outgoing {
            Outgoing::Open => self.pong.is_some() || self.ping_due,
            Outgoing::CloseDue(_) => true,
            Outgoing::Over => false,
        }
    }

    /// Begins the close handshake at `now`: the close frame is due once the message under way is
    /// written. Without effect when the tunnel is closing already.
    pub fn close(&mut self, now: Duration, close: Close) {
        if self.outgoing == Outgoing::Open && self.ending.is_none() {
            self.closing = Some(close.clone());
            self.expect_close(now, close);
        }
    }

    /// Gives the tunnel up for a reason that no frame carries: nothing is read or written any
    /// more. Without effect on a tunnel that has ended.
    pub fn abort(&mut self, error: TunnelError) {
        self.end(Ending::Failed(error));
    }

    /// The connection is dropped: how the tunnel ended. A close frame that was written counts.
    pub fn handle_drop(&mut self) -> Ending {
        let failure = self.output_failure.map(TunnelError::Connection);
        let ending = match self.close_written() {
            Some(ours) => Ending::ClosedByUs(ours),
            None => Ending::Failed(failure.unwrap_or(TunnelError::Aborted)),
        };
        self.end(ending)
    }

    /// How the tunnel ended, once nothing more will be read.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// Whether the tunnel is on its way to its end: [`poll_timeout`](Self::poll_timeout) then says
    /// when that comes, whatever arrives before.
    pub fn is_closing(&self) -> bool {
        self.close_deadline.is_some()
    }

    /// What we closed with, if the peer may have read it.
    fn close_written(&self) -> Option<Close> {
        let written = self.outgoing == Outgoing::Over && self.output_failure.is_none();
        self.closing.clone().filter(|_| written)
    }

    /// Ends the tunnel like this, unless it has ended; how it did.
    fn end(&mut self, ending: Ending) -> Ending {
        self.outgoing = Outgoing::Over;
        self.close_deadline = None;
        self.ending.get_or_insert(ending).clone()
    }

    fn count_control(&mut self, now: Duration) {
        if self.flood.handle_control(now) {
            self.fail(
                now,
                TunnelError::ControlFlood(self.config.control_frames_max),
            );
        }
    }

    fn handle_close(&mut self, now: Duration, close: Close) {
        self.ending = Some(match &self.closing {
            Some(ours) => Ending::ClosedByUs(ours.clone()),
            None => Ending::ClosedByPeer(close.clone()),
        });
        if self.outgoing == Outgoing::Open {
            self.expect_close(now, Close::from(close.code));
        }
    }

    fn fail(&mut self, now: Duration, error: TunnelError) {
        if self.ending.is_some() {
            return;
        }
        if let Some(code) = error.close_code()
            && self.outgoing == Outgoing::Open
        {
            self.expect_close(now, Close::new(code, error.to_string()));
        }
        self.ending = Some(Ending::Failed(error));
    }

    fn expect_close(&mut self, now: Duration, close: Close) {
        self.outgoing = Outgoing::CloseDue(close);
        self.close_deadline = Some(now.saturating_add(self.config.close_timeout));
    }

    fn append_control(&mut self, out: &mut Vec<u8>) -> Result<(), TunnelError> {
        if let Some(pong) = self.pong.take() {
            self.append_frame(out, Opcode::Pong, &[pong.as_slice()])?;
        }
        if std::mem::take(&mut self.ping_due) {
            self.append_frame(out, Opcode::Ping, &[])?;
        }
        let Outgoing::CloseDue(close) = &self.outgoing else {
            return Ok(());
        };
        let close = close.clone();
        self.outgoing = Outgoing::Over;
        let code = close.code.get().to_be_bytes();
        match close.code {
            CloseCode::NO_STATUS => self.append_frame(out, Opcode::Close, &[]),
            _ => {
                let reason = close.sendable_reason().as_bytes();
                self.append_frame(out, Opcode::Close, &[&code, reason])
            }
        }
    }

    fn append_frame(
        &mut self,
        out: &mut Vec<u8>,
        opcode: Opcode,
        payload: &[&[u8]],
    ) -> Result<(), TunnelError> {
        let key = self.next_key()?;
        let payload_bytes = payload.iter().map(|part| part.len()).sum();
        out.extend_from_slice(HeaderBytes::new(opcode, payload_bytes, key).as_slice());
        let payload_at = out.len();
        for part in payload {
            out.extend_from_slice(part);
        }
        if let Some(key) = key {
            Mask::new(key).apply(&mut out[payload_at..]);
        }
        Ok(())
    }

    /// A client's next key; none for a server.
    fn next_key(&mut self) -> Result<Option<[u8; 4]>, TunnelError> {
        match &mut self.keys {
            None => Ok(None),
            Some(keys) => keys().map(Some).ok_or(TunnelError::NoEntropy),
        }
    }
}

/// The header of a message, and what follows it.
#[derive(Clone, Copy, Debug)]
pub struct MessageHeader {
    header: HeaderBytes,
    mask: Option<Mask>,
    payload_bytes: usize,
}

impl MessageHeader {
    /// The header as it stands on the wire.
    pub fn as_slice(&self) -> &[u8] {
        self.header.as_slice()
    }

    /// How many bytes of payload follow.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// What the payload is to be masked with; a server masks nothing.
    pub fn mask(&self) -> Option<Mask> {
        self.mask
    }
}

#[cfg(test)]
pub(crate) mod tests;
