//! The response of an exchange.

use super::{BadHeader, Coder, Edits};
use crate::buffer::Buffer;
use crate::http1::items;
use crate::message::ResponseHead;

/// The response of an exchange: an upstream's, or the gateway's own.
#[derive(Debug, Default)]
pub struct Response {
    /// The bytes that arrived from the upstream: the head, then what came of the body with it.
    pub(crate) raw: Buffer,
    /// Where things stand in them; for an answer of the gateway's own only the status counts.
    pub head: ResponseHead,
    /// What filters changed.
    pub edits: Edits,
    /// What codes the body on its way to the client, if a filter has set it in `on_response`.
    pub coder: Option<Box<dyn Coder>>,
    /// Interim (1xx) answers that came before it.
    pub(crate) interims: u32,
    /// Bytes of the body that have been sent.
    pub sent: u64,
}

impl Response {
    /// The bytes that the spans of the head are in.
    pub fn raw(&self) -> &[u8] {
        self.raw.filled()
    }

    /// The first value of a header as the client shall see it, edits included.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.edits.first(name, || self.head.find(self.raw(), name.as_bytes()))
    }

    /// Every value of a header as the client shall see it, edits included.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let arrived = !self.edits.replaces(name.as_bytes());
        let arrived = self.head.all(self.raw(), name.as_bytes()).filter(move |_| arrived);
        arrived.chain(self.edits.values(name))
    }

    /// Has what came under one name go on under another, in place of what came under that. Nothing
    /// changes when nothing came; a field that may come once only takes the first value.
    ///
    /// # Errors
    /// [`BadHeader`] when one of them is no name that may be edited.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), BadHeader> {
        let arrived = self.head.all(self.raw.filled(), from.as_bytes());
        self.edits.rename(from, to, arrived)
    }

    /// Has `Vary` name this header of the request too, unless it does or names all of them
    /// (RFC 9110 §12.5.5).
    ///
    /// # Errors
    /// [`BadHeader`] when it is no name.
    pub fn vary(&mut self, name: &str) -> Result<(), BadHeader> {
        let named = |item: &[u8]| item == b"*" || item.eq_ignore_ascii_case(name.as_bytes());
        if self.values("vary").any(|value| items(value).any(named)) {
            return Ok(());
        }
        self.edits.add("Vary", name.as_bytes())
    }

    /// Forgets the last response; the memory stays.
    pub(crate) fn reset(&mut self) {
        self.head.clear();
        self.edits.clear();
        self.coder = None;
        self.interims = 0;
        self.sent = 0;
    }
}
