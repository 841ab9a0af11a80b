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
        for (byte, key) in rest.iter_mut().zip(self.key.iter().cycle()) {
            *byte ^= key;
        }
        self.key.rotate_left(length % 4);
    }
}
