//! Everything that can go wrong, and the one mapping from failures of calls to gRPC codes.
//!
//! A leaf: it names no foreign error type, so those stop where they occur (`wasmtime::Error` in
//! `guest`, `h2::Error` in `grpc`). Variants say what happened, never which crate noticed; their
//! docs begin with who must act. `docs/errors.md` has the table.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Encoding;
use crate::status::{Code, Status};

/// A cause that is only ever printed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a caller is told when a plugin fails; the details stay in the log.
const TRAP_TEXT: &str = "the plugin failed while it served the call";

/// Why a call failed in the host. A status that the plugin itself returned is not one of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Caller: no plugin serves this path.
    #[error("no service here has the method {0}")]
    UnknownMethod(String),
    /// Caller: the messages are in an encoding that the host does not read.
    #[error("message encoding {0:?} is not supported here; deflate, gzip, zstd and identity are")]
    UnknownEncoding(String),
    /// Caller: a compressed message that is not what `grpc-encoding` says.
    #[error("the message does not decompress as {encoding}: {what}")]
    Corrupt {
        /// What `grpc-encoding` says.
        encoding: Encoding,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Caller: a message or header that gRPC over HTTP/2 does not allow.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    /// Caller: a method that takes one message got none, or more.
    #[error("the method takes exactly one request message, got {0}")]
    Cardinality(&'static str),
    /// Caller: a request message over the limit.
    #[error("request message of {len} bytes is larger than the limit of {max} bytes")]
    RequestTooLarge {
        /// Declared length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// Caller: a request message that is over the limit once it is decompressed.
    #[error("request message decompresses to more than the limit of {max} bytes")]
    UnpackedTooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// Caller: a message whose decompression needs more memory than any may have.
    #[error("decompressing the request message needs a window of more than {max} bytes")]
    WindowTooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// Caller: more request metadata than the limit.
    #[error("request metadata of {len} bytes is larger than the limit of {max} bytes")]
    MetadataTooLarge {
        /// Length in bytes, as HTTP/2 counts it.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// Caller: the deadline passed.
    #[error("deadline exceeded")]
    Deadline,
    /// Caller: it cancelled, or its connection is gone.
    #[error("cancelled by the caller")]
    Cancelled,
    /// Operator: every instance is busy and the waiting line is full.
    #[error("all instances are busy and {waiting} calls wait already")]
    PoolFull {
        /// Calls in the line.
        waiting: u32,
    },
    /// Operator: no instance became free in the configured time.
    #[error("no instance became free within {0:?}")]
    WaitedTooLong(Duration),
    /// Operator: the engine holds as many instances as it may, over all plugins.
    #[error("the host has no room for another instance")]
    EngineFull,
    /// Operator: requests that come slowly, or wait, hold as many bytes as they may, over all connections.
    #[error("the host holds too many unfinished requests to take a message of {len} bytes")]
    Unread {
        /// Declared length in bytes.
        len: usize,
    },
    /// Caller: its message came slowly while others waited for the room that it held.
    #[error("the request did not come in time, and others need its room")]
    Unfinished,
    /// Caller: it did not take its reply while too many bytes waited to be sent.
    #[error("the reply was not taken in time, and others need its room")]
    Unsent,
    /// Operator: replies that are read slowly hold as many bytes as they may, over all connections.
    #[error("the host holds too many replies to make another one of about {len} bytes")]
    Untaken {
        /// What the method replied before, in bytes.
        len: usize,
    },
    /// Operator: the host stops.
    #[error("the host is shutting down")]
    Draining,
    /// Operator: the connection is as old as it may be, and the call outlasted its grace.
    #[error("the connection has reached its age, and the call did not end in time")]
    ConnectionAged,
    /// Operator: its version of the plugin was replaced or removed, and the call outlasted the time it had.
    #[error("the plugin was replaced, and the call did not end in time")]
    Replaced,
    /// Guest author: the plugin keeps failing and is left alone for a while.
    #[error("the plugin keeps failing and is left alone for a while")]
    Quarantined {
        /// When another call has a chance.
        retry_after: Duration,
    },
    /// Guest author: the plugin trapped; its instance is discarded.
    #[error("the plugin trapped")]
    Trap(#[source] BoxError),
    /// Guest author: the plugin used up something of which it may have so much; its instance is discarded.
    #[error("the plugin used up its {what}")]
    Exhausted {
        /// What it was.
        what: Resource,
        /// How it ended.
        #[source]
        source: BoxError,
    },
    /// Guest author: a new instance of the plugin did not start.
    #[error("an instance of the plugin did not start")]
    Instantiate(#[source] BoxError),
    /// Guest author: the plugin broke the contract in `wit/`.
    #[error("the plugin broke the contract: {0}")]
    Contract(&'static str),
    /// Guest author: a response over the limit.
    #[error("response message of {len} bytes is larger than the limit of {max} bytes")]
    ResponseTooLarge {
        /// Length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// Us: a panic in the host while it served the call.
    #[error("internal error of the host")]
    Bug,
}

/// Something of which an instance, or a call in it, may have so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Linear memory.
    Memory,
    /// Elements of tables.
    Tables,
    /// Depth of its stack.
    Stack,
    /// CPU time of one call.
    Cpu,
    /// Files, sockets, streams and other handles.
    Handles,
}

impl Resource {
    /// A short word for logs and metrics.
    #[must_use]
    pub fn cause(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Tables => "tables",
            Self::Stack => "stack",
            Self::Cpu => "cpu",
            Self::Handles => "handles",
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Tables => "table elements",
            Self::Stack => "stack",
            Self::Cpu => "CPU time",
            Self::Handles => "handles",
        })
    }
}

impl CallError {
    /// The code the caller sees. The host's only such mapping; the table is in `docs/errors.md`.
    #[must_use]
    pub fn code(&self) -> Code {
        // No `_` arm: whoever adds a variant chooses its code here.
        match self {
            Self::UnknownMethod(_) | Self::UnknownEncoding(_) | Self::Cardinality(_) => {
                Code::Unimplemented
            }
            Self::Malformed(_)
            | Self::Corrupt { .. }
            | Self::Trap(_)
            | Self::Instantiate(_)
            | Self::Contract(_)
            | Self::Bug => Code::Internal,
            Self::RequestTooLarge { .. }
            | Self::UnpackedTooLarge { .. }
            | Self::WindowTooLarge { .. }
            | Self::MetadataTooLarge { .. }
            | Self::ResponseTooLarge { .. }
            | Self::PoolFull { .. }
            | Self::WaitedTooLong(_)
            | Self::EngineFull
            | Self::Exhausted { .. }
            | Self::Unread { .. }
            | Self::Unfinished
            | Self::Untaken { .. }
            | Self::Unsent => Code::ResourceExhausted,
            Self::Deadline => Code::DeadlineExceeded,
            Self::Cancelled => Code::Cancelled,
            Self::Draining | Self::ConnectionAged | Self::Replaced | Self::Quarantined { .. } => {
                Code::Unavailable
            }
        }
    }

    /// A short word for logs and metrics.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Self::UnknownMethod(_) => "unknown_method",
            Self::UnknownEncoding(_) => "unknown_encoding",
            Self::Malformed(_) => "bad_frame",
            Self::Corrupt { .. } => "corrupt",
            Self::Cardinality(_) => "cardinality",
            Self::RequestTooLarge { .. }
            | Self::UnpackedTooLarge { .. }
            | Self::WindowTooLarge { .. }
            | Self::ResponseTooLarge { .. } => "too_large",
            Self::MetadataTooLarge { .. } => "metadata_too_large",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::PoolFull { .. } | Self::WaitedTooLong(_) => "pool_full",
            Self::EngineFull => "engine_full",
            Self::Unread { .. } | Self::Unfinished => "unread",
            Self::Untaken { .. } | Self::Unsent => "unsent",
            Self::Draining => "draining",
            Self::ConnectionAged => "connection_aged",
            Self::Replaced => "replaced",
            Self::Quarantined { .. } => "quarantined",
            Self::Exhausted { what, .. } => what.cause(),
            Self::Trap(_) | Self::Instantiate(_) => "trap",
            Self::Contract(_) => "contract",
            Self::Bug => "bug",
        }
    }

    /// How long the caller should wait before it tries again, where trying again makes sense.
    /// Sent as `grpc-retry-pushback-ms`. Source: gRFC A6, "Pushback".
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::PoolFull { .. }
            | Self::WaitedTooLong(_)
            | Self::EngineFull
            | Self::Untaken { .. }
            | Self::Unread { .. } => Some(Duration::from_millis(100)),
            // Never 0: that would be now.
            Self::Quarantined { retry_after } => Some((*retry_after).max(Duration::from_millis(1))),
            Self::UnknownMethod(_)
            | Self::UnknownEncoding(_)
            | Self::Malformed(_)
            | Self::Corrupt { .. }
            | Self::Cardinality(_)
            | Self::RequestTooLarge { .. }
            | Self::UnpackedTooLarge { .. }
            | Self::WindowTooLarge { .. }
            | Self::MetadataTooLarge { .. }
            | Self::Deadline
            | Self::Cancelled
            | Self::Draining
            | Self::ConnectionAged
            | Self::Replaced
            | Self::Exhausted { .. }
            | Self::Trap(_)
            | Self::Instantiate(_)
            | Self::Contract(_)
            | Self::ResponseTooLarge { .. }
            | Self::Unfinished
            | Self::Unsent
            | Self::Bug => None,
        }
    }

    /// The status the caller gets.
    #[must_use]
    pub fn status(&self) -> Status {
        let message = match self {
            Self::Trap(_) | Self::Instantiate(_) => TRAP_TEXT.to_owned(),
            Self::UnknownMethod(_)
            | Self::UnknownEncoding(_)
            | Self::Malformed(_)
            | Self::Corrupt { .. }
            | Self::Cardinality(_)
            | Self::RequestTooLarge { .. }
            | Self::UnpackedTooLarge { .. }
            | Self::WindowTooLarge { .. }
            | Self::MetadataTooLarge { .. }
            | Self::Deadline
            | Self::Cancelled
            | Self::PoolFull { .. }
            | Self::WaitedTooLong(_)
            | Self::EngineFull
            | Self::Unread { .. }
            | Self::Unfinished
            | Self::Untaken { .. }
            | Self::Unsent
            | Self::Draining
            | Self::ConnectionAged
            | Self::Replaced
            | Self::Quarantined { .. }
            | Self::Exhausted { .. }
            | Self::Contract(_)
            | Self::ResponseTooLarge { .. }
            | Self::Bug => self.to_string(),
        };
        let mut status = Status::new(self.code(), message);
        if let Some(after) = self.retry_after() {
            let value = after.as_millis().to_string().into_bytes();
            status
                .trailers
                .push(("grpc-retry-pushback-ms".to_owned(), value));
        }
        status
    }
}

/// Why one plugin file was refused. The other plugins are served all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// Operator: the file cannot be read.
    #[error("cannot read the file; it must be a regular file that this process may read")]
    Read(#[source] std::io::Error),
    /// Operator: the file is larger than a plugin may be.
    #[error(
        "the file has {len} bytes, more than the limit of {max} bytes; strip its debug information"
    )]
    TooLarge {
        /// Its size in bytes.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// Guest author: not WebAssembly at all.
    #[error(
        "not a WebAssembly component: the file does not begin with the WebAssembly magic number"
    )]
    NotWasm,
    /// Guest author: a core module where a component is needed.
    #[error(
        "a core WebAssembly module, not a component; build it with \
         `cargo build --target wasm32-wasip2`, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Guest author: not valid, or with features that the host does not allow.
    #[error("not a WebAssembly component that this host can run")]
    Invalid(#[source] BoxError),
    /// Operator: it has more code than is compiled.
    #[error("it is too much to compile: {0}")]
    TooComplex(String),
    /// Operator: compiling it takes too long.
    #[error("it does not compile within {0:?}; make it smaller, or raise compile_timeout")]
    CompileTimeout(Duration),
    /// Operator: compilations that took too long hold all places.
    #[error(
        "too many compilations that took too long still run; it is tried again when one has ended"
    )]
    CompilersBusy,
    /// Operator: there is no thread to compile it on.
    #[error("cannot start a thread to compile it on")]
    NoThread(#[source] std::io::Error),
    /// Operator: its memory is larger from the start than an instance's may be.
    #[error(
        "it needs more memory from the start than an instance may have; raise --memory-max \
         (memory_bytes_max)"
    )]
    MemoryMin(#[source] BoxError),
    /// Guest author: a component, but not a plugin.
    #[error(
        "a component that does not export {wanted}: build it with the guest SDK, or export the \
         interface as docs/abi.md says"
    )]
    NotAPlugin {
        /// The interface it lacks.
        wanted: String,
    },
    /// Guest author: built for another version of the ABI.
    #[error(
        "built for ABI version {found}, and this host speaks {supported}: rebuild it with a guest \
         SDK of that version, or use a host that speaks {found}"
    )]
    AbiVersion {
        /// Version the plugin exports.
        found: String,
        /// Version of this host.
        supported: &'static str,
    },
    /// Operator: it imports something that is not granted or not known.
    #[error("it imports something that this host does not provide; build it without")]
    Imports(#[source] BoxError),
    /// Operator: it imports something that it is not granted.
    #[error("it imports {import}, and is not granted it: grant it {grant}, or build it without")]
    Ungranted {
        /// The interface.
        import: String,
        /// The grant that it needs.
        grant: &'static str,
    },
    /// Guest author: `describe` trapped, or no instance could be made to call it in.
    #[error("it failed when it was asked to describe itself")]
    DescribeTrap(#[source] BoxError),
    /// Operator: the instances of other plugins left none to call `describe` in, or none for calls.
    #[error(
        "the other plugins leave no room for an instance of it; raise --instances-max \
         (instances_max)"
    )]
    NoRoom,
    /// Guest author: `describe` did not return in time.
    #[error("describe did not return within {0:?}; it must only return constant data")]
    DescribeTimeout(Duration),
    /// Guest author: what `describe` returned makes no sense.
    #[error("it describes itself wrongly: {0}")]
    Description(String),
    /// Operator: two plugins offer the same service.
    #[error("it offers the service {service}, which {owner} offers already; remove one of them")]
    Clash {
        /// The service's name.
        service: String,
        /// Who has it.
        owner: String,
    },
    /// Operator: it offers a service that the host serves itself.
    #[error(
        "it offers the service {service}, which the host serves itself; build it without, or switch the \
         host's own off ({flag})"
    )]
    BuiltIn {
        /// The service's name.
        service: String,
        /// What switches the host's own off.
        flag: &'static str,
    },
    /// Operator: it lacks what the version that is served has, or has it changed.
    #[error(
        "its methods are not those of the version that is served: {}; that one goes on (allow it with \
         --swap-incompatible)", .0.join("; ")
    )]
    Incompatible(Vec<String>),
    /// Operator: the file changed while it was read; it is looked at again.
    #[error("the file changed while it was read")]
    Changed,
    /// Operator: two files give the same plugin name.
    #[error("another file gives a plugin of the same name: {0}; rename one of them")]
    SameName(PathBuf),
}

/// One refused plugin: which file, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", path.display(), chain(error))]
pub struct Refused {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub error: PluginError,
}

/// Why a host was not built, or stopped serving.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Operator: a configuration value out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Operator: the engine does not start on this machine with these limits.
    #[error("the WebAssembly engine does not start")]
    Engine(#[source] BoxError),
    /// Operator: a path given to load from does not exist or cannot be listed.
    #[error("cannot load plugins from {}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Operator: the folder of compiled plugins is not safe, or cannot be used.
    #[error("cannot keep compiled plugins in {}", folder.display())]
    Cache {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Operator: a folder of files to serve cannot be read, or holds more than it may.
    #[error("cannot serve the files in {}", folder.display())]
    Files {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Operator: a thread did not start.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// Why a change of a host that serves was refused; then nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// Operator: a configuration value out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Operator: plugins that cannot be served so.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Refused>),
    /// Operator: no plugin of this name is served.
    #[error("no plugin that is served is named {0:?}")]
    UnknownPlugin(String),
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Operator: a configuration value out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Operator: a file cannot be read.
    #[error("cannot read {file}")]
    Read {
        /// What it is, and where.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Operator: a file holds nothing that can be used, or two do not belong together.
    #[error("{file} cannot be used: {why}")]
    Unusable {
        /// What it is, and where.
        file: String,
        /// Why.
        why: String,
    },
}

/// Why a Unix socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnixSocketError {
    /// Operator: somebody listens there, or something answers as if.
    #[error("another server listens there; stop it first, or choose another path")]
    Taken,
    /// Operator: what is there is not a socket, and is left alone.
    #[error("there is a file that is no socket; remove it, or choose another path")]
    NotASocket,
    /// Operator: the folder cannot be opened, or cannot be locked.
    #[error("its folder cannot be used")]
    Folder(#[source] std::io::Error),
    /// Operator: another program keeps the folder locked.
    #[error("its folder is locked by another program")]
    Locked,
    /// Operator: whatever else the system says.
    #[error("the system refuses")]
    System(#[source] std::io::Error),
}

/// Operator: values that a configuration may not have. Says all of them at once.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

/// An error and its causes on one line, as the one place that reports it prints them.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some libraries print their cause in their own text; say it once.
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text.replace('\n', " "));
        }
        cause = error.source();
    }
    escaped(&line).into_owned()
}

/// Control characters as escapes; everything else as it is. What others wrote stays one line of ours,
/// whatever is in it: it must not look like one of the host's.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if char.is_control() && char != '\t' {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_tells_the_caller_nothing_of_the_guest() {
        let status = CallError::Trap("secret at src/lib.rs:7".into()).status();
        assert_eq!(status.code, Code::Internal);
        assert!(!status.message.contains("secret"), "{}", status.message);
    }

    #[test]
    fn a_line_of_a_guest_stays_one_line() {
        assert_eq!(escaped("plain \u{fc} \t text"), "plain \u{fc} \t text");
        assert_eq!(
            escaped("a\nERROR host: b\r\u{1b}[2J"),
            "a\\nERROR host: b\\r\\u{1b}[2J"
        );
        let trap = CallError::Trap("first\r\nsecond\u{1b}".into());
        assert_eq!(chain(&trap), "the plugin trapped: first\\r second\\u{1b}");
    }

    #[test]
    fn a_full_pool_says_when_to_come_back() {
        let status = CallError::PoolFull { waiting: 3 }.status();
        assert_eq!(status.code, Code::ResourceExhausted);
        assert_eq!(
            status.trailers,
            [("grpc-retry-pushback-ms".to_owned(), b"100".to_vec())]
        );
    }

    #[test]
    fn a_refusal_is_one_line_with_file_and_cause() {
        let refused = Refused {
            path: "plugins/a.wasm".into(),
            error: PluginError::Invalid("unexpected end\nat offset 3".into()),
        };
        let line = refused.to_string();
        assert_eq!(
            line,
            "plugins/a.wasm: not a WebAssembly component that this host can run: \
             unexpected end at offset 3"
        );
    }
}
