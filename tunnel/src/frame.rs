//! The header of a frame: reading it byte by byte, checking it as early as possible, writing it.
//!
//! Used by the codec only. Invariants: a header that is returned has been checked against RFC 6455
//! 5.2 and 5.5 for the role that reads it; what can be refused after the first byte is refused
//! then. Knows no payloads, no messages and no limits.

use crate::Role;
use crate::error::TunnelError;
use crate::mask::Mask;

/// The longest header: two bytes, a length of eight, a key of four.
pub(crate) const HEADER_BYTES_MAX: usize = 14;
/// The longest payload of a control frame. Source: RFC 6455 5.5.
pub(crate) const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0F;
const MASKED: u8 = 0x80;

/// What a frame carries. Source: RFC 6455 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn new(code: u8) -> Result<Self, TunnelError> {
        match code {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xA => Ok(Self::Pong),
            other => Err(TunnelError::UnknownOpcode(other)),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A header that was read and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) last: bool,
    pub(crate) opcode: Opcode,
    pub(crate) payload_bytes: u64,
    pub(crate) mask: Option<Mask>,
}

/// A header as far as it has arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PartialHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    have: usize,
}

impl PartialHeader {
    /// Takes the next byte; gives the header when it is whole.
    pub(crate) fn push(&mut self, byte: u8, reader: Role) -> Result<Option<Header>, TunnelError> {
        self.bytes[self.have] = byte;
        self.have += 1;
        match self.have {
            1 => {
                check_first(byte)?;
                Ok(None)
            }
            2 => {
                self.check_second(reader)?;
                self.finish()
            }
            _ => self.finish(),
        }
    }

    fn check_second(&self, reader: Role) -> Result<(), TunnelError> {
        let masked = self.bytes[1] & MASKED != 0;
        match reader {
            Role::Server if !masked => return Err(TunnelError::Unmasked),
            Role::Client if masked => return Err(TunnelError::Masked),
            Role::Server | Role::Client => {}
        }
        let control = Opcode::new(self.bytes[0] & OPCODE)?.is_control();
        if control && usize::from(self.bytes[1] & !MASKED) > CONTROL_BYTES_MAX {
            return Err(TunnelError::ControlTooLong);
        }
        Ok(())
    }

    fn length_bytes(&self) -> usize {
        match self.bytes[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    fn finish(&self) -> Result<Option<Header>, TunnelError> {
        let key_at = 2 + self.length_bytes();
        let masked = self.bytes[1] & MASKED != 0;
        // A bad length is refused before the key has arrived.
        let payload_bytes = match self.have >= key_at {
            true => self.payload_bytes()?,
            false => return Ok(None),
        };
        if self.have < key_at + if masked { 4 } else { 0 } {
            return Ok(None);
        }
        let key = &self.bytes[key_at..key_at + 4];
        let key = [key[0], key[1], key[2], key[3]];
        Ok(Some(Header {
            last: self.bytes[0] & FIN != 0,
            opcode: Opcode::new(self.bytes[0] & OPCODE)?,
            payload_bytes,
            mask: masked.then(|| Mask::new(key)),
        }))
    }

    fn payload_bytes(&self) -> Result<u64, TunnelError> {
        let b = &self.bytes;
        match self.length_bytes() {
            0 => Ok(u64::from(b[1] & !MASKED)),
            2 => match u16::from_be_bytes([b[2], b[3]]) {
                short if short < 126 => Err(TunnelError::Length),
                length => Ok(u64::from(length)),
            },
            _ => match u64::from_be_bytes([b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9]]) {
                short if short <= u64::from(u16::MAX) => Err(TunnelError::Length),
                long if long >> 63 != 0 => Err(TunnelError::Length),
                length => Ok(length),
            },
        }
    }
}

fn check_first(byte: u8) -> Result<(), TunnelError> {
    if byte & RESERVED != 0 {
        return Err(TunnelError::ReservedBits);
    }
    let opcode = Opcode::new(byte & OPCODE)?;
    if opcode == Opcode::Text {
        return Err(TunnelError::Text);
    }
    if opcode.is_control() && byte & FIN == 0 {
        return Err(TunnelError::ControlFragmented);
    }
    Ok(())
}

/// A header to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderBytes {
    bytes: [u8; HEADER_BYTES_MAX],
    length: usize,
}

impl HeaderBytes {
    /// The header of a frame that is a whole message.
    pub(crate) fn new(opcode: Opcode, payload_bytes: usize, key: Option<[u8; 4]>) -> Self {
        let mut header = Self {
            bytes: [0; HEADER_BYTES_MAX],
            length: 0,
        };
        let masked = if key.is_some() { MASKED } else { 0 };
        header.push(&[FIN | opcode.code()]);
        match u16::try_from(payload_bytes) {
            Ok(short @ 0..=125) => header.push(&[masked | short.to_be_bytes()[1]]),
            Ok(medium) => {
                header.push(&[masked | 126]);
                header.push(&medium.to_be_bytes());
            }
            Err(_) => {
                header.push(&[masked | 127]);
                header.push(&(payload_bytes as u64).to_be_bytes());
            }
        }
        if let Some(key) = key {
            header.push(&key);
        }
        header
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

#[cfg(test)]
mod tests;
