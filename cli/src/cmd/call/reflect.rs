//! What a server says of itself by reflection: `grpc.reflection.v1`, or `v1alpha` where that is all there is.
//!
//! Called by `cmd::call`. The two have the same messages under different names, so one set of types does for both.
//! Invariant: a server that sends file after file is followed for [`FILES_MAX`] of them, no further.

use std::collections::HashSet;
use std::fmt;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use switchboard_client::Channel;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

/// Most files that describe a service, imports included: ten times what the largest published APIs need.
const FILES_MAX: usize = 10_000;

/// Largest answer that is taken, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// What a server says that knows no such name, as opposed to one that is not there.
#[derive(Debug)]
struct Unknown(String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(said) = self;
        write!(
            f,
            "{said}; without METHOD the services of the server are listed"
        )
    }
}

impl std::error::Error for Unknown {}

/// A server that is asked.
pub(super) struct Server {
    channel: Channel,
    metadata: MetadataMap,
    /// Which of [`PATHS`].
    version: usize,
}

impl Server {
    pub(super) fn new(channel: Channel, metadata: MetadataMap) -> Self {
        Self {
            channel,
            metadata,
            version: 0,
        }
    }

    /// The names of its services.
    pub(super) async fn services(&mut self) -> Result<Vec<String>> {
        let answer = self
            .ask(MessageRequest::ListServices(String::new()))
            .await?;
        let MessageResponse::ListServicesResponse(list) = answer else {
            bail!(odd(&answer));
        };
        let services = list.service.into_iter();
        Ok(services.map(|service| service.name).collect())
    }

    /// The files that describe a service, with all that they import.
    pub(super) async fn describe(&mut self, service: &str) -> Result<DescriptorPool> {
        let asked = MessageRequest::FileContainingSymbol(service.to_owned());
        let answer = match self.ask(asked).await {
            Err(error) if error.is::<Unknown>() => {
                return Err(error.context(format!("asking for {service}")));
            }
            answer => answer?,
        };
        let mut files: Vec<FileDescriptorProto> = Vec::new();
        let mut known = HashSet::new();
        let mut take = |answer| {
            let MessageResponse::FileDescriptorResponse(found) = answer else {
                bail!(odd(&answer));
            };
            for bytes in found.file_descriptor_proto {
                let file = FileDescriptorProto::decode(&bytes[..]).context("a file descriptor")?;
                if known.insert(file.name().to_owned()) {
                    files.push(file);
                }
            }
            let wanted = files.iter().flat_map(|file| file.dependency.iter());
            let mut missing = wanted.filter(|name| !known.contains(*name));
            let missing = missing.next().cloned();
            if files.len() > FILES_MAX {
                bail!("more than {FILES_MAX} files describe {service}");
            }
            Ok(missing)
        };
        let mut missing = take(answer)?;
        while let Some(name) = missing {
            let answer = self.ask(MessageRequest::FileByFilename(name.clone())).await;
            let answer = answer.with_context(|| format!("asking for {name}, which is imported"))?;
            let next = take(answer)?;
            if next.as_ref() == Some(&name) {
                bail!("the server does not send {name}, which is imported");
            }
            missing = next;
        }
        let set = FileDescriptorSet { file: files };
        DescriptorPool::from_file_descriptor_set(set)
            .context("what the server says of its services")
    }

    async fn ask(&mut self, asked: MessageRequest) -> Result<MessageResponse> {
        loop {
            let answer = match self.ask_once(asked.clone()).await {
                Err(status) if status.code() == Code::Unimplemented => {
                    self.version += 1;
                    if self.version == PATHS.len() {
                        bail!(
                            "the server answers no reflection, so its services are not known here"
                        );
                    }
                    continue;
                }
                answer => answer,
            };
            let answer = answer
                .map_err(|status| anyhow::anyhow!("{:?}: {}", status.code(), status.message()))?;
            return match answer.message_response {
                Some(MessageResponse::ErrorResponse(error)) => {
                    Err(Unknown(error.error_message).into())
                }
                Some(answer) => Ok(answer),
                None => bail!("the server gave an empty answer"),
            };
        }
    }

    async fn ask_once(&self, asked: MessageRequest) -> Result<ServerReflectionResponse, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone())
            .max_decoding_message_size(ANSWER_BYTES_MAX);
        let ready = grpc.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))?;
        let asked = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(asked),
        };
        let mut request = Request::new(futures_util::stream::iter([asked]));
        *request.metadata_mut() = self.metadata.clone();
        let path = PathAndQuery::from_static(PATHS[self.version.min(PATHS.len() - 1)]);
        let codec: ProstCodec<_, ServerReflectionResponse> = ProstCodec::default();
        let mut answers = grpc.streaming(request, path, codec).await?.into_inner();
        match answers.next().await {
            Some(answer) => answer,
            None => Err(Status::internal("the server gave no answer")),
        }
    }
}

fn odd(answer: &MessageResponse) -> String {
    format!("the server answered something else than it was asked: {answer:?}")
}
