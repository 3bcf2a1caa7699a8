//! HTTP/1.1 as bytes (RFC 9112): finding, reading and writing heads, chunks and trailers.
//!
//! *Architecture invariant:* nothing in here does I/O, knows the time, or allocates once its
//! buffers have grown. A message is read the same way whether it arrives whole or byte by byte,
//! and no input makes the work more than linear in its length.
//!
//! What a peer may send is narrower than what the RFCs let a recipient tolerate: a gateway that
//! guesses is how requests get smuggled. Every refusal is a variant of [`HeadError`] or
//! [`ChunkError`], and the tests are named after the rule that they hold up.

pub mod chunked;
mod error;
mod fields;
pub mod framing;
pub mod head;
mod list;
mod scan;
mod target;
mod trailers;
pub mod write;

pub use chunked::{
    ChunkError, Decoder, Event, write_chunk, write_chunk_end, write_chunk_start, write_last,
};
pub use framing::{
    Body, keeps_alive_request, keeps_alive_response, request_body, response_body, upgrade_requested,
};
pub use head::{HeadError, HeadLimits, MAX_FIELDS, Scanner, parse_request, parse_response};
pub use target::is_valid_authority;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod properties;
#[cfg(test)]
mod tests;
