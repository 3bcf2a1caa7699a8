//! The client's side of an exchange.

use std::net::SocketAddr;

use crate::admission::Admission;
use crate::http1::write;
use crate::io::Stream;
use crate::metrics::Shard;
use crate::shared::Shared;

/// A client's connection.
pub(crate) struct Connection {
    /// The socket.
    pub(crate) stream: Stream,
    /// The other end.
    pub(crate) peer: SocketAddr,
    /// The other end's address as text, for the forwarding headers of every request.
    pub(crate) peer_text: Box<[u8]>,
    /// Requests that have begun on it.
    pub(crate) served: u64,
    _counted: Counted,
    _admission: Admission,
}

/// What becomes of a connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It takes another request.
    Keep,
    /// It ends.
    Close,
    /// It ends, but the client may still be sending what nobody will read: closing at once would
    /// reset the connection and could cost it the answer (RFC 9112 §9.6).
    Linger,
}

impl Connection {
    /// A fresh connection; counted from now until it is dropped.
    pub(crate) fn new(
        stream: Stream,
        peer: SocketAddr,
        admission: Admission,
        shard: Shared<Shard>,
    ) -> Self {
        shard.accepted.add(1);
        shard.connections.add(1);
        let mut peer_text = Vec::new();
        write::address(&mut peer_text, peer.ip());
        Connection {
            stream,
            peer,
            peer_text: peer_text.into_boxed_slice(),
            served: 0,
            _counted: Counted(shard),
            _admission: admission,
        }
    }
}

/// Counts an open connection.
struct Counted(Shared<Shard>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.sub(1);
    }
}
