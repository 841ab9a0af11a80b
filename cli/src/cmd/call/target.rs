//! Where a call goes, and what travels with it. Called by `cmd::call`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use switchboard_client::transport::{BoxFuture, Connected, Connector, Transport};
use switchboard_client::{Channel, ConnectError};
use switchboard_host::ConfigError;
use tokio::net::UnixStream;
use tonic::metadata::{
    AsciiMetadataKey, AsciiMetadataValue, BinaryMetadataKey, BinaryMetadataValue, MetadataMap,
};

use crate::args::Call;
use crate::settings::{host_port_fault, unix_path};

/// The channel to the server that the command line names.
pub(super) fn open(args: &Call) -> Result<Channel> {
    let server = &args.server;
    if !server.contains("://")
        && unix_path(server).is_none()
        && let Some(fault) = host_port_fault(server)
    {
        return Err(ConfigError(vec![format!("SERVER {fault}")]).into());
    }
    let mut builder = match unix_path(server) {
        // What is called must have a name, and a socket has none that HTTP/2 takes.
        Some(path) => Channel::builder("http://localhost").with_connector(Unix(path.to_owned())),
        None if server.contains("://") => Channel::builder(server),
        None => Channel::builder(&format!("http://{server}")),
    };
    if let Some(file) = &args.ca {
        builder = builder.with_ca_pem(read(file)?);
    }
    if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
        builder = builder.with_identity_pem(read(cert)?, read(key)?);
    }
    if let Some(file) = &args.token {
        builder = builder.with_token(&super::super::forward::token(file)?);
    }
    let builder = builder.configure(|config| config.connect_timeout = args.connect_timeout);
    let channel = builder.build();
    channel.map_err(|error| ConfigError(vec![format!("{server}: {error}")]).into())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("reading {}", file.display()))
}

/// What the command line adds to the call.
pub(super) fn metadata(headers: &[(String, String)]) -> Result<MetadataMap> {
    let mut metadata = MetadataMap::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let wrong = |what: &str| ConfigError(vec![format!("--header {name:?}: {what}")]);
        if name.ends_with("-bin") {
            let key = BinaryMetadataKey::from_bytes(name.as_bytes());
            let key = key.map_err(|_| wrong("is no name of metadata"))?;
            let value = binary(value).ok_or_else(|| wrong("the value is not base64"))?;
            metadata.append_bin(key, value);
        } else {
            let key = AsciiMetadataKey::from_bytes(name.as_bytes());
            let key = key.map_err(|_| wrong("is no name of metadata"))?;
            let value = AsciiMetadataValue::try_from(value.as_str());
            let value = value.map_err(|_| wrong("the value is not printable ASCII"))?;
            metadata.append(key, value);
        }
    }
    Ok(metadata)
}

fn binary(text: &str) -> Option<BinaryMetadataValue> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    let decoded = STANDARD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text));
    decoded
        .ok()
        .map(|bytes| BinaryMetadataValue::from_bytes(&bytes))
}

/// A server behind a Unix socket.
struct Unix(PathBuf);

impl Connector for Unix {
    fn connect(&self) -> BoxFuture<Result<Connected, ConnectError>> {
        let path = self.0.clone();
        Box::pin(async move {
            let stream = UnixStream::connect(&path).await;
            let stream = stream.map_err(|error| {
                let (address, text) = (path.display().to_string(), error.to_string());
                ConnectError::Unreachable { address, text }
            })?;
            Ok(Connected::new(stream, Transport::Other("Unix socket")))
        })
    }
}
