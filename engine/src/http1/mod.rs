//! HTTP/1.1 as bytes (RFC 9112): finding, reading and writing heads, chunks and trailers.
//!
//! *Architecture invariant:* nothing in here does I/O, knows the time, or allocates once its
//! buffers have grown. A message is read the same way whether it arrives whole or byte by byte,
//! and no input makes the work more than linear in its length.
//!
//! What a peer may send is narrower than what the RFCs let a recipient tolerate: a gateway that
//! guesses is how requests get smuggled. Every refusal is a variant of [`HeadError`] or
//! [`ChunkError`], and the tests are named after the rule that they hold up.
//!
//! # What others were hit by, and what excludes it here
//!
//! - `Content-Length` that overflows, or is empty or signed (CVE-2021-40346, CVE-2023-40225):
//!   [`HeadError::ContentLength`]. Digits, checked, within 63 bits.
//! - `Transfer-Encoding` beside `Content-Length` (CVE-2005-2088): [`HeadError::TwoLengths`],
//!   whatever the coding.
//! - An empty name that ends the head for one side only (CVE-2023-25725), or a space before the
//!   colon that hides a field (CVE-2021-22959): [`HeadError::FieldName`].
//! - NUL that cuts a value short (CVE-2019-9900): [`HeadError::Control`].
//! - `Connection` that lists away what proxies add (CVE-2022-31813, CVE-2024-45410):
//!   [`Field::nominated`](crate::message::Field::nominated) is never set for those.
//! - Bare LF that ends a chunk line or extension (CVE-2025-22871, CVE-2025-55315,
//!   CVE-2025-58056): [`ChunkError::LineEnd`].
//! - Endless chunk extensions (CVE-2023-39326): [`ChunkError::ExtensionTooLong`], for each chunk
//!   and for all of them.

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
    Body, keeps_alive_request, keeps_alive_response, request_body, response_body, upgrade_granted,
    upgrade_requested,
};
pub use head::{
    HeadError, HeadLimits, MAX_FIELDS, Scanner, parse_request, parse_response, read_request,
    read_response,
};
pub use list::items;
pub use target::is_valid_authority;
pub(crate) use trailers::Withheld;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod properties;
#[cfg(test)]
mod tests;
