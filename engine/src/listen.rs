//! Sockets to listen on, one for each worker, made before a worker has them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::BACKLOG;

/// A socket that one worker is to listen on.
pub(crate) struct Bound {
    /// Where, the port chosen.
    pub(crate) address: SocketAddr,
    pub(crate) socket: TcpListener,
    /// The same socket once more, to end it by.
    pub(crate) handle: TcpListener,
}

/// Binds `address` once for each of `workers`, so that the kernel spreads connections over them.
/// Port 0 is chosen once and shared.
///
/// Unless it is `shared` with a listener of this gateway, the address is tried without
/// `SO_REUSEPORT` first: with it alone, a second gateway of the same user would silently take half
/// of the connections.
///
/// # Errors
/// The system's error.
pub(crate) fn bind(
    mut address: SocketAddr,
    workers: usize,
    shared: bool,
) -> io::Result<Vec<Bound>> {
    if !shared {
        let first = socket(address)?;
        first.bind(&address.into())?;
        address = first.local_addr()?.as_socket().unwrap_or(address);
    }
    (0..workers)
        .map(|_| {
            let socket = socket(address)?;
            socket.set_reuse_port(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let socket = TcpListener::from(socket);
            Ok(Bound { address, handle: socket.try_clone()?, socket })
        })
        .collect()
}

/// What to do when an address of `server.listen` cannot be listened on, to be put behind the error.
pub(crate) fn help(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            " (another program has this port: stop it, or change `server.port` or `server.listen`)"
        }
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need the capability CAP_NET_BIND_SERVICE)"
        }
        io::ErrorKind::AddrNotAvailable => " (no interface of this machine has this address)",
        _ => "",
    }
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Every connection inherits it, and none needs a system call of its own for it.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        // `[::]:80` beside `0.0.0.0:80` shall be two listeners, as the file says.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn what_is_accepted_sends_at_once() {
        for bound in bind(([127, 0, 0, 1], 0).into(), 1, false).unwrap() {
            let _client = TcpStream::connect(bound.address).unwrap();
            let (accepted, _) = bound.socket.accept().unwrap();
            assert!(accepted.nodelay().unwrap());
        }
    }
}
