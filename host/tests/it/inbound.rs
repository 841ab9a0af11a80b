//! A raw response, message by message as it comes; and a plugin under a name of the test's own, so
//! that lines of the shared log are known to be this test's.

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;
use switchboard_test_support::{guest, patiently};
use tempfile::TempDir;

/// Messages of a response whose headers are here.
#[derive(Debug)]
pub(crate) struct Inbound {
    body: RecvStream,
    wire: BytesMut,
}

impl Inbound {
    /// Reads `body`, which no one has read from.
    pub(crate) fn new(body: RecvStream) -> Self {
        Self {
            body,
            wire: BytesMut::new(),
        }
    }

    /// The next message; none at the end.
    ///
    /// # Errors
    /// When the stream is reset.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, h2::Error> {
        loop {
            if let Some(message) = self.whole() {
                return Ok(Some(message));
            }
            let Some(chunk) = patiently("a message", self.body.data()).await else {
                assert!(self.wire.is_empty(), "the response ends within a message");
                return Ok(None);
            };
            let chunk = chunk?;
            self.body.flow_control().release_capacity(chunk.len())?;
            self.wire.extend_from_slice(&chunk);
        }
    }

    /// The trailers, after the last message.
    ///
    /// # Errors
    /// When the stream is reset.
    pub(crate) async fn trailers(&mut self) -> Result<HeaderMap, h2::Error> {
        let trailers = patiently("trailers", self.body.trailers()).await?;
        Ok(trailers.expect("a response ends with trailers"))
    }

    /// The message at the front, if all of it is here.
    fn whole(&mut self) -> Option<Bytes> {
        let length = self.wire.get(1..5)?.try_into().expect("four bytes");
        let length = usize::try_from(u32::from_be_bytes(length)).expect("small");
        if self.wire.len() < 5 + length {
            return None;
        }
        Some(self.wire.split_to(5 + length).freeze().slice(5..))
    }
}

/// A copy of the component of `guests/NAME` that is loaded as plugin `plugin`. The folder goes when
/// the first value is dropped; the host reads the file only when it is built.
pub(crate) fn copy_as(name: &str, plugin: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(plugin).with_extension("wasm");
    std::fs::copy(guest(name), &path).expect("a copy");
    (folder, path)
}
