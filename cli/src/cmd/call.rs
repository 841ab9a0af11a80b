//! `switchboard call`: a call of any method of any server that answers reflection, with JSON both ways.
//!
//! Called by `main`. `target` opens the channel, `reflect` learns what there is, `requests` reads messages, `codec`
//! carries them as they are; here is the call itself and what is said of it. stdout gets responses and nothing else.

mod codec;
mod reflect;
mod requests;
mod target;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, SerializeOptions};
use switchboard_client::Channel;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Request, Status};

use super::say;
use crate::args::Call;
use codec::DynamicCodec;
use requests::Requests;

/// The call ended with another status than OK.
const EXIT_STATUS: u8 = 3;

/// Runs the command.
pub(crate) fn run(args: Box<Call>) -> Result<ExitCode> {
    let channel = target::open(&args)?;
    let metadata = target::metadata(&args.header)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting")?;
    let ended = runtime.block_on(call(&args, channel, metadata));
    // A thread that still reads stdin must not hold the end up.
    runtime.shutdown_background();
    ended
}

async fn call(args: &Call, channel: Channel, metadata: MetadataMap) -> Result<ExitCode> {
    let mut server = reflect::Server::new(channel.clone(), metadata.clone());
    let Some(asked) = &args.method else {
        let mut services = server.services().await?;
        services.sort();
        say::print((services.join("\n") + "\n").as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    let asked = asked.trim_start_matches('/');
    if let Some((service, method)) = asked.rsplit_once('/') {
        let pool = server.describe(service).await?;
        let method = find(&pool, service, method)?;
        return make(args, channel, metadata, &pool, method).await;
    }
    let pool = server.describe(asked).await?;
    match pool.get_service_by_name(asked) {
        Some(service) => {
            say::print(service.methods().map(shown).collect::<String>().as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        None => bail!("{asked} is no service; write package.Service, or package.Service/Method"),
    }
}

fn find(pool: &DescriptorPool, service: &str, method: &str) -> Result<MethodDescriptor> {
    let of = pool
        .get_service_by_name(service)
        .with_context(|| format!("{service} is no service"))?;
    let found = of.methods().find(|of| of.name() == method);
    found.with_context(|| {
        let names: Vec<_> = of.methods().map(|of| of.name().to_owned()).collect();
        format!(
            "{service} has no method {method}; it has {}",
            names.join(", ")
        )
    })
}

/// A method as `.proto` files have it, and an example of its request.
fn shown(method: MethodDescriptor) -> String {
    let stream = |is: bool| if is { "stream " } else { "" };
    let (input, output) = (method.input(), method.output());
    let example = json(&DynamicMessage::new(input.clone()), true);
    format!(
        "{}/{} ({}{}) returns ({}{})\n  {example}\n",
        method.parent_service().full_name(),
        method.name(),
        stream(method.is_client_streaming()),
        input.full_name(),
        stream(method.is_server_streaming()),
        output.full_name(),
    )
}

async fn make(
    args: &Call,
    channel: Channel,
    metadata: MetadataMap,
    pool: &DescriptorPool,
    method: MethodDescriptor,
) -> Result<ExitCode> {
    let begun = Instant::now();
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path).context("the name of the method")?;
    let mut requests = Requests::of(&args.messages, &method)?;
    let mut request = Request::new(requests.take());
    *request.metadata_mut() = metadata;
    if let Some(timeout) = args.timeout {
        request.set_timeout(timeout);
    }
    if args.verbose {
        show(">", request.metadata());
    }
    let response_max = usize::try_from(args.response_max.as_u64()).unwrap_or(usize::MAX);
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(response_max);
    let codec = DynamicCodec::new(method.output());
    let calling = async {
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        // Whatever the kind, a call is messages both ways; how many there may be is the server's to say.
        let response = grpc.streaming(request, path, codec).await?;
        if args.verbose {
            show("<", response.metadata());
        }
        let mut messages = response.into_inner();
        while let Some(message) = messages.next().await {
            let text = json(&message?, args.compact);
            // Who reads no more wants no more.
            if say::print((text + "\n").as_bytes()).is_err() {
                return Ok(());
            }
        }
        let trailers = messages.trailers().await?;
        if let Some(trailers) = trailers.filter(|_| args.verbose) {
            show("<", &trailers);
        }
        Ok(())
    };
    let ended: Result<(), Status> = tokio::select! {
        ended = calling => ended,
        wrong = requests.fault() => return Err(wrong),
    };
    if args.verbose {
        eprint(&format!("took {:?}\n", begun.elapsed()));
    }
    match ended {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(status) => {
            if args.verbose {
                show("<", status.metadata());
            }
            say::error(&failure(pool, &status));
            Ok(ExitCode::from(EXIT_STATUS))
        }
    }
}

/// A message as JSON; all fields of it, so that one sees what there is.
fn json(message: &DynamicMessage, compact: bool) -> String {
    let options = SerializeOptions::new().skip_default_fields(false);
    let mut out = Vec::new();
    let written = if compact {
        message.serialize_with_options(&mut serde_json::Serializer::new(&mut out), &options)
    } else {
        message.serialize_with_options(&mut serde_json::Serializer::pretty(&mut out), &options)
    };
    match written {
        Ok(()) => String::from_utf8_lossy(&out).into_owned(),
        // An `Any` of a type that nobody here knows, say.
        Err(error) => format!("{{\"not JSON\": {:?}}}", error.to_string()),
    }
}

/// A status for people: code, text, and the details that it carries.
fn failure(pool: &DescriptorPool, status: &Status) -> String {
    let number = i32::from(status.code());
    let mut text = format!("{:?} ({number}): {}", status.code(), status.message());
    let details = <DetailedStatus as prost::Message>::decode(status.details());
    for any in details.unwrap_or_default().details {
        let name = any.type_url.rsplit('/').next().unwrap_or_default();
        let decoded = pool
            .get_message_by_name(name)
            .and_then(|of| DynamicMessage::decode(of, &any.value[..]).ok());
        let shown = match decoded {
            Some(message) => json(&message, true),
            None => format!("{:?}", bytes::Bytes::from(any.value)),
        };
        text.push_str(&format!("\n  {name}: {shown}"));
    }
    text
}

/// `google.rpc.Status`, as `grpc-status-details-bin` carries it.
#[derive(Clone, PartialEq, prost::Message)]
struct DetailedStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

fn show(direction: &str, metadata: &MetadataMap) {
    let lines = metadata.iter().map(|entry| match entry {
        KeyAndValueRef::Ascii(key, value) => {
            format!(
                "{direction} {key}: {}\n",
                value.to_str().unwrap_or("(not text)")
            )
        }
        // As it travels: base64.
        KeyAndValueRef::Binary(key, value) => {
            let encoded = String::from_utf8_lossy(value.as_encoded_bytes());
            format!("{direction} {key}: {encoded}\n")
        }
    });
    eprint(&lines.collect::<String>());
}

fn eprint(text: &str) {
    // A stderr that is gone is nobody to tell.
    drop(write!(std::io::stderr(), "{text}"));
}
