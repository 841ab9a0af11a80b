//! How a plugin's messages are compressed.
//!
//! Read by `grpc`. Requests are taken in every [`Encoding`], whatever is set here: a caller may
//! compress as it likes, and what it sends is limited by the size that it decompresses to.

use std::fmt;
use std::str::FromStr;

/// A way to compress messages, by its name in `grpc-encoding`.
/// Source: gRPC over HTTP/2, "Content-Coding"; zstd is RFC 8878.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// DEFLATE in the format of zlib (RFC 1950).
    Deflate,
    /// DEFLATE in the format of gzip (RFC 1952).
    Gzip,
    /// Zstandard: as small as the other two in a third of the time or less. Few clients have it.
    Zstd,
}

impl Encoding {
    /// Each of them once.
    pub const ALL: [Self; 3] = [Self::Deflate, Self::Gzip, Self::Zstd];

    /// Its name in `grpc-encoding` and `grpc-accept-encoding`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deflate => "deflate",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of an [`Encoding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such encoding; there are deflate, gzip and zstd")]
pub struct EncodingError;

impl FromStr for Encoding {
    type Err = EncodingError;

    fn from_str(name: &str) -> Result<Self, EncodingError> {
        let mut all = Self::ALL.into_iter();
        all.find(|encoding| encoding.name() == name)
            .ok_or(EncodingError)
    }
}

/// Compression of a plugin's responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressionConfig {
    /// What may be used, the preferred one first: the first that the caller takes is used. Empty:
    /// no response is compressed, though a plugin asks for it. Default: zstd, gzip, deflate.
    pub encodings: Vec<Encoding>,
    /// Whether messages are compressed where the plugin does not say. Default: no, as other gRPC
    /// servers have it: it costs CPU, and the size of a compressed message tells of its content
    /// where a secret and text of the caller's come together.
    pub by_default: bool,
    /// Size of a message from which it is compressed by default, in bytes. Default 1 KiB: it then costs
    /// 5 us (zstd) to 15 us (gzip), more than all else of a call, and smaller ones fit in one packet
    /// anyway. No limit for a plugin that asks.
    pub bytes_min: usize,
}

impl Default for CompressionConfig {
    fn default() -> Self {
        Self {
            encodings: vec![Encoding::Zstd, Encoding::Gzip, Encoding::Deflate],
            by_default: false,
            bytes_min: 1024,
        }
    }
}

impl CompressionConfig {
    /// A fault for what contradicts itself.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        let twice = self.encodings.iter().enumerate().filter(|(at, encoding)| {
            let before = self.encodings.iter().take(*at);
            before.into_iter().any(|other| other == *encoding)
        });
        let twice = twice.map(|(_, encoding)| format!("encodings: {encoding} is named twice"));
        let none = (self.by_default && self.encodings.is_empty()).then(|| {
            "compression by_default needs one of the encodings, and none is allowed".to_owned()
        });
        twice.chain(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for encoding in Encoding::ALL {
            assert_eq!(encoding.to_string().parse(), Ok(encoding));
        }
        for name in ["", "identity", "GZIP", "br", "gzip "] {
            assert_eq!(name.parse::<Encoding>(), Err(EncodingError), "{name:?}");
        }
    }

    #[test]
    fn contradictions_are_faults() {
        let count = |config: CompressionConfig| config.faults().count();
        assert_eq!(count(CompressionConfig::default()), 0);
        let twice = CompressionConfig {
            encodings: vec![Encoding::Gzip, Encoding::Zstd, Encoding::Gzip],
            ..CompressionConfig::default()
        };
        assert_eq!(count(twice), 1);
        let off = CompressionConfig {
            encodings: Vec::new(),
            ..CompressionConfig::default()
        };
        assert_eq!(count(off.clone()), 0);
        let by_default = true;
        assert_eq!(count(CompressionConfig { by_default, ..off }), 1);
    }
}
