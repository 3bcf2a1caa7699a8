//! What a filter may put between a response's body and the client.

use std::fmt::Debug;
use std::io;

/// Codes the body of a response on its way to the client: compresses it. A filter that sets one
/// ([`Response::coder`](super::Response::coder)) says in `Content-Encoding` what it does; the
/// engine does the framing.
///
/// Each call appends what there is to send. What the coder holds back meanwhile is memory of the
/// connection: it must be bounded, whatever the body.
pub trait Coder: Debug {
    /// Codes `data`, which follows what was coded before.
    ///
    /// # Errors
    /// When it cannot go on. The response then breaks off.
    fn code(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()>;

    /// Appends all that is held back, so that the client can read what came so far. Called
    /// whenever the upstream pauses.
    ///
    /// # Errors
    /// As for [`Coder::code`].
    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()>;

    /// Ends the body. Nothing is called after it.
    ///
    /// # Errors
    /// As for [`Coder::code`].
    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()>;
}
