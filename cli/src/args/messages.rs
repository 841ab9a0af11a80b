//! The limits of single methods and services, as clap sees them.
//!
//! Used by `args`, which puts them among the flags of `serve`; `cmd::serve::messages` makes a configuration of
//! them. Whether a path can be a method's, and whether anything works with a size, is `switchboard-host`'s to
//! say.

use bytesize::ByteSize;

/// Largest messages of single methods and services.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Messages {
    /// Largest request message of one method, as /package.Service/Method=16MiB, or of all methods of a
    /// service, as /package.Service/*=16MiB; repeat for more.
    #[arg(long, value_name = "PATH=SIZE", value_parser = sized)]
    pub method_request_max: Vec<(String, ByteSize)>,

    /// The same for response messages.
    #[arg(long, value_name = "PATH=SIZE", value_parser = sized)]
    pub method_response_max: Vec<(String, ByteSize)>,
}

/// A path and a size, with `=` between.
fn sized(text: &str) -> Result<(String, ByteSize), String> {
    let (path, size) = text
        .rsplit_once('=')
        .ok_or("write PATH=SIZE, as in /package.Service/Method=16MiB")?;
    Ok((path.to_owned(), size.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_a_size() {
        let found = sized("/a.B/C=2MiB").expect("both");
        assert_eq!(found, ("/a.B/C".to_owned(), ByteSize::mib(2)));
        for text in ["", "/a.B/C", "/a.B/C=", "/a.B/C=much"] {
            assert!(sized(text).is_err(), "{text}");
        }
    }
}
