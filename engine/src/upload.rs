//! The client's body on its way up.

use std::io;
use std::net::SocketAddr;

use crate::buffer::Buffer;
use crate::error::{ClientError, Error, GatewayError, UpstreamError};
use crate::http1::Body;
use crate::relay::{Framing, Incoming, RelayError};

/// The client's body on its way up.
pub(crate) struct Upload {
    pub(crate) body: Incoming,
    /// What was read and not yet taken.
    pub(crate) input: Buffer,
    /// Why it cannot go on; set before its start when the upstream did not even take the head.
    pub(crate) broken: Option<RelayError>,
}

impl Upload {
    /// One of which nothing has come yet.
    pub(crate) fn new(body: Body) -> Self {
        let body = Incoming::new(body);
        Upload { body, input: Buffer::default(), broken: None }
    }
}

/// A request's body goes up as it came, counted or chunked anew.
pub(crate) fn request_framing(body: Body) -> Framing {
    match body {
        Body::Empty | Body::UntilClose => Framing::None,
        Body::Length(n) => Framing::Length(n),
        Body::Chunked => Framing::Chunked,
    }
}

/// What a broken upload means. `None` when the upstream broke it: it may have answered before.
pub(crate) fn upload_error(error: RelayError, to: SocketAddr) -> Option<Error> {
    Some(match error {
        RelayError::Write(e) if e.kind() == io::ErrorKind::TimedOut => {
            UpstreamError::Stalled(to).into()
        }
        RelayError::Write(_) => return None,
        RelayError::TooLarge => ClientError::BodyTooLarge.into(),
        RelayError::Coding(e) => ClientError::Body(e).into(),
        RelayError::Coder(e) => GatewayError::Coder(e).into(),
        RelayError::Read(e) if e.kind() == io::ErrorKind::TimedOut => {
            ClientError::BodyTimeout.into()
        }
        RelayError::Read(e) => ClientError::Gone(e).into(),
    })
}
