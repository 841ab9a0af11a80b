//! Headers against the layout of RFC 6455 5.2, written down here a second time, byte by byte.

use super::{Header, HeaderBytes, Opcode, PartialHeader};
use crate::mask::Mask;
use crate::{Role, TunnelError};

const KEY: [u8; 4] = [9, 8, 7, 6];

/// Pushes all of `bytes`: the header and how many bytes it took.
fn read(bytes: &[u8], reader: Role) -> Result<Option<(Header, usize)>, (TunnelError, usize)> {
    let mut partial = PartialHeader::default();
    for (at, byte) in bytes.iter().enumerate() {
        match partial.push(*byte, reader) {
            Ok(None) => {}
            Ok(Some(header)) => return Ok(Some((header, at + 1))),
            Err(error) => return Err((error, at + 1)),
        }
    }
    Ok(None)
}

/// A header as the RFC draws it, in the form of length that is asked for.
fn drawn(first: u8, masked: bool, form: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first, form | if masked { 0x80 } else { 0 }];
    match form {
        126 => bytes.extend(u16::try_from(length).unwrap().to_be_bytes()),
        127 => bytes.extend(length.to_be_bytes()),
        short => assert_eq!(u64::from(short), length),
    }
    if masked {
        bytes.extend(KEY);
    }
    bytes
}

#[test]
fn lengths_are_written_and_read_in_their_shortest_form() {
    let table = [
        (0, 0),
        (1, 1),
        (125, 125),
        (126, 126),
        (127, 126),
        (0xFFFF, 126),
        (0x1_0000, 127),
        (0xFFFF_FFFF, 127),
    ];
    for (length, form) in table {
        for (reader, key) in [(Role::Client, None), (Role::Server, Some(KEY))] {
            let expected = drawn(0x82, key.is_some(), form, length);
            let written = HeaderBytes::new(Opcode::Binary, length as usize, key);
            assert_eq!(written.as_slice(), expected, "length {length}");
            let header = Header {
                last: true,
                opcode: Opcode::Binary,
                payload_bytes: length,
                mask: key.map(Mask::new),
            };
            assert_eq!(read(&expected, reader), Ok(Some((header, expected.len()))));
            for cut in 0..expected.len() {
                assert_eq!(read(&expected[..cut], reader), Ok(None), "cut at {cut}");
            }
        }
    }
}

#[test]
fn the_longest_length_there_is_can_be_read() {
    let bytes = drawn(0x82, false, 127, u64::MAX >> 1);
    let (header, _) = read(&bytes, Role::Client).unwrap().unwrap();
    assert_eq!(header.payload_bytes, u64::MAX >> 1);
}

#[test]
fn a_length_that_is_not_in_its_shortest_form_is_refused_before_the_key() {
    for (form, length, at) in [
        (126, 0, 4),
        (126, 125, 4),
        (127, 0, 10),
        (127, 125, 10),
        (127, 0xFFFF, 10),
        (127, 1 << 63, 10),
        (127, u64::MAX, 10),
    ] {
        for reader in [Role::Client, Role::Server] {
            let bytes = drawn(0x82, reader == Role::Server, form, length);
            assert_eq!(read(&bytes, reader), Err((TunnelError::Length, at)));
        }
    }
}

#[test]
fn every_first_byte_is_taken_or_refused_at_once() {
    for first in 0..=u8::MAX {
        let control = first & 8 != 0;
        let expected = match (first & 0x70, first & 0x0F) {
            (1.., _) => Some(TunnelError::ReservedBits),
            (0, opcode @ (3..=7 | 11..=15)) => Some(TunnelError::UnknownOpcode(opcode)),
            (0, 1) => Some(TunnelError::Text),
            (0, _) if control && first < 0x80 => Some(TunnelError::ControlFragmented),
            (0, _) => None,
        };
        let found = read(&[first], Role::Client);
        assert_eq!(found, expected.map_or(Ok(None), |error| Err((error, 1))));
    }
}

#[test]
fn every_second_byte_is_taken_or_refused_at_once() {
    for (first, control) in [(0x82, false), (0x00, false), (0x88, true), (0x89, true)] {
        for second in 0..=u8::MAX {
            for reader in [Role::Client, Role::Server] {
                let wrong_mask = match reader {
                    Role::Client => (second >= 0x80).then_some(TunnelError::Masked),
                    Role::Server => (second < 0x80).then_some(TunnelError::Unmasked),
                };
                let too_long = control && second & 0x7F > 125;
                let expected =
                    wrong_mask.or_else(|| too_long.then_some(TunnelError::ControlTooLong));
                let found = read(&[first, second], reader).map(|_| ());
                assert_eq!(found, expected.map_or(Ok(()), |error| Err((error, 2))));
            }
        }
    }
}
