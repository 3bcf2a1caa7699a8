//! What can go wrong with an exchange, by who is at fault, and what the client is told.

use std::io;
use std::net::SocketAddr;

use crate::http1::{ChunkError, HeadError};
use crate::route::path::PathError;

/// What ended an exchange other than well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client asked what cannot be answered, or broke off.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The upstream did not answer, or not as it should.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The gateway itself could not do its part.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
}

/// Faults of the client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The head is not one (HTTP_SAFETY rules 1 to 15 and 21).
    #[error("bad request head: {0}")]
    Head(HeadError),
    /// The head did not come in time.
    #[error("the request head did not come in time")]
    HeadTimeout,
    /// The path is not one (rule 20).
    #[error("bad path: {0}")]
    Path(PathError),
    /// No route takes the request.
    #[error("no route takes this request")]
    NoRoute,
    /// A route takes the path, not the method.
    #[error("the route does not take this method")]
    Method,
    /// The route's template names an upstream that there is not.
    #[error("no upstream has this name")]
    NoUpstream,
    /// The body is longer than the route allows.
    #[error("the request body is too large")]
    BodyTooLarge,
    /// The chunked coding of the body is broken.
    #[error("bad request body: {0}")]
    Body(ChunkError),
    /// The body stopped coming, or came too slowly.
    #[error("the request body did not come in time")]
    BodyTimeout,
    /// The connection broke while the request came or the response went.
    #[error("the client went away: {0}")]
    Gone(io::Error),
    /// The client took nothing of the response for too long.
    #[error("the client did not take the response in time")]
    Stalled,
}

/// Faults of the upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// There is no endpoint to try: no name resolved, or every weight is zero.
    #[error("the upstream has no endpoint that can be used")]
    NoEndpoint,
    /// No connection could be made.
    #[error("cannot connect to {0}: {1}")]
    Refused(SocketAddr, io::Error),
    /// No connection could be made in time.
    #[error("connecting to {0} took too long")]
    ConnectTimeout(SocketAddr),
    /// The connection broke before the first byte of the answer.
    #[error("{0} closed the connection without an answer")]
    Closed(SocketAddr),
    /// The first byte of the answer did not come in time.
    #[error("{0} did not answer in time")]
    FirstByteTimeout(SocketAddr),
    /// The answer did not begin within the time that a filter gives each attempt.
    #[error("{0} did not answer within the time of one attempt")]
    TryTimeout(SocketAddr),
    /// The answer did not begin within the time that a filter gives the whole exchange, most of
    /// which the upstream had.
    #[error("{0} did not answer within the time of the whole exchange")]
    ExchangeTimeout(SocketAddr),
    /// The answer's head is not one.
    #[error("bad response head from {0}: {1}")]
    Head(SocketAddr, HeadError),
    /// It sent more interim answers than anybody needs.
    #[error("{0} sent interim answers without end")]
    Interim(SocketAddr),
    /// It switched protocols though nobody asked for that.
    #[error("{0} switched protocols unasked")]
    UnaskedUpgrade(SocketAddr),
    /// The answer broke off.
    #[error("{0} broke off its answer")]
    Truncated(SocketAddr),
    /// The chunked coding of the answer is broken.
    #[error("bad response body from {0}: {1}")]
    Body(SocketAddr, ChunkError),
    /// The answer to a filter's own request is longer than the filter takes.
    #[error("{0} answered more than a filter takes")]
    TooLarge(SocketAddr),
    /// The answer stopped coming.
    #[error("{0} stopped sending its answer")]
    Stalled(SocketAddr),
}

/// Faults of the gateway.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The process has no descriptor or memory left for a connection to the upstream.
    #[error("no resources to connect upstream: {0}")]
    Resources(io::Error),
    /// A filter or a rewrite came to a target or header that may not be sent.
    #[error("the rewritten request cannot be sent: {0}")]
    Rewrite(&'static str),
    /// A filter that codes bodies cannot go on.
    #[error("the response cannot be coded: {0}")]
    Coder(io::Error),
    /// The time that a filter gives the whole exchange was over, and no upstream had most of it.
    #[error("the time for the whole exchange is over")]
    Timeout,
    /// The gateway stops, and the time for what was open is over.
    #[error("the gateway stops, and the exchange was not over in time")]
    Drained,
    /// A reload took the route away, and the time for what was open is over.
    #[error("a reload took the route away, and the exchange was not over in time")]
    RouteGone,
    /// More attempts were asked for than one exchange may make.
    #[error("too many attempts")]
    Attempts,
}

impl ClientError {
    /// Why a client could not be written to.
    pub(crate) fn gone(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => ClientError::Stalled,
            _ => ClientError::Gone(error),
        }
    }
}

/// What an error means at the client's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The status to answer with; `None` when there is nobody to answer.
    pub status: Option<u16>,
    /// The word for it in logs and metrics.
    pub code: &'static str,
    /// True when the connection can take another request.
    pub keep: bool,
}

impl Error {
    /// What the client sees, decided here for every error there is.
    ///
    /// A connection is kept only where its framing is beyond doubt: the head was understood and
    /// the fault lies elsewhere.
    pub fn reply(&self) -> Reply {
        use {ClientError as C, GatewayError as G, UpstreamError as U};
        let (status, code, keep) = match self {
            Error::Client(C::Head(e)) => (e.status(), e.reason(), false),
            Error::Client(C::HeadTimeout) => (408, "head_timeout", false),
            Error::Client(C::Path(_)) => (400, "bad_path", false),
            Error::Client(C::NoRoute) => (404, "no_route", true),
            Error::Client(C::Method) => (405, "method_not_allowed", true),
            Error::Client(C::NoUpstream) => (404, "no_upstream", true),
            Error::Client(C::BodyTooLarge) => (413, "body_too_large", false),
            Error::Client(C::Body(_)) => (400, "bad_body", false),
            Error::Client(C::BodyTimeout) => (408, "body_timeout", false),
            Error::Client(C::Gone(_)) => return Reply::nobody("client_gone"),
            Error::Client(C::Stalled) => return Reply::nobody("client_stalled"),
            Error::Upstream(U::NoEndpoint) => (503, "no_endpoint", true),
            Error::Upstream(U::Refused(..)) => (502, "refused", true),
            Error::Upstream(U::ConnectTimeout(_)) => (504, "connect_timeout", true),
            Error::Upstream(U::Closed(_)) => (502, "upstream_closed", true),
            Error::Upstream(U::FirstByteTimeout(_)) => (504, "first_byte_timeout", true),
            Error::Upstream(U::TryTimeout(_)) => (504, "try_timeout", true),
            Error::Upstream(U::ExchangeTimeout(_)) => (504, "timeout", true),
            Error::Upstream(U::Head(..)) => (502, "bad_response_head", true),
            Error::Upstream(U::Interim(_)) => (502, "endless_interim", true),
            Error::Upstream(U::UnaskedUpgrade(_)) => (502, "unasked_upgrade", true),
            Error::Upstream(U::Truncated(_)) => (502, "truncated", false),
            Error::Upstream(U::TooLarge(_)) => (502, "answer_too_large", true),
            Error::Upstream(U::Body(..)) => (502, "bad_response_body", false),
            Error::Upstream(U::Stalled(_)) => (504, "upstream_stalled", false),
            Error::Gateway(G::Resources(_)) => (503, "no_resources", true),
            Error::Gateway(G::Rewrite(_)) => (500, "bad_rewrite", true),
            Error::Gateway(G::Coder(_)) => (500, "bad_coder", false),
            Error::Gateway(G::Timeout) => (504, "timeout", true),
            Error::Gateway(G::Drained) => (503, "drained", false),
            Error::Gateway(G::RouteGone) => (503, "route_gone", false),
            Error::Gateway(G::Attempts) => (502, "too_many_attempts", true),
        };
        Reply { status: Some(status), code, keep }
    }

    /// The step of the exchange that failed, as logs and metrics name it: `request_head`, `route`,
    /// `request_body`, `endpoint`, `connect`, `response_head`, `response_body`, `response` (its
    /// way to the client), `client` (a connection that broke at no step in particular) or
    /// `exchange` (its time was over).
    pub fn phase(&self) -> &'static str {
        use {ClientError as C, GatewayError as G, UpstreamError as U};
        match self {
            Error::Client(C::Head(_) | C::HeadTimeout) => "request_head",
            Error::Client(C::Path(_) | C::NoRoute | C::Method | C::NoUpstream)
            | Error::Gateway(G::Rewrite(_)) => "route",
            Error::Client(C::BodyTooLarge | C::Body(_) | C::BodyTimeout) => "request_body",
            Error::Client(C::Gone(_)) => "client",
            Error::Client(C::Stalled) => "response",
            Error::Upstream(U::NoEndpoint) | Error::Gateway(G::Attempts) => "endpoint",
            Error::Upstream(U::Refused(..) | U::ConnectTimeout(_))
            | Error::Gateway(G::Resources(_)) => "connect",
            Error::Upstream(
                U::Closed(_)
                | U::FirstByteTimeout(_)
                | U::TryTimeout(_)
                | U::Head(..)
                | U::Interim(_)
                | U::UnaskedUpgrade(_),
            ) => "response_head",
            Error::Upstream(U::ExchangeTimeout(_))
            | Error::Gateway(G::Timeout | G::Drained | G::RouteGone) => "exchange",
            Error::Upstream(U::Truncated(_) | U::Body(..) | U::TooLarge(_) | U::Stalled(_))
            | Error::Gateway(G::Coder(_)) => "response_body",
        }
    }

    /// The sentence for the body of the answer: what happened, without addresses or internals.
    pub fn public(&self) -> String {
        match self {
            Error::Client(e) => e.to_string(),
            Error::Upstream(_) | Error::Gateway(_) => match self.reply().status {
                Some(503) => "service unavailable".to_owned(),
                Some(504) => "the upstream did not answer in time".to_owned(),
                Some(500) => "internal error".to_owned(),
                _ => "bad gateway".to_owned(),
            },
        }
    }
}

impl Reply {
    fn nobody(code: &'static str) -> Self {
        Reply { status: None, code, keep: false }
    }
}
