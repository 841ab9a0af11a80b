//! `grpc.reflection.v1` and `v1alpha`: what the services are and what their messages look like.
//!
//! Made by `host`, which says what each plugin offers and carries. The two versions differ in their name
//! alone. Services of plugins that carry no descriptors, or unusable ones, are listed and not described;
//! the answer says why.
//!
//! Plugins do not know of each other, so two may carry different files of one name, and different things
//! under one name. Each answer therefore comes from one plugin's set, imports included: that of the plugin
//! which serves what is asked for; else that which answered this stream last; else the first one loaded. So
//! nobody can describe another's service.
//!
//! Invariants: what a caller gets is what the plugin carried, byte for byte; an answer is no larger than
//! what clients take, and large ones that nobody takes have a limit together; within a stream an import is
//! sent once. Knows no HTTP/2 and no wasm.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::built_in::{deliver, stops};
use super::descriptors::{File, Set};
use super::protobuf::{Fields, Malformed, Message};
use super::route::{NativeFuture, NativeMethod, NativeService};
use crate::config::ReflectionConfig;
use crate::guest::MethodKind;
use crate::imports::call::{Exchange, Received};
use crate::status::{Code, Status};

/// The service's names.
pub(crate) const REFLECTION: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Its only method.
const METHOD: &str = "ServerReflectionInfo";

/// Largest request, in bytes: the longest name of a file, 4 KiB on most systems, and what else there is.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Largest answer, in bytes, request included: below the 4 MiB that gRPC clients take by default.
const ANSWER_BYTES_MAX: usize = 3 << 20;

/// Answers up to this size need no room, in bytes: what one costs beside the stream itself is small.
const FREE_BYTES_MAX: usize = 16 * 1024;

/// Room for the larger ones that nobody has taken yet, in bytes, over all streams: streams of the host's own
/// services are not counted like those of plugins, and a caller needs not read. At the limit the next ones
/// are made when others have been taken.
const ANSWERS_BYTES_MAX: usize = 2 * ANSWER_BYTES_MAX;

/// Time for a caller to take such an answer; at 300 KB/s the largest takes it.
const TAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Files that a line of the log names.
const NAMED_MAX: usize = 5;

/// What one plugin, or native service, offers and carries.
#[derive(Debug)]
struct Owner {
    name: Arc<str>,
    services: Vec<String>,
    carries: Carries,
}

#[derive(Debug)]
enum Carries {
    Nothing,
    Unusable,
    Files(Set),
}

impl Owner {
    fn set(&self) -> Option<&Set> {
        match &self.carries {
            Carries::Files(set) => Some(set),
            Carries::Nothing | Carries::Unusable => None,
        }
    }
}

/// Everybody, in the order in which they came.
#[derive(Clone, Debug, Default)]
struct Table {
    owners: Vec<Arc<Owner>>,
    services: BTreeMap<String, Arc<Owner>>,
}

/// What is known of the services of a host.
#[derive(Debug)]
pub(crate) struct Reflection {
    /// Replaced as a whole; an answer is made from one that stays as it is.
    table: Mutex<Arc<Table>>,
    set_bytes_max: usize,
    answer_bytes_max: usize,
    room: Semaphore,
    drain: CancellationToken,
}

impl Reflection {
    /// Of a host without services; `drain` ends open streams, `response_bytes_max` is every call's limit.
    #[must_use]
    pub(crate) fn new(
        config: &ReflectionConfig,
        response_bytes_max: usize,
        drain: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            set_bytes_max: config.set_bytes_max,
            answer_bytes_max: response_bytes_max.min(ANSWER_BYTES_MAX),
            room: Semaphore::new(ANSWERS_BYTES_MAX),
            drain,
        })
    }

    /// What `owner` offers and carries from now on, instead of what it did before; nothing when it is gone.
    /// Answers whether its descriptors are used.
    pub(crate) fn set(
        &self,
        owner: &Arc<str>,
        services: Vec<String>,
        descriptors: Option<&Bytes>,
    ) -> bool {
        let carries = match descriptors.map(|bytes| Set::read(bytes, self.set_bytes_max)) {
            None => Carries::Nothing,
            Some(Ok(set)) => Carries::Files(set),
            Some(Err(error)) => {
                tracing::warn!(
                    plugin = &**owner,
                    "its descriptor set is not used, reflection cannot describe its services: {error}"
                );
                Carries::Unusable
            }
        };
        let mut new = Owner {
            name: Arc::clone(owner),
            services,
            carries,
        };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut owners = table.owners.clone();
        owners.retain(|known| known.name != *owner);
        if let Carries::Files(set) = &mut new.carries {
            share(owner, set, &owners);
            tell_gaps(owner, set, &new.services);
        }
        let used = new.set().is_some();
        if !new.services.is_empty() {
            owners.push(Arc::new(new));
        }
        let mut services = BTreeMap::new();
        for owner in &owners {
            for service in &owner.services {
                services.insert(service.clone(), Arc::clone(owner));
            }
        }
        *table = Arc::new(Table { owners, services });
        used
    }

    fn table(&self) -> Arc<Table> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&table)
    }

    async fn stream(&self, call: &dyn Exchange) -> Result<(), Status> {
        let mut stream = Stream::default();
        loop {
            let request = tokio::select! {
                received = poll_fn(|cx| call.poll_receive(cx)) => match received {
                    Received::Message(request) => request,
                    Received::End | Received::Cancelled(_) => return Ok(()),
                },
                () = self.drain.cancelled() => return Err(stops()),
            };
            let (answer, place) = tokio::select! {
                made = self.make(&mut stream, &request) => made.map_err(|Malformed| {
                    let text = "the message is no ServerReflectionRequest";
                    Status::new(Code::InvalidArgument, text)
                })?,
                () = self.drain.cancelled() => return Err(stops()),
            };
            let delivering = deliver(call, answer, &self.drain);
            if place.is_none() {
                delivering.await?;
            } else {
                let delivered = timeout(TAKE_TIMEOUT, delivering).await;
                delivered.map_err(|_late| {
                    let text = "the answer was not taken in time, and others need its room";
                    Status::new(Code::ResourceExhausted, text)
                })??;
            }
        }
    }

    /// An answer, and the place that it has if it is a large one: it is made when there is room.
    ///
    /// # Cancel safety
    /// The stream is as it was before, or the answer is lost.
    async fn make(
        &self,
        stream: &mut Stream,
        request: &[u8],
    ) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Malformed> {
        let mut place: Option<SemaphorePermit<'_>> = None;
        loop {
            let before = stream.clone();
            let answer = self.answer(stream, request)?;
            let len = answer.len();
            let has = place.as_ref().map_or(0, SemaphorePermit::num_permits);
            if len <= FREE_BYTES_MAX.max(has) {
                return Ok((answer, place));
            }
            // Nobody closes it, and no answer is larger than all of it.
            let count = u32::try_from(len).unwrap_or(u32::MAX);
            if let Ok(place) = self.room.try_acquire_many(count) {
                return Ok((answer, Some(place)));
            }
            // Not with the answer in hand, which would need the room that there is not. What is asked for
            // may have another size by then.
            drop((answer, place.take()));
            *stream = before;
            place = self.room.acquire_many(count).await.ok();
        }
    }

    /// A `ServerReflectionResponse` to a `ServerReflectionRequest`.
    fn answer(&self, stream: &mut Stream, request: &[u8]) -> Result<Bytes, Malformed> {
        let (host, asked) = Asked::read(request)?;
        let table = self.table();
        let mut answer = Message::default();
        answer.bytes(1, host.as_bytes());
        answer.bytes(2, request);
        let room = self.answer_bytes_max.saturating_sub(answer.len());
        let result = match asked {
            Asked::Services => Ok((6, table.list())),
            Asked::Numbers(message) => table.numbers(message).map(|numbers| (5, numbers)),
            Asked::File(place) => table
                .find(stream, place)
                .and_then(|(owner, file)| Ok((4, stream.files(&owner, file, room)?))),
            Asked::Nothing => Err(Trouble::new(
                Code::InvalidArgument,
                "the request asks for nothing that is known here",
            )),
        };
        // What frames a message inside another takes less than this.
        let result = match result {
            Ok((_, message)) if message.len() + 16 > room => {
                let text = format!(
                    "the answer has {} bytes, more than may be sent",
                    message.len()
                );
                Err(Trouble::new(Code::ResourceExhausted, text))
            }
            result => result,
        };
        let (field, message) = result.unwrap_or_else(|trouble| (7, trouble.into()));
        answer.bytes(field, message.as_bytes());
        Ok(answer.into())
    }
}

/// Files that are carried by several plugins are kept once; different ones of one name are told.
fn share(owner: &Arc<str>, set: &mut Set, others: &[Arc<Owner>]) {
    let mut differ = Vec::new();
    for file in set.files_mut() {
        let same_name = others.iter().filter_map(|other| {
            let set = other.set()?;
            Some((other, &set.files()[set.file(&file.name)?]))
        });
        let mut other = None;
        for (carrier, known) in same_name {
            if known.bytes == file.bytes {
                *file = Arc::clone(known);
                other = None;
                break;
            }
            other = Some(carrier);
        }
        differ.extend(other.map(|other| (file.name.clone(), Arc::clone(&other.name))));
    }
    if !differ.is_empty() {
        let count = differ.len();
        differ.truncate(NAMED_MAX);
        tracing::info!(
            plugin = &**owner,
            count,
            "it carries other files than plugins before it under the same names; reflection keeps them \
             apart: {differ:?}"
        );
    }
}

/// Tells what a set leaves out.
fn tell_gaps(owner: &Arc<str>, set: &Set, services: &[String]) {
    let undescribed = services
        .iter()
        .filter(|service| set.declares(service).is_none());
    let undescribed: Vec<_> = undescribed.take(NAMED_MAX).collect();
    if !undescribed.is_empty() {
        tracing::warn!(
            plugin = &**owner,
            "its descriptor set does not have all services that it offers: {undescribed:?}"
        );
    }
    let missing: Vec<_> = set.missing().take(NAMED_MAX).collect();
    if !missing.is_empty() {
        tracing::warn!(
            plugin = &**owner,
            "its descriptor set lacks files that others in it import: {missing:?}"
        );
    }
}

impl Table {
    /// A `ListServiceResponse`.
    fn list(&self) -> Message {
        let mut list = Message::default();
        for name in self.services.keys() {
            let mut service = Message::default();
            service.bytes(1, name.as_bytes());
            list.bytes(1, service.as_bytes());
        }
        list
    }

    /// An `ExtensionNumberResponse`.
    fn numbers(&self, message: &str) -> Result<Message, Trouble> {
        let sets = || self.owners.iter().filter_map(|owner| owner.set());
        let numbers: BTreeSet<i32> = sets()
            .filter_map(|set| set.extensions(message))
            .flat_map(|numbers| numbers.keys().copied())
            .collect();
        if numbers.is_empty() && !sets().any(|set| set.declares(message).is_some()) {
            return Err(not_found("message", message));
        }
        let mut packed = Message::default();
        for number in numbers {
            // Negative numbers are written as if they had 64 bits.
            packed.raw(i64::from(number).cast_unsigned());
        }
        let mut response = Message::default();
        response.bytes(1, message.as_bytes());
        response.bytes(2, packed.as_bytes());
        Ok(response)
    }

    /// Where a file is, and whose it is.
    fn find(&self, stream: &Stream, place: Place<'_>) -> Result<(Arc<Owner>, usize), Trouble> {
        if let Place::Symbol(symbol) = place
            && let Some((service, owner)) = self.serves(symbol)
        {
            let set = match &owner.carries {
                Carries::Files(set) => set,
                Carries::Nothing | Carries::Unusable => return Err(undescribed(service, owner)),
            };
            let file = set.declares(symbol);
            let file =
                file.ok_or_else(|| not_found("symbol in the plugin's descriptors", symbol))?;
            return Ok((Arc::clone(owner), file));
        }
        let latest = stream.latest.iter();
        let latest =
            latest.filter(|owner| self.owners.iter().any(|known| Arc::ptr_eq(known, owner)));
        let found = latest.chain(&self.owners).find_map(|owner| {
            let file = place.within(owner.set()?)?;
            Some((Arc::clone(owner), file))
        });
        found.ok_or_else(|| place.not_found())
    }

    /// The service that `symbol` is, or is a method of, and who offers it.
    fn serves(&self, symbol: &str) -> Option<(&str, &Arc<Owner>)> {
        let parent = symbol.rsplit_once('.').map(|(parent, _)| parent);
        let mut names = std::iter::once(symbol).chain(parent);
        let (service, owner) = names.find_map(|name| self.services.get_key_value(name))?;
        Some((service, owner))
    }
}

/// Why a service is listed and not described.
fn undescribed(service: &str, owner: &Owner) -> Trouble {
    let why = if matches!(owner.carries, Carries::Unusable) {
        "carries descriptors that are not usable, see the host's log"
    } else {
        "carries no descriptors"
    };
    let text = format!("{service} cannot be described: the plugin that serves it {why}");
    Trouble::new(Code::NotFound, text)
}

fn not_found(what: &str, name: &str) -> Trouble {
    // A name from outside comes back in a message: enough of it to know it again.
    let name: String = name.chars().take(200).collect();
    Trouble::new(Code::NotFound, format!("no such {what}: {name:?}"))
}

/// What is remembered of a stream.
#[derive(Clone, Debug, Default)]
struct Stream {
    /// Ids of the files that were sent: at most as many as there are.
    sent: HashSet<u64>,
    /// Whose set answered last.
    latest: Option<Arc<Owner>>,
}

impl Stream {
    /// A `FileDescriptorResponse`: the file, and of its imports those that were not sent and fit.
    fn files(&mut self, owner: &Arc<Owner>, file: usize, room: usize) -> Result<Message, Trouble> {
        let mut response = Message::default();
        let set = owner.set().ok_or_else(|| not_found("file", ""))?;
        for file in set.with_imports(file) {
            let first = response.len() == 0;
            // Its length, and what frames the whole.
            let fits = response.len() + file.bytes.len() + 32 <= room;
            if first && !fits {
                return Err(too_large(file, room));
            }
            if fits && (first || !self.sent.contains(&file.id)) {
                response.bytes(1, &file.bytes);
                self.sent.insert(file.id);
            }
        }
        // The host's own files import nobody's.
        if !owner.name.starts_with('/') {
            self.latest = Some(Arc::clone(owner));
        }
        Ok(response)
    }
}

fn too_large(file: &File, room: usize) -> Trouble {
    let (name, len) = (&file.name, file.bytes.len());
    let text = format!("the file {name:?} has {len} bytes, more than the {room} that may be sent");
    Trouble::new(Code::ResourceExhausted, text)
}

/// What a request asks for.
#[derive(Debug)]
enum Asked<'a> {
    File(Place<'a>),
    Numbers(&'a str),
    Services,
    Nothing,
}

/// A way to say which file.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Name(&'a str),
    Symbol(&'a str),
    Extension(&'a str, i32),
}

impl<'a> Asked<'a> {
    /// Reads a `ServerReflectionRequest`: its host, and what it asks for.
    fn read(request: &'a [u8]) -> Result<(&'a str, Self), Malformed> {
        // Names may be written with a dot before them, as descriptors do.
        let bare = |name: &'a str| name.strip_prefix('.').unwrap_or(name);
        let (mut host, mut asked) = ("", Self::Nothing);
        for field in Fields::of(request) {
            match field? {
                (1, value) => host = value.text()?,
                (3, value) => asked = Self::File(Place::Name(value.text()?)),
                (4, value) => asked = Self::File(Place::Symbol(bare(value.text()?))),
                (5, value) => {
                    let (mut message, mut number) = ("", 0);
                    for field in Fields::of(value.bytes()?) {
                        match field? {
                            (1, value) => message = value.text()?,
                            (2, value) => number = value.int32()?,
                            _ => {}
                        }
                    }
                    asked = Self::File(Place::Extension(bare(message), number));
                }
                (6, value) => asked = Self::Numbers(bare(value.text()?)),
                (7, value) => {
                    value.text()?;
                    asked = Self::Services;
                }
                _ => {}
            }
        }
        Ok((host, asked))
    }
}

impl Place<'_> {
    fn within(self, set: &Set) -> Option<usize> {
        match self {
            Self::Name(name) => set.file(name),
            Self::Symbol(symbol) => set.declares(symbol),
            Self::Extension(message, number) => set.extensions(message)?.get(&number).copied(),
        }
    }

    fn not_found(self) -> Trouble {
        match self {
            Self::Name(name) => not_found("file", name),
            Self::Symbol(symbol) => not_found("symbol", symbol),
            Self::Extension(message, number) => not_found(
                &format!("extension, number {number} of the message"),
                message,
            ),
        }
    }
}

/// Why there is no other answer. The stream goes on.
#[derive(Debug)]
struct Trouble {
    code: Code,
    text: String,
}

impl Trouble {
    fn new(code: Code, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { code, text }
    }
}

/// An `ErrorResponse`.
impl From<Trouble> for Message {
    fn from(trouble: Trouble) -> Self {
        let mut response = Self::default();
        response.varint(1, trouble.code.number().into());
        response.bytes(2, trouble.text.as_bytes());
        response
    }
}

/// One version of the service over what is known.
#[derive(Clone, Debug)]
pub(crate) struct ReflectionService {
    /// One of [`REFLECTION`].
    pub name: &'static str,
    /// What is known.
    pub reflection: Arc<Reflection>,
}

impl NativeService for ReflectionService {
    fn name(&self) -> &str {
        self.name
    }

    fn methods(&self) -> Vec<NativeMethod> {
        let (name, kind) = (METHOD, MethodKind::BidiStreaming);
        vec![NativeMethod { name, kind }]
    }

    fn request_bytes_max(&self) -> Option<usize> {
        Some(REQUEST_BYTES_MAX)
    }

    fn file_descriptor_set(&self) -> Option<&'static [u8]> {
        Some(if self.name == REFLECTION[0] {
            include_bytes!("descriptors/reflection_v1.bin")
        } else {
            include_bytes!("descriptors/reflection_v1alpha.bin")
        })
    }

    fn unary(&self, _: usize, _: Arc<dyn Exchange>, _: Bytes) -> NativeFuture<Bytes> {
        let status = Status::new(Code::Unimplemented, "a streaming method");
        Box::pin(std::future::ready(Err(status)))
    }

    fn stream(&self, _: usize, call: Arc<dyn Exchange>) -> NativeFuture<()> {
        let reflection = Arc::clone(&self.reflection);
        Box::pin(async move { reflection.stream(&*call).await })
    }
}

#[cfg(test)]
mod tests;
