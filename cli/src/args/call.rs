//! The command lines of `switchboard call` and `switchboard inspect`.

use std::path::PathBuf;
use std::time::Duration;

/// Calls a method of any gRPC server that answers reflection.
///
/// Without METHOD lists the services of the server; with the name of a service shows its methods and an example of
/// each request. Requests are JSON, as protobuf maps it; each response is JSON on stdout, everything else goes to
/// stderr. In a streaming call MESSAGE `-` sends each message as soon as it is read.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the call ended with OK, 1 it could not be made, 3 it ended with another status, \
                  64 wrong command line.\n\
                  Examples:\n  \
                  switchboard call localhost:50051\n  \
                  switchboard call localhost:50051 helloworld.Greeter/SayHello '{\"name\":\"you\"}'\n  \
                  switchboard call wss://plugins.example.com/tunnel testservice.TestService/Running - <numbers.json"
)]
pub(crate) struct Call {
    /// HOST:PORT, unix:PATH, or a URL that begins with http, https, ws or wss; the last two are tunnels.
    #[arg(value_name = "SERVER")]
    pub server: String,

    /// What to call, as package.Service/Method; or a service to look at.
    #[arg(value_name = "METHOD")]
    pub method: Option<String>,

    /// The request as JSON, - for stdin; several for a method that takes a stream [default: {}, of a stream none].
    #[arg(value_name = "MESSAGE", requires = "method")]
    pub messages: Vec<String>,

    /// Metadata to send, as `NAME: VALUE`; that of a name that ends in -bin in base64; repeat for more.
    #[arg(short = 'H', long, value_name = "HEADER", value_parser = super::forward::header)]
    pub header: Vec<(String, String)>,

    /// How long the whole call may take; sent to the server too [default: none].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,

    /// How long connecting may take.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub connect_timeout: Duration,

    /// Trusts the certificates of this PEM file instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Shows this certificate, in PEM, to a server that asks for one.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,

    /// Its key, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,

    /// File with the token that a tunnel wants, alone on its first line.
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,

    /// Largest response.
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    pub response_max: bytesize::ByteSize,

    /// One line for each response.
    #[arg(short, long)]
    pub compact: bool,

    /// Also says what was sent and came beside the messages: headers, trailers, and how long it took.
    #[arg(short, long)]
    pub verbose: bool,
}

/// Says what is in a plugin file, without serving it.
///
/// Loads the file as `serve` would: services, methods, what it imports (the most it may ask the host for), sizes,
/// digest. What is said goes to stdout; why a file would be refused, to stderr.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all files can be served, 1 one of them cannot, 64 wrong command line."
)]
pub(crate) struct Inspect {
    /// Plugin files.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// As JSON, one line for each file.
    #[arg(long)]
    pub json: bool,
}
