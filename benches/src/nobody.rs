//! A caller who is not there: what a handler sees of its call when there is no network at all.
//!
//! Called by the benches that measure an instance by itself. A unary call of a plugin that asks for nothing never
//! comes here; whoever asks finds no metadata, no deadline and no message.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use switchboard_host::{CancelReason, Exchange, MetadataError, Outbound, Received, SendError};

/// The call of nobody.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Exchange for Nobody {
    fn value(&self, _key: &str) -> Option<Vec<u8>> {
        None
    }

    fn metadata(&self) -> Vec<(String, Vec<u8>)> {
        Vec::new()
    }

    fn peer(&self) -> String {
        "nobody".to_owned()
    }

    fn time_left(&self) -> Option<Duration> {
        None
    }

    fn cancelled(&self) -> Option<CancelReason> {
        None
    }

    fn received_compressed(&self) -> bool {
        false
    }

    fn set_compression(&self, _on: bool) -> bool {
        false
    }

    fn set_header(&self, _key: &str, _value: &[u8]) -> Result<(), MetadataError> {
        Ok(())
    }

    fn send_headers(&self) {}

    fn set_trailer(&self, _key: &str, _value: &[u8]) -> Result<(), MetadataError> {
        Ok(())
    }

    fn poll_receivable(&self, _cx: &mut Context<'_>) -> Poll<Option<usize>> {
        Poll::Ready(None)
    }

    fn poll_receive(&self, _cx: &mut Context<'_>) -> Poll<Received> {
        Poll::Ready(Received::End)
    }

    fn poll_send(
        &self,
        _cx: &mut Context<'_>,
        _message: &mut Outbound,
    ) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&self, _cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn cancel(&self, _reason: CancelReason) {}

    fn frame(&self, message: Bytes) -> Result<Outbound, SendError> {
        Ok(Outbound::new(message))
    }
}
