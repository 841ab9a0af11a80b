//! Metadata: what gRPC sends beside messages, and why the host may refuse some of it.
//!
//! An ordered list in which a key may occur more than once. Used for request metadata, response
//! headers and trailers. Checks nothing itself: the host does (`wit/call.wit`), and natively the
//! fake of [`crate::testing`] applies the same rules.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::Status;

/// Ordered pairs of a key and its value; a key may occur more than once.
///
/// Keys are lower-case ASCII (`0-9 a-z _ - .`). The value of a key that ends in `-bin` is raw
/// bytes, never base64; any other value is printable ASCII.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    entries: Vec<(String, Vec<u8>)>,
}

impl Metadata {
    /// Metadata without entries.
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// The first value of `key`.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// The first value of `key`, if it is valid UTF-8, which every value of a key without `-bin`
    /// is.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        core::str::from_utf8(self.get(key)?).ok()
    }

    /// All values of `key`, in order.
    pub fn get_all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// Adds a value after those that `key` has.
    pub fn append(&mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.entries.push((key.into(), value.into()));
    }

    /// Sets the only value of `key`, in place of those it had.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) {
        let key = key.into();
        self.remove(&key);
        self.append(key, value);
    }

    /// Takes all values of `key` out and says whether there was one.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(name, _)| name != key);
        self.entries.len() != before
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()))
    }
}

impl<K: Into<String>, V: Into<Vec<u8>>> Extend<(K, V)> for Metadata {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        for (key, value) in pairs {
            self.append(key, value);
        }
    }
}

impl<K: Into<String>, V: Into<Vec<u8>>> FromIterator<(K, V)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut metadata = Self::new();
        metadata.extend(pairs);
        metadata
    }
}

impl IntoIterator for Metadata {
    type Item = (String, Vec<u8>);
    type IntoIter = alloc::vec::IntoIter<(String, Vec<u8>)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

/// Why the host refused a response header or trailer.
///
/// Converts into a [`Status`], so that a handler may use `?`. Source: `wit/call.wit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataError {
    /// The key is empty, or has a character outside `0-9 a-z _ - .`.
    InvalidKey,
    /// The key belongs to gRPC or HTTP/2.
    ReservedKey,
    /// The value of a key without `-bin` is not printable ASCII.
    InvalidValue,
    /// The headers, or the trailers, would pass the host's limit.
    TooLarge,
    /// The headers have left already.
    AlreadySent,
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidKey => "response metadata key is not lower-case ASCII",
            Self::ReservedKey => "response metadata key is reserved for gRPC or HTTP/2",
            Self::InvalidValue => "response metadata value is not printable ASCII",
            Self::TooLarge => "response metadata is larger than the host's limit",
            Self::AlreadySent => "response headers have been sent already",
        })
    }
}

impl core::error::Error for MetadataError {}

impl From<MetadataError> for Status {
    /// `RESOURCE_EXHAUSTED` for metadata beyond the limit, `INTERNAL` for the rest: those are
    /// mistakes of the plugin.
    fn from(error: MetadataError) -> Self {
        let message = alloc::format!("{error}");
        match error {
            MetadataError::TooLarge => Self::resource_exhausted(message),
            MetadataError::InvalidKey
            | MetadataError::ReservedKey
            | MetadataError::InvalidValue
            | MetadataError::AlreadySent => Self::internal(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    #[test]
    fn keeps_order_and_repeated_keys() {
        let mut metadata: Metadata = [("a", "1"), ("b", "2"), ("a", "3")].into_iter().collect();
        assert_eq!(metadata.get_str("a"), Some("1"));
        assert_eq!(metadata.get_all("a").collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!(metadata.len(), 3);

        metadata.insert("a", "4");
        let pairs: Vec<_> = metadata.iter().collect();
        assert_eq!(pairs, [("b", b"2".as_slice()), ("a", b"4".as_slice())]);
        assert!(metadata.remove("b"));
        assert!(!metadata.remove("b"));
        assert_eq!(metadata.get("b"), None);
    }

    #[test]
    fn text_of_a_binary_value_is_none() {
        let metadata: Metadata = [("x-bin", [0xff_u8].as_slice())].into_iter().collect();
        assert_eq!(metadata.get_str("x-bin"), None);
        assert_eq!(metadata.get("x-bin"), Some([0xff].as_slice()));
    }

    #[test]
    fn refused_metadata_becomes_a_status() {
        assert_eq!(
            Status::from(MetadataError::ReservedKey).code(),
            Code::Internal
        );
        assert_eq!(
            Status::from(MetadataError::TooLarge).code(),
            Code::ResourceExhausted
        );
    }
}
