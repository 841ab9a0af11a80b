//! `switchboard.admin.v1.Admin`: which plugins there are, who is connected, and changing both, for whoever runs
//! the host.
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
use crate::telemetry::{
    ConnectionInfo, Keeper, NotChanged, PluginReport, PoolReport, Standing, Telemetry, TunnelInfo,
};

/// The service's name.
pub(crate) const ADMIN: &str = "switchboard.admin.v1.Admin";

/// Its methods, by their place; all are unary.
const METHODS: [&str; 6] = [
    "ListPlugins",
    "ReloadPlugin",
    "DrainPlugin",
    "ListConnections",
    "ListTunnels",
    "CloseTunnel",
];

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

    async fn answer(self, method: usize, request: Bytes) -> Result<Bytes, Status> {
        match METHODS.get(method) {
            Some(&"ListPlugins") => self.list_plugins(),
            Some(&"ReloadPlugin") => self.reload_plugin(&request).await,
            Some(&"DrainPlugin") => self.drain_plugin(&request),
            Some(&"ListConnections") => Ok(self.list_connections()),
            Some(&"ListTunnels") => Ok(self.list_tunnels()),
            Some(&"CloseTunnel") => self.close_tunnel(&request),
            Some(_) | None => Err(Status::new(Code::Unimplemented, "no such method")),
        }
    }

    fn keeper(&self) -> Result<Arc<dyn Keeper>, Status> {
        let not_yet = "the host does not serve, or not yet";
        let keeper = self.telemetry.keeper();
        keeper.ok_or_else(|| Status::new(Code::Unavailable, not_yet))
    }

    fn list_plugins(&self) -> Result<Bytes, Status> {
        let mut list = Message::default();
        for plugin in self.keeper()?.plugins() {
            list.bytes(1, plugin_message(&plugin).as_bytes());
        }
        Ok(list.into())
    }

    async fn reload_plugin(&self, request: &[u8]) -> Result<Bytes, Status> {
        let (name, _) = named(request, "ReloadPluginRequest")?;
        tracing::info!(plugin = name, "the operator loads a plugin anew");
        let reloading = self.keeper()?.reload(name);
        reloading.await.map_err(status_of)?;
        Ok(Bytes::new())
    }

    fn drain_plugin(&self, request: &[u8]) -> Result<Bytes, Status> {
        let (name, _) = named(request, "DrainPluginRequest")?;
        self.keeper()?.drain(&name).map_err(status_of)?;
        tracing::info!(plugin = name, "the operator takes a plugin out of service");
        Ok(Bytes::new())
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
        let (id, now) = named(request, "CloseTunnelRequest")?;
        if !self.telemetry.close_tunnel(&id, now) {
            let text =
                format!("no tunnel here has the id {id:?}; ListTunnels has those that are open");
            return Err(Status::new(Code::NotFound, text));
        }
        tracing::info!(tunnel = id, now, "the operator closes a tunnel");
        Ok(Bytes::new())
    }
}

/// A request that names something, and perhaps switches something on.
fn named(request: &[u8], what: &str) -> Result<(String, bool), Status> {
    let read = || {
        let (mut name, mut on) = (String::new(), false);
        for field in Fields::of(request) {
            match field? {
                (1, value) => value.text()?.clone_into(&mut name),
                (2, value) => on = value.int32()? != 0,
                _ => {}
            }
        }
        Ok((name, on))
    };
    read().map_err(|Malformed| {
        Status::new(Code::InvalidArgument, format!("the message is no {what}"))
    })
}

fn status_of(why: NotChanged) -> Status {
    match why {
        NotChanged::Unknown(words) => Status::new(Code::NotFound, words),
        NotChanged::Refused(words) => Status::new(Code::FailedPrecondition, words),
    }
}

/// Text, unless there is none: proto3 leaves it out.
fn text(message: &mut Message, field: u32, text: &str) {
    if !text.is_empty() {
        message.bytes(field, text.as_bytes());
    }
}

fn plugin_message(plugin: &PluginReport) -> Message {
    let mut message = Message::default();
    text(&mut message, 1, &plugin.name);
    text(&mut message, 2, &plugin.path);
    text(&mut message, 3, &plugin.digest);
    for service in &plugin.services {
        message.bytes(4, service.as_bytes());
    }
    message.varint(
        5,
        match plugin.standing {
            Standing::Serving => 1,
            Standing::Quarantined => 2,
            Standing::Refused => 3,
            Standing::Drained => 4,
        },
    );
    text(&mut message, 6, &plugin.fault);
    message.bytes(7, pool_message(&plugin.pool).as_bytes());
    message
}

fn pool_message(pool: &PoolReport) -> Message {
    let mut message = Message::default();
    for (field, number) in [
        (1, pool.leased_unary.into()),
        (2, pool.leased_streams.into()),
        (3, pool.idle.into()),
        (4, pool.waiting.into()),
        (5, pool.made),
        (6, pool.refused),
        (7, pool.faults),
        (8, pool.quarantines),
    ] {
        message.varint(field, number);
    }
    message
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
        Box::pin(self.clone().answer(method, request))
    }

    fn stream(&self, _method: usize, _call: Arc<dyn Exchange>) -> NativeFuture<()> {
        let none = Status::new(Code::Unimplemented, "no method here is a stream");
        Box::pin(std::future::ready(Err(none)))
    }
}
