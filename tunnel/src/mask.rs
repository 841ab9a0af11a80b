//! XOR with a repeating key of four bytes: what a client's frames are masked with.
//!
//! Used by the codec in both directions, on whatever piece of a payload is at hand: a [`Mask`]
//! remembers where in the key the next byte stands. Works on eight bytes at a time without caring
//! for alignment, in a shape that the compiler turns into vector instructions. RFC 6455 5.3.

/// A masking key and the place in it where the next byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mask {
    /// Turned so that the next byte meets `key[0]`.
    key: [u8; 4],
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask")
    }
}

impl Mask {
    /// The mask of a payload's first byte.
    pub fn new(key: [u8; 4]) -> Self {
        Self { key }
    }

    /// Masks, or unmasks, the next bytes of the payload in place.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let [a, b, c, d] = self.key;
        let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let length = bytes.len();
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for chunk in words {
            *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(word.to_ne_bytes()) {
            *byte ^= key;
        }
        self.key.rotate_left(length % 4);
    }
}

#[cfg(test)]
mod tests {
    use super::Mask;

    const KEY: [u8; 4] = [0xA1, 0x5C, 0x00, 0xFF];

    fn byte_by_byte(bytes: &[u8]) -> Vec<u8> {
        let keys = KEY.iter().cycle();
        bytes
            .iter()
            .zip(keys)
            .map(|(byte, key)| byte ^ key)
            .collect()
    }

    #[test]
    fn every_length_at_every_alignment_is_masked_byte_by_byte() {
        let plain: Vec<u8> = (0..200_u8).collect();
        for start in 0..16 {
            for end in start..plain.len() {
                let mut bytes = plain.clone();
                Mask::new(KEY).apply(&mut bytes[start..end]);
                assert_eq!(bytes[start..end], byte_by_byte(&plain[start..end]));
                assert_eq!(bytes[..start], plain[..start]);
                assert_eq!(bytes[end..], plain[end..]);
            }
        }
    }

    #[test]
    fn pieces_are_masked_as_the_whole() {
        let plain: Vec<u8> = (0..100_u8).collect();
        let whole = byte_by_byte(&plain);
        for first in 0..plain.len() {
            for second in first..plain.len() {
                let mut bytes = plain.clone();
                let mut mask = Mask::new(KEY);
                mask.apply(&mut bytes[..first]);
                mask.apply(&mut bytes[first..second]);
                mask.apply(&mut bytes[second..]);
                assert_eq!(bytes, whole, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_mask_shows_no_key() {
        assert_eq!(format!("{:?}", Mask::new(KEY)), "Mask");
    }
}
