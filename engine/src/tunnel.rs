//! A tunnel: after an upgrade, bytes in both directions with no meaning to us (RFC 9110 §7.8).
//!
//! The idle deadline is the tunnel's, not a direction's: bytes either way keep both sides open,
//! so a server that only pushes is not cut off for its silent client.

use std::io;
use std::pin::pin;
use std::time::Duration;

use crate::buffer::{Buffer, Buffers};
use crate::io::{Reader, Side, Stream, Writer, alongside};

/// Bytes that went through a tunnel.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Carried {
    /// From the client to the upstream.
    pub up: u64,
    /// From the upstream to the client.
    pub down: u64,
}

/// Carries bytes until both sides have ended, one broke, or neither sent anything for `idle`.
/// `early_up` and `early_down` came with the heads and go first.
pub(crate) async fn run(
    client: &mut Stream,
    upstream: &mut Stream,
    early_up: Buffer,
    early_down: Buffer,
    idle: Duration,
    buffers: &Buffers,
) -> Carried {
    let (client_reader, client_writer) = client.split();
    let (upstream_reader, upstream_writer) = upstream.split();
    let mut carried = Carried::default();
    {
        let up = carry(client_reader, upstream_writer, early_up, idle, buffers, &mut carried.up);
        let down =
            carry(upstream_reader, client_writer, early_down, idle, buffers, &mut carried.down);
        let mut up = pin!(Side::new(up));
        alongside(up.as_mut(), pin!(down)).await;
        Side::finish(up).await;
    }
    carried
}

/// Carries one direction to its end, and tells the receiver of it. A break ends both directions.
async fn carry(
    mut from: Reader<'_>,
    mut to: Writer<'_>,
    early: Buffer,
    idle: Duration,
    buffers: &Buffers,
    count: &mut u64,
) {
    let mut buffer = early;
    let result: io::Result<()> = async {
        loop {
            if !buffer.is_empty() {
                *count += buffer.len() as u64;
                from.within(idle);
                to.other_direction_within(idle);
                let (result, back) = to.write_all(std::mem::take(&mut buffer), idle).await;
                buffer = back;
                result?;
                buffer.clear();
            }
            if buffer.capacity() == 0 {
                buffer = buffers.usual();
            }
            from.within(idle);
            let (result, back) = from.read(std::mem::take(&mut buffer)).await;
            buffer = back;
            if result? == 0 {
                return Ok(());
            }
        }
    }
    .await;
    buffers.give(buffer);
    match result {
        Ok(()) => to.end(),
        Err(_) => {
            to.abort();
            from.abort();
        }
    }
}
