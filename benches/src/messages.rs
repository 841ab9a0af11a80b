//! Messages of the sample plugins, as far as they are called here, and calls made of them.
//!
//! Called by `guests` and by the benches. The services are in `proto/`; their messages are written down again,
//! field by field, because a few fields are all that is needed. A leaf.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// `testservice.Block`: what `Flood` sends and `Swallow` counts.
#[derive(Clone, PartialEq, Message)]
pub struct Block {
    /// 0, 1, 2, ...
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// From `Flood`, each byte is the low one of `index`.
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
}

/// `testservice.FloodRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct FloodRequest {
    /// Blocks.
    #[prost(uint32, tag = "1")]
    pub count: u32,
    /// Bytes in each.
    #[prost(uint32, tag = "2")]
    pub size_bytes: u32,
}

/// `testservice.Total`.
#[derive(Clone, PartialEq, Message)]
pub struct Total {
    /// Messages.
    #[prost(int64, tag = "1")]
    pub count: i64,
    /// Their sum.
    #[prost(int64, tag = "2")]
    pub total: i64,
}

/// `testservice.AddRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct AddRequest {
    /// One.
    #[prost(int64, tag = "1")]
    pub a: i64,
    /// The other.
    #[prost(int64, tag = "2")]
    pub b: i64,
}

/// `testservice.Number`.
#[derive(Clone, PartialEq, Message)]
pub struct Number {
    /// The number.
    #[prost(int64, tag = "1")]
    pub value: i64,
}

/// `helloworld.HelloRequest` and `helloworld.HelloReply`, which have the same shape.
#[derive(Clone, PartialEq, Message)]
pub struct Hello {
    /// `name` in one, `message` in the other.
    #[prost(string, tag = "1")]
    pub text: String,
}

/// `grpc.testing.Payload`.
#[derive(Clone, PartialEq, Message)]
pub struct Payload {
    /// Its bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub body: Vec<u8>,
}

/// `grpc.testing.SimpleRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct SimpleRequest {
    /// Bytes wanted in the payload of the response.
    #[prost(int32, tag = "2")]
    pub response_size: i32,
    /// Sent along.
    #[prost(message, optional, tag = "3")]
    pub payload: Option<Payload>,
}

/// `grpc.testing.SimpleResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct SimpleResponse {
    /// Zeros.
    #[prost(message, optional, tag = "1")]
    pub payload: Option<Payload>,
}

/// A call of any method, with all that is sent and all that must come back, as it goes over the wire.
#[derive(Clone, Debug)]
pub struct Call {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// Request messages in their frames.
    pub request: Bytes,
    /// Response messages in their frames.
    pub answer: Bytes,
}

impl Call {
    /// With one message each way.
    #[must_use]
    pub fn unary(path: &'static str, request: &impl Message, answer: &impl Message) -> Self {
        Self::raw(path, &request.encode_to_vec(), &answer.encode_to_vec())
    }

    /// With one message each way that is no protobuf.
    #[must_use]
    pub fn raw(path: &'static str, request: &[u8], answer: &[u8]) -> Self {
        Self {
            path,
            request: framed([request]),
            answer: framed([answer]),
        }
    }

    /// `Flood`: `count` messages of `size` bytes each come back.
    #[must_use]
    pub fn flood(count: u32, size: u32) -> Self {
        let request = FloodRequest {
            count,
            size_bytes: size,
        };
        Self {
            path: "/testservice.Probe/Flood",
            request: framed([request.encode_to_vec()]),
            answer: framed(blocks(count, size)),
        }
    }

    /// `Swallow`: `count` messages of `size` bytes each go there.
    #[must_use]
    pub fn swallow(count: u32, size: u32) -> Self {
        let total = Total {
            count: count.into(),
            total: i64::from(count) * i64::from(size),
        };
        Self {
            path: "/testservice.Probe/Swallow",
            request: framed(blocks(count, size)),
            answer: framed([total.encode_to_vec()]),
        }
    }
}

fn blocks(count: u32, size: u32) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(move |index| {
        let byte = index.to_le_bytes()[0];
        let data = std::iter::repeat_n(byte, usize::try_from(size).unwrap_or(usize::MAX));
        let block = Block {
            index,
            data: data.collect(),
        };
        block.encode_to_vec()
    })
}

/// Messages in their frames, one behind the other. Source: gRPC over HTTP/2, "Length-Prefixed-Message".
///
/// # Panics
/// If a message is 4 GiB or more.
#[must_use]
pub fn framed<M: AsRef<[u8]>>(messages: impl IntoIterator<Item = M>) -> Bytes {
    let mut wire = BytesMut::new();
    for message in messages {
        let message = message.as_ref();
        wire.put_u8(0);
        wire.put_u32(u32::try_from(message.len()).expect("a message is shorter than 4 GiB"));
        wire.extend_from_slice(message);
    }
    wire.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_one_behind_the_other() {
        let wire = framed([&b"ab"[..], b""]);
        assert_eq!(wire, &[0, 0, 0, 0, 2, b'a', b'b', 0, 0, 0, 0, 0][..]);
    }

    #[test]
    fn a_flood_is_as_the_service_promises() {
        let call = Call::flood(257, 2);
        let last = Block {
            index: 256,
            data: vec![0; 2],
        };
        assert!(call.answer.ends_with(&framed([last.encode_to_vec()])));
        assert_eq!(call.answer, Call::swallow(257, 2).request);
    }
}
