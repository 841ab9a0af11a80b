//! What `switchboard serve` may be told about compression. Called by nobody: clap fills it in,
//! `cmd::serve` reads it.

use bytesize::ByteSize;
use switchboard_host::{CompressionConfig, Encoding};

/// Compression of responses. Requests may come compressed with each of the encodings.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Compression")]
pub(crate) struct Compression {
    /// Encodings that responses may use, the preferred one first, or `none`
    /// [default: zstd,gzip,deflate].
    #[arg(long, value_name = "LIST", value_parser = encodings)]
    pub response_encodings: Option<Encodings>,

    /// Compress the responses of plugins that do not say themselves what they want.
    #[arg(long)]
    pub compress_responses: bool,

    /// Size of a message from which --compress-responses compresses it [default: 1KiB].
    #[arg(long, value_name = "SIZE", requires = "compress_responses")]
    pub compress_min: Option<ByteSize>,
}

/// A list of encodings in the operator's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encodings(pub Vec<Encoding>);

fn encodings(text: &str) -> Result<Encodings, String> {
    if text == "none" {
        return Ok(Encodings(Vec::new()));
    }
    let names = text.split(',').map(str::trim);
    let found: Result<_, _> = names
        .map(|name| name.parse().map_err(|error| format!("{name:?}: {error}")))
        .collect();
    found.map(Encodings)
}

impl Compression {
    /// What is typed, over what is not.
    pub(crate) fn config(&self) -> CompressionConfig {
        let default = CompressionConfig::default();
        CompressionConfig {
            encodings: match &self.response_encodings {
                Some(Encodings(typed)) => typed.clone(),
                None => default.encodings,
            },
            by_default: self.compress_responses,
            // What does not fit is larger than any message.
            bytes_min: self.compress_min.map_or(default.bytes_min, |size| {
                usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_encodings_keeps_its_order() {
        use Encoding::{Deflate, Gzip, Zstd};
        for (text, expected) in [
            ("none", vec![]),
            ("gzip", vec![Gzip]),
            ("deflate, zstd,gzip", vec![Deflate, Zstd, Gzip]),
        ] {
            assert_eq!(encodings(text), Ok(Encodings(expected)), "{text}");
        }
        for text in ["", "gzip,", "br", "none,gzip", "gzip;q=1"] {
            assert!(encodings(text).is_err(), "{text}");
        }
    }
}
