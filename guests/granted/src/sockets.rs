//! Sockets and names, as `std` has them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use switchboard_guest::Status;

use crate::failed;

/// The addresses of a name, a line each.
pub(crate) fn look_up(name: &str) -> Result<Vec<u8>, Status> {
    let found = (name, 0).to_socket_addrs().map_err(failed)?;
    let lines: Vec<_> = found.map(|address| format!("{}\n", address.ip())).collect();
    Ok(lines.concat().into_bytes())
}

/// Sends a text to an address, and answers with all that comes back.
pub(crate) fn tcp((address, message): (&str, &str)) -> Result<Vec<u8>, Status> {
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.write_all(message.as_bytes()).map_err(failed)?;
    stream.shutdown(Shutdown::Write).map_err(failed)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(failed)?;
    Ok(answer)
}

/// Connects until that fails, and answers how often it went well, and what was said then.
pub(crate) fn tcp_many(address: &str) -> Result<Vec<u8>, Status> {
    let mut streams = Vec::new();
    let error = loop {
        match TcpStream::connect(address) {
            Ok(stream) => streams.push(stream),
            Err(error) => break error,
        }
        if streams.len() > 10_000 {
            return Err(Status::internal("there is no limit"));
        }
    };
    Ok(format!("{}\n{error}", streams.len()).into_bytes())
}

/// Sends a datagram, and answers with the first that comes.
pub(crate) fn udp((address, message): (&str, &str)) -> Result<Vec<u8>, Status> {
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(failed)?;
    socket
        .send_to(message.as_bytes(), address)
        .map_err(failed)?;
    let mut answer = [0; 1500];
    let (len, from) = socket.recv_from(&mut answer).map_err(failed)?;
    Ok(format!("{from}\n{}", String::from_utf8_lossy(&answer[..len])).into_bytes())
}

pub(crate) fn listen(address: &str) -> Result<Vec<u8>, Status> {
    let listener = TcpListener::bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(address.to_string().into_bytes())
}
