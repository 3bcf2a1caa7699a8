//! An upstream's response on its way to the client.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};

use crate::buffer::Buffer;
use crate::clock;
use crate::coded::Coded;
use crate::course::Course;
use crate::error::{ClientError, Error, GatewayError, UpstreamError};
use crate::exchange::Exchange;
use crate::forward;
use crate::http1::Body;
use crate::io::{Reader, Side, Writer, alongside};
use crate::limits::HEAD_GROWS;
use crate::message::{Method, Version};
use crate::relay::{Bounds, Framing, Incoming, RelayError, relay};
use crate::respond;

/// What the relaying of a response came to.
pub(crate) struct Relayed {
    pub(crate) error: Option<Error>,
    /// The response ended where it should, and nothing came behind it.
    pub(crate) clean: bool,
    /// The client was told, or must find, that the connection ends.
    pub(crate) close: bool,
}

/// A response whose head has been understood.
pub(crate) struct Response<'a> {
    pub(crate) course: &'a Course<'a>,
    pub(crate) bounds: &'a Bounds,
    /// How the upstream frames the body.
    pub(crate) body: Body,
    pub(crate) from: SocketAddr,
    /// Requests that the client's connection has carried.
    pub(crate) served: u64,
}

impl Response<'_> {
    /// Sends it on: the head with what has come of the body in one send, then the rest.
    pub(crate) async fn relay<S: Future>(
        &self,
        exchange: &mut Exchange,
        reader: &mut Reader<'_>,
        client: &mut Writer<'_>,
        mut upload: Pin<&mut Side<S>>,
    ) -> Relayed {
        let worker = self.course.worker;
        self.course.chain.on_response(exchange, self.course.passed);
        let mut framing = response_framing(exchange, self.body);
        let coder = exchange.response.coder.take();
        if coder.is_some() {
            framing = coded_framing(exchange, self.body);
        }
        // An upstream that answers before it has heard the body may never want it.
        let early = upload.is_busy()
            && (exchange.response.head.status >= 400 || exchange.request.head.expect_continue);
        let close = early
            || framing == Framing::UntilClose
            || !respond::may_keep(self.course, exchange, self.served);
        let mut out = worker.buffers.holding(exchange.response.raw.len() + HEAD_GROWS);
        self.write_head(exchange, framing, close, out.tail());
        let mut down = Incoming::new(self.body);
        if self.body == Body::Chunked {
            down.withhold(exchange.response.edits.replaced(), &worker.buffers);
        }
        let mut coded = coder.map(|coder| Coded::new(coder, framing));
        let came = &exchange.response.raw()[exchange.response.head.len..];
        let taken = match &mut coded {
            // Neither does a response without a body have a coded one.
            Some(coded) if !down.is_done() => coded.take(&mut down, came, out.tail()),
            _ => down.take(came, framing, out.tail()).map_err(RelayError::Coding),
        };
        let extra = taken.as_ref().is_ok_and(|taken| *taken < came.len());
        let whole = down.is_done();
        let last = close && whole && !upload.is_busy();
        if framing == Framing::UntilClose {
            client.begins_until_close();
        }
        let relayed = {
            let rest = pin!(async {
                let time = self.bounds.write;
                let (written, out) = match last {
                    true => client.write_last(out, time).await,
                    false => client.write_all(out, time).await,
                };
                worker.buffers.give(out);
                written.map_err(ClientError::gone)?;
                taken.map_err(|e| response_error(self.from, e))?;
                self.relay_rest(&mut down, framing, coded.as_mut(), reader, client).await
            });
            alongside(upload.as_mut(), rest).await
        };
        down.give_back(&worker.buffers);
        exchange.response.sent = coded.map_or(down.received(), |coded| coded.sent());
        let times = &mut exchange.times;
        times.last_byte = if whole { times.first_byte } else { Some(clock::now()) };
        match relayed {
            Ok(left) => {
                if framing == Framing::UntilClose {
                    client.finished();
                }
                let clean = !extra && left == 0 && self.body != Body::UntilClose;
                Relayed { error: None, clean, close }
            }
            Err(error) => Relayed { error: Some(error), clean: false, close: true },
        }
    }

    fn write_head(&self, exchange: &Exchange, framing: Framing, close: bool, out: &mut Vec<u8>) {
        let persistence = respond::persistence(exchange, close);
        let rules = self.course.rules();
        self.course.worker.with_date(|date| {
            forward::write_response_head(out, exchange, rules, framing, persistence, date);
        });
    }

    /// Relays what has not come with the head; the number of bytes that came behind the body.
    async fn relay_rest(
        &self,
        down: &mut Incoming,
        framing: Framing,
        coded: Option<&mut Coded>,
        reader: &mut Reader<'_>,
        client: &mut Writer<'_>,
    ) -> Result<usize, Error> {
        if down.is_done() {
            return Ok(0);
        }
        let buffers = &self.course.worker.buffers;
        let mut input = Buffer::default();
        let end = match coded {
            None => relay(reader, &mut input, down, client, framing, self.bounds, buffers).await,
            Some(coded) => {
                let coding = coded.relay(reader, &mut input, down, client, self.bounds, buffers);
                // Few responses are coded, and each future here has the room of the largest.
                Box::pin(coding).await
            }
        };
        let left = input.len();
        buffers.give(input);
        end.map(|()| left).map_err(|e| response_error(self.from, e))
    }
}

/// How a response's body goes to the client: counted where it can be, else in chunks, else (for
/// HTTP/1.0) until the connection closes.
fn response_framing(exchange: &Exchange, body: Body) -> Framing {
    match body {
        Body::Length(n) => Framing::Length(n),
        Body::Chunked | Body::UntilClose => match exchange.request.head.version {
            Version::Http11 => Framing::Chunked,
            Version::Http10 => Framing::UntilClose,
        },
        Body::Empty => {
            // A length without a body tells what GET would have brought (RFC 9110 §8.6); 204 must
            // not have one.
            let head = &exchange.response.head;
            let length = head.content_length.filter(|_| head.status != 204);
            length.map_or(Framing::None, Framing::Length)
        }
    }
}

/// How a coded body goes out, whose length nobody knows before its end.
fn coded_framing(exchange: &Exchange, body: Body) -> Framing {
    match (body, exchange.request.head.version) {
        (Body::Empty, _) if exchange.request.head.method == Method::Head => Framing::None,
        (Body::Empty | Body::Length(0), _) => response_framing(exchange, body),
        (_, Version::Http11) => Framing::Chunked,
        (_, Version::Http10) => Framing::UntilClose,
    }
}

fn response_error(from: SocketAddr, error: RelayError) -> Error {
    match error {
        RelayError::Write(e) => ClientError::gone(e).into(),
        RelayError::Coding(e) => UpstreamError::Body(from, e).into(),
        RelayError::Coder(e) => GatewayError::Coder(e).into(),
        RelayError::Read(e) if e.kind() == io::ErrorKind::TimedOut => {
            UpstreamError::Stalled(from).into()
        }
        RelayError::Read(_) | RelayError::TooLarge => UpstreamError::Truncated(from).into(),
    }
}
