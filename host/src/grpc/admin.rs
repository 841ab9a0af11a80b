//! `switchboard.admin.v1.Admin`: who is connected, and closing tunnels, for whoever runs the host.
//!
//! Made by `admin`, which serves it on a listener of its own; asks `Telemetry`. Source of the messages:
//! proto/switchboard/admin/v1/admin.proto. Knows no HTTP/2 and no wasm.

use std::sync::Arc;

use bytes::Bytes;

use super::protobuf::{Fields, Malformed, Message};
use super::route::{NativeFuture, NativeMethod, NativeService};
use crate::guest::MethodKind;
use crate::imports::call::Exchange;
use crate::status::{Code, Status};
use crate::telemetry::{ConnectionInfo, Telemetry, TunnelInfo};

/// The service's name.
pub(crate) const ADMIN: &str = "switchboard.admin.v1.Admin";

/// Its methods, by their place; all are unary.
const METHODS: [&str; 3] = ["ListConnections", "ListTunnels", "CloseTunnel"];

/// Largest request, in bytes: an id, generously.
const REQUEST_BYTES_MAX: usize = 4 * 1024;

/// The service of one host.
#[derive(Clone, Debug)]
pub(crate) struct AdminService {
    telemetry: Telemetry,
}

impl AdminService {
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        Self { telemetry }
    }

    fn answer(&self, method: usize, request: &[u8]) -> Result<Bytes, Status> {
        match METHODS.get(method) {
            Some(&"ListConnections") => Ok(self.list_connections()),
            Some(&"ListTunnels") => Ok(self.list_tunnels()),
            Some(&"CloseTunnel") => self.close_tunnel(request),
            Some(_) | None => Err(Status::new(Code::Unimplemented, "no such method")),
        }
    }

    fn list_connections(&self) -> Bytes {
        let mut list = Message::default();
        for connection in self.telemetry.open_connections() {
            list.bytes(1, connection_message(&connection).as_bytes());
        }
        list.into()
    }

    fn list_tunnels(&self) -> Bytes {
        let mut list = Message::default();
        for tunnel in self.telemetry.open_tunnels() {
            list.bytes(1, tunnel_message(&tunnel).as_bytes());
        }
        list.into()
    }

    fn close_tunnel(&self, request: &[u8]) -> Result<Bytes, Status> {
        let (id, now) = close_request(request).map_err(|Malformed| {
            let text = "the message is no CloseTunnelRequest";
            Status::new(Code::InvalidArgument, text)
        })?;
        if !self.telemetry.close_tunnel(&id, now) {
            let text =
                format!("no tunnel here has the id {id:?}; ListTunnels has those that are open");
            return Err(Status::new(Code::NotFound, text));
        }
        tracing::info!(tunnel = id, now, "the operator closes a tunnel");
        Ok(Bytes::new())
    }
}

fn close_request(request: &[u8]) -> Result<(String, bool), Malformed> {
    let (mut id, mut now) = (String::new(), false);
    for field in Fields::of(request) {
        match field? {
            (1, value) => value.text()?.clone_into(&mut id),
            (2, value) => now = value.int32()? != 0,
            _ => {}
        }
    }
    Ok((id, now))
}

/// Text, unless there is none: proto3 leaves it out.
fn text(message: &mut Message, field: u32, text: &str) {
    if !text.is_empty() {
        message.bytes(field, text.as_bytes());
    }
}

fn connection_message(connection: &ConnectionInfo) -> Message {
    let mut message = Message::default();
    message.varint(1, connection.id);
    text(&mut message, 2, &connection.peer);
    text(
        &mut message,
        3,
        connection.tunnel.as_deref().unwrap_or_default(),
    );
    message.varint(4, connection.age.as_secs());
    message.varint(5, connection.calls.into());
    message
}

fn tunnel_message(tunnel: &TunnelInfo) -> Message {
    let mut message = Message::default();
    text(&mut message, 1, &tunnel.id);
    text(&mut message, 2, &tunnel.peer);
    text(
        &mut message,
        3,
        tunnel.origin.as_deref().unwrap_or_default(),
    );
    text(
        &mut message,
        4,
        tunnel.identity.as_deref().unwrap_or_default(),
    );
    message.varint(5, tunnel.age.as_secs());
    message.varint(6, tunnel.calls.into());
    message.varint(7, tunnel.received_bytes);
    message.varint(8, tunnel.sent_bytes);
    message
}

impl NativeService for AdminService {
    fn name(&self) -> &str {
        ADMIN
    }

    fn methods(&self) -> Vec<NativeMethod> {
        let kind = MethodKind::Unary;
        METHODS.map(|name| NativeMethod { name, kind }).into()
    }

    fn file_descriptor_set(&self) -> Option<&'static [u8]> {
        Some(include_bytes!("descriptors/admin.bin"))
    }

    fn request_bytes_max(&self) -> Option<usize> {
        Some(REQUEST_BYTES_MAX)
    }

    fn unary(
        &self,
        method: usize,
        _call: Arc<dyn Exchange>,
        request: Bytes,
    ) -> NativeFuture<Bytes> {
        Box::pin(std::future::ready(self.answer(method, &request)))
    }

    fn stream(&self, _method: usize, _call: Arc<dyn Exchange>) -> NativeFuture<()> {
        let none = Status::new(Code::Unimplemented, "no method here is a stream");
        Box::pin(std::future::ready(Err(none)))
    }
}
