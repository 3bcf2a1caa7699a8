//! What a client's body means on its way up.

use std::io;
use std::net::SocketAddr;

use crate::error::{ClientError, Error, GatewayError, UpstreamError};
use crate::http1::Body;
use crate::relay::{Framing, RelayError};

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
