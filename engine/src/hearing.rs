//! What an upstream says before the body of its answer: interim answers, and the head.

use std::io;

use crate::attempt::Attempt;
use crate::clock;
use crate::error::{ClientError, Error, UpstreamError};
use crate::exchange::Exchange;
use crate::forward;
use crate::http1::{self, Body, Scanner};
use crate::io::{Reader, Writer};
use crate::limits::INTERIM_ANSWERS;
use crate::message::Version;

impl Attempt<'_> {
    /// Reads up to the final head, passing interim ones on, and tells how its body is framed.
    ///
    /// The first byte has its deadline from the end of the request, so while the body goes up
    /// there is none, and the upload sets it when it is done.
    pub(crate) async fn receive_head(
        &self,
        exchange: &mut Exchange,
        whole: bool,
        reader: &mut Reader<'_>,
        client: &mut Writer<'_>,
    ) -> Result<Body, Error> {
        let from = self.from;
        let buffers = &self.course.worker.buffers;
        let limits = &self.course.rules().answer_head;
        let upgradable = self.wants_upgrade(exchange);
        let time = self.first_byte();
        exchange.response.reset();
        exchange.response.raw.clear();
        let mut scanner = Scanner::default();
        if whole {
            reader.within(time);
        } else {
            reader.any_time();
        }
        loop {
            let bad = |e| UpstreamError::Head(from, e);
            let response = &mut exchange.response;
            let bytes = response.raw.filled();
            let read = http1::read_response(bytes, &mut scanner, &mut response.head, limits);
            let Some(len) = read.map_err(bad)? else {
                let raw = buffers.widen(std::mem::take(&mut response.raw));
                let (read, raw) = reader.read(raw).await;
                response.raw = raw;
                match read {
                    Ok(1..) => {
                        exchange.times.first_byte.get_or_insert_with(clock::now);
                        continue;
                    }
                    Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                        return Err(UpstreamError::FirstByteTimeout(from).into());
                    }
                    Ok(0) | Err(_) => return Err(UpstreamError::Closed(from).into()),
                }
            };
            let bytes = &response.raw.filled()[..len];
            let framing = http1::response_body(&response.head, bytes, exchange.request.head.method);
            let framing = framing.map_err(bad)?;
            match response.head.status {
                101 if upgradable && http1::upgrade_granted(&response.head, bytes) => {
                    return Ok(framing);
                }
                101 => return Err(UpstreamError::UnaskedUpgrade(from).into()),
                100..=199 if response.interims == INTERIM_ANSWERS => {
                    return Err(UpstreamError::Interim(from).into());
                }
                100..=199 => {
                    response.interims += 1;
                    self.pass_interim(exchange, client).await?;
                    exchange.response.raw.consume(len);
                    exchange.response.head.clear();
                    scanner.reset();
                    if whole {
                        reader.within(time);
                    }
                }
                _ => {
                    reader.any_time();
                    return Ok(framing);
                }
            }
        }
    }

    /// Passes a 1xx on, to clients that know what that is (RFC 9110 §15.2).
    async fn pass_interim(
        &self,
        exchange: &Exchange,
        client: &mut Writer<'_>,
    ) -> Result<(), Error> {
        if exchange.request.head.version == Version::Http10 {
            return Ok(());
        }
        let mut out = self.course.worker.buffers.usual();
        forward::write_interim_head(out.tail(), exchange);
        let (written, out) = client.write_all(out, self.route.write).await;
        self.course.worker.buffers.give(out);
        written.map_err(|e| ClientError::gone(e).into())
    }
}
