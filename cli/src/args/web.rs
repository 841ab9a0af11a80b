//! The part of `switchboard serve` about gRPC-Web. Called by nobody: clap fills it in, `cmd::serve` reads it.

use switchboard_host::OriginRule;

/// gRPC for pages without a tunnel.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "gRPC-Web, on the same port")]
pub(crate) struct Web {
    /// Whose pages may call by gRPC-Web: an origin like `https://app.example`, `same` for pages of this
    /// host, `*` for any; repeat for more [default: same].
    #[arg(long, value_name = "ORIGIN")]
    pub web_origin: Vec<OriginRule>,

    /// Let browsers send cookies and certificates along with calls of other origins' pages.
    #[arg(long, requires = "web_origin")]
    pub web_credentials: bool,

    /// Serve no gRPC-Web.
    #[arg(long, conflicts_with_all = ["web_origin", "web_credentials"])]
    pub web_off: bool,
}
