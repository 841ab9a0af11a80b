//! Takes frames apart: says which bytes of the input are payload, gathers control frames.
//!
//! Called by the codec with whatever arrived, in pieces of any size. Invariants: a data payload is
//! never kept, a control payload at most 125 bytes; the order of frames is checked against
//! RFC 6455 5.4. Knows no time, no answers and no rates.

use crate::Role;
use crate::close::{Close, CloseCode};
use crate::error::TunnelError;
use crate::frame::{CONTROL_BYTES_MAX, Header, Opcode, PartialHeader};
use crate::mask::Mask;

/// The payload of a control frame.
#[derive(Clone, Copy)]
pub(super) struct ControlPayload {
    bytes: [u8; CONTROL_BYTES_MAX],
    length: usize,
}

impl ControlPayload {
    const EMPTY: Self = Self {
        bytes: [0; CONTROL_BYTES_MAX],
        length: 0,
    };

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

/// What the first bytes of the input were.
pub(super) enum Piece {
    /// Part of a header or of a control frame, of no use yet.
    Partial,
    /// Payload, unmasked in place.
    Data,
    /// The header of a data frame without payload.
    EmptyFrame,
    /// The end of a ping, with its payload.
    Ping(ControlPayload),
    /// The end of a pong.
    Pong,
    /// The end of a close frame.
    Close(Close),
}

enum State {
    Header(PartialHeader),
    Data {
        left: u64,
        mask: Option<Mask>,
    },
    Control {
        opcode: Opcode,
        left: usize,
        mask: Option<Mask>,
    },
}

/// Where in the frames of the peer the next byte stands.
pub(super) struct Incoming {
    role: Role,
    frame_bytes_max: u64,
    state: State,
    /// Whether the message of the last data frame goes on in a continuation frame.
    message_open: bool,
    control: ControlPayload,
}

impl Incoming {
    pub(super) fn new(role: Role, frame_bytes_max: u64) -> Self {
        Self {
            role,
            frame_bytes_max,
            state: State::Header(PartialHeader::default()),
            message_open: false,
            control: ControlPayload::EMPTY,
        }
    }

    /// Takes the first piece of `input`, which is not empty: how many bytes, and what they were.
    pub(super) fn take(&mut self, input: &mut [u8]) -> Result<(usize, Piece), TunnelError> {
        match &mut self.state {
            State::Header(partial) => {
                for (at, byte) in input.iter().enumerate() {
                    if let Some(header) = partial.push(*byte, self.role)? {
                        return Ok((at + 1, self.begin_frame(header)?));
                    }
                }
                Ok((input.len(), Piece::Partial))
            }
            State::Data { left, mask } => {
                let count =
                    usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                if let Some(mask) = mask {
                    mask.apply(&mut input[..count]);
                }
                *left -= count as u64;
                if *left == 0 {
                    self.state = State::Header(PartialHeader::default());
                }
                Ok((count, Piece::Data))
            }
            State::Control { opcode, left, mask } => {
                let count = (*left).min(input.len());
                if let Some(mask) = mask {
                    mask.apply(&mut input[..count]);
                }
                self.control.push(&input[..count]);
                *left -= count;
                if *left > 0 {
                    return Ok((count, Piece::Partial));
                }
                let opcode = *opcode;
                Ok((count, self.end_control(opcode)?))
            }
        }
    }

    fn begin_frame(&mut self, header: Header) -> Result<Piece, TunnelError> {
        let Header {
            last,
            opcode,
            payload_bytes,
            mask,
        } = header;
        match opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                self.control = ControlPayload::EMPTY;
                if payload_bytes == 0 {
                    return self.end_control(opcode);
                }
                // The header was checked: a control payload has at most 125 bytes.
                let left = payload_bytes as usize;
                self.state = State::Control { opcode, left, mask };
                return Ok(Piece::Partial);
            }
            Opcode::Text => return Err(TunnelError::Text),
            Opcode::Continuation if !self.message_open => {
                return Err(TunnelError::UnexpectedContinuation);
            }
            Opcode::Binary if self.message_open => return Err(TunnelError::UnfinishedMessage),
            Opcode::Continuation | Opcode::Binary => {}
        }
        if payload_bytes > self.frame_bytes_max {
            return Err(TunnelError::FrameTooLarge {
                bytes: payload_bytes,
                bytes_max: self.frame_bytes_max,
            });
        }
        self.message_open = !last;
        if payload_bytes == 0 {
            self.state = State::Header(PartialHeader::default());
            return Ok(Piece::EmptyFrame);
        }
        self.state = State::Data {
            left: payload_bytes,
            mask,
        };
        Ok(Piece::Partial)
    }

    fn end_control(&mut self, opcode: Opcode) -> Result<Piece, TunnelError> {
        self.state = State::Header(PartialHeader::default());
        match opcode {
            Opcode::Ping => Ok(Piece::Ping(self.control)),
            Opcode::Close => Ok(Piece::Close(parse_close(self.control.as_slice())?)),
            // Only control frames come here; what is left is the pong.
            Opcode::Pong | Opcode::Continuation | Opcode::Text | Opcode::Binary => Ok(Piece::Pong),
        }
    }
}

/// Source: RFC 6455 5.5.1.
fn parse_close(payload: &[u8]) -> Result<Close, TunnelError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(Close::from(CloseCode::NO_STATUS)),
            _ => Err(TunnelError::CloseInvalid),
        };
    };
    let code = CloseCode::new(u16::from_be_bytes(*code)).ok_or(TunnelError::CloseInvalid)?;
    let reason = std::str::from_utf8(reason).map_err(|_| TunnelError::CloseReasonNotUtf8)?;
    Ok(Close::new(code, reason))
}
