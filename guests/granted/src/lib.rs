//! `granted.Granted`: what a plugin may do only where it is granted, one method each, with Rust's own `std`.
//!
//! What fails is a status: PERMISSION_DENIED and NOT_FOUND for what the host denies and does not have,
//! UNAVAILABLE for the rest, with the words of `std`. Messages are text; where
//! there are two parts, a line each.

mod files;
#[cfg(all(target_arch = "wasm32", feature = "http"))]
mod http;
mod sockets;

use std::io;

use switchboard_guest::{ByteService, Code, Context, Method, Status};

/// The service.
pub static GRANTED: ByteService = ByteService::new(
    "granted.Granted",
    &[
        Method::unary("Env", |_context, name| env(text(&name)?)),
        Method::unary("Args", args),
        Method::unary("Read", |_context, path| files::read(text(&path)?)),
        Method::unary("Write", |_context, request| files::write(pair(&request)?)),
        Method::unary("List", |_context, path| files::list(text(&path)?)),
        Method::unary("Remove", |_context, path| files::remove(text(&path)?)),
        Method::unary("OpenMany", |_context, path| files::open_many(text(&path)?)),
        Method::unary("LookUp", |_context, name| sockets::look_up(text(&name)?)),
        Method::unary("Tcp", |_context, request| sockets::tcp(pair(&request)?)),
        Method::unary("TcpMany", |_context, address| {
            sockets::tcp_many(text(&address)?)
        }),
        Method::unary("Udp", |_context, request| sockets::udp(pair(&request)?)),
        #[cfg(all(target_arch = "wasm32", feature = "http"))]
        Method::unary("Fetch", |_context, request| http::fetch(pair(&request)?)),
        #[cfg(all(target_arch = "wasm32", feature = "http"))]
        Method::unary("FetchMany", |_context, url| http::fetch_many(text(&url)?)),
        Method::unary("Listen", |_context, address| {
            sockets::listen(text(&address)?)
        }),
    ],
);

switchboard_guest::export!(GRANTED);

/// The value of a variable; all names with their values, a line each, if none is asked for.
fn env(name: &str) -> Result<Vec<u8>, Status> {
    if name.is_empty() {
        let all: Vec<_> = std::env::vars()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        return Ok(all.concat().into_bytes());
    }
    let value = std::env::var(name).map_err(|error| Status::not_found(error.to_string()))?;
    Ok(value.into_bytes())
}

fn args(_context: &Context, _request: Vec<u8>) -> Result<Vec<u8>, Status> {
    Ok(std::env::args().collect::<Vec<_>>().join("\n").into_bytes())
}

fn text(request: &[u8]) -> Result<&str, Status> {
    std::str::from_utf8(request).map_err(|_| Status::invalid_argument("not text"))
}

/// The first line, and what follows it.
fn pair(request: &[u8]) -> Result<(&str, &str), Status> {
    let text = text(request)?;
    Ok(text.split_once('\n').unwrap_or((text, "")))
}

/// What `std` says, as a status.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that `map_err` wants"
)]
fn failed(error: io::Error) -> Status {
    let is = |kind| error.kind() == kind;
    let code = if is(io::ErrorKind::PermissionDenied) {
        Code::PermissionDenied
    } else if is(io::ErrorKind::NotFound) {
        Code::NotFound
    } else {
        Code::Unavailable
    };
    Status::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use switchboard_guest::Code;
    use switchboard_guest::testing::Call;

    use super::GRANTED;

    #[test]
    fn what_is_not_there_is_said() {
        let answer = Call::to(&GRANTED, "Env").message("NO SUCH NAME").run();
        assert_eq!(answer.code(), Code::NotFound);
        let answer = Call::to(&GRANTED, "Read").message("/no/such/file").run();
        assert_eq!(answer.code(), Code::NotFound);
        let answer = Call::to(&GRANTED, "Read").message([0xff]).run();
        assert_eq!(answer.code(), Code::InvalidArgument);
    }
}
