//! Frames for tests, laid out by hand from RFC 6455 5.2 and not by the code under test.

use crate::Role;

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A frame that `reader` takes: masked for a server. `last`: the FIN bit.
pub(crate) fn frame(reader: Role, last: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![opcode | if last { 0x80 } else { 0 }];
    let masked = if reader == Role::Server { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => bytes.push(masked | u8::try_from(short).unwrap()),
        medium @ 126..=0xFFFF => {
            bytes.push(masked | 126);
            bytes.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            bytes.push(masked | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    match reader {
        Role::Client => bytes.extend(payload),
        Role::Server => {
            bytes.extend(KEY);
            bytes.extend(mask(KEY, payload));
        }
    }
    bytes
}

/// `payload` masked, or unmasked. RFC 6455 5.3, to the letter.
pub(crate) fn mask(key: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let keys = key.iter().cycle();
    payload
        .iter()
        .zip(keys)
        .map(|(byte, key)| byte ^ key)
        .collect()
}

/// A close frame of this code and reason.
pub(crate) fn close(reader: Role, code: u16, reason: &[u8]) -> Vec<u8> {
    let payload = [&code.to_be_bytes(), reason].concat();
    frame(reader, true, CLOSE, &payload)
}

/// Takes the frames of a wire apart that is known to be whole frames: opcode and payload of each.
pub(crate) fn frames(mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [first, second, rest @ ..] = wire {
        assert!(first & 0x80 != 0, "we fragment nothing");
        let (length, rest) = match second & 0x7F {
            126 => {
                let (length, rest) = rest.split_first_chunk::<2>().expect("two bytes of length");
                (u16::from_be_bytes(*length) as usize, rest)
            }
            127 => {
                let (length, rest) = rest
                    .split_first_chunk::<8>()
                    .expect("eight bytes of length");
                (u64::from_be_bytes(*length) as usize, rest)
            }
            short => (short as usize, rest),
        };
        let (key, rest) = match second & 0x80 {
            0 => ([0; 4], rest),
            _ => {
                let (key, rest) = rest.split_first_chunk::<4>().expect("four bytes of key");
                (*key, rest)
            }
        };
        let (payload, rest) = rest.split_at(length);
        found.push((first & 0x0F, mask(key, payload)));
        wire = rest;
    }
    assert!(wire.is_empty(), "half a header");
    found
}
