//! The request of an exchange.

use ringway_config::PathPolicy;

use super::{BadHeader, Edits};
use crate::buffer::Buffer;
use crate::message::{FieldName, RequestHead};
use crate::route::path::{PathError, normalise};
use crate::route::query;

/// The request of an exchange.
#[derive(Debug, Default)]
pub struct Request {
    /// The bytes that arrived: the head, then what came of the body with it.
    pub(crate) raw: Buffer,
    /// Where things stand in them.
    pub head: RequestHead,
    /// What filters changed.
    pub edits: Edits,
    /// The path to route by, normalised, without the query.
    pub path: Vec<u8>,
    /// The query, without its question mark, as the routes see it; less what filters have taken out
    /// with [`Request::remove_query`].
    pub query: Vec<u8>,
    /// True when there is a question mark, with or without anything behind it: an empty query is
    /// not the same as none (RFC 3986 §6.2.3).
    pub(crate) has_query: bool,
    /// The path and query to send on, after rewrites; see [`Request::target`].
    pub(crate) target: Vec<u8>,
    /// Where what is changed is put together; its memory stays.
    pub(super) spare: Vec<u8>,
    /// How a changed target is normalised.
    pub(crate) path_policy: PathPolicy,
    /// Bytes of `raw` that belong to this request; what is behind them is the next one's.
    pub(crate) taken: usize,
    /// More of the body was asked for than had come with the head, so nobody but the upload knows
    /// where in the stream of bytes the connection is.
    pub(crate) body_begun: bool,
    /// The request can be sent again: all that has come of it is still here.
    pub(crate) repeatable: bool,
    /// So many bytes of its body are kept for another attempt; see [`Request::keep_body`].
    pub(crate) keep: u64,
    /// The payload of its body, once the exchange is over; see [`Request::kept_body`].
    pub(crate) kept: Option<Buffer>,
    /// Bytes of the body that have been received.
    pub received: u64,
    /// The most bytes that the body may have, if a filter says so; never more than the route says.
    pub max_body: Option<u64>,
}

impl Request {
    /// The bytes that the spans of the head are in.
    pub fn raw(&self) -> &[u8] {
        self.raw.filled()
    }

    /// The method as it was written.
    pub fn method(&self) -> &[u8] {
        self.head.method_text.of(self.raw())
    }

    /// The host that was asked for, with its port if one was given.
    pub fn authority(&self) -> &[u8] {
        self.head.authority.of(self.raw())
    }

    /// The path and query that the upstream shall see, made of the path as it was routed, after
    /// `strip_prefix` and `rewrite`.
    pub fn target(&self) -> &[u8] {
        &self.target
    }

    /// Has up to so many bytes of the body kept while it goes up, so that another attempt can send
    /// it again. Of several wishes the largest counts. Beyond that, or without a wish, a request
    /// can be sent again only while all of its body has come with its head.
    pub fn keep_body(&mut self, most: u64) {
        self.keep = self.keep.max(most);
    }

    /// The payload of the body, without its coding, for [`Filter::on_end`](crate::filter::Filter):
    /// empty when there was no body. `None` when a part of it is missing: it was longer than any
    /// filter had wished to keep, it did not come to its end, or the request was not sent on.
    pub fn kept_body(&self) -> Option<&[u8]> {
        self.kept.as_ref().map(Buffer::filled)
    }

    /// Has the upstream see this path and query instead, brought into normal form
    /// (HTTP_SAFETY rule 20).
    ///
    /// # Errors
    /// When it is no path; the target is then as before.
    pub fn set_target(&mut self, target: &[u8]) -> Result<(), PathError> {
        if normalise(target, &self.path_policy, &mut self.spare)?.unchanged {
            self.target.clear();
            self.target.extend_from_slice(target);
        } else {
            std::mem::swap(&mut self.target, &mut self.spare);
        }
        Ok(())
    }

    /// Leaves every query parameter of this name, however it is escaped, out of what the upstream
    /// sees, and out of [`Request::query`] for the filters that follow.
    pub fn remove_query(&mut self, name: &[u8]) {
        if let Some(at) = memchr::memchr(b'?', &self.target) {
            let (path, all) = self.target.split_at(at);
            self.spare.clear();
            self.spare.extend_from_slice(path);
            append_others(&mut self.spare, Some(b'?'), &all[1..], name);
            std::mem::swap(&mut self.target, &mut self.spare);
        }
        self.spare.clear();
        append_others(&mut self.spare, None, &self.query, name);
        std::mem::swap(&mut self.query, &mut self.spare);
    }

    /// The query as it arrived, without its question mark.
    pub fn arrived_query(&self) -> &[u8] {
        let target = self.head.path_and_query(self.raw());
        let end = memchr::memchr(b'?', target).map_or(target.len(), |at| at + 1);
        &target[end..]
    }

    /// The pairs of all `Cookie` fields as they arrived (RFC 6265 §4.2.1).
    pub fn cookies(&self) -> impl Iterator<Item = &[u8]> {
        let fields = self.head.all(self.raw(), b"cookie");
        let pairs = fields.flat_map(|field| field.split(|&byte| byte == b';'));
        pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
    }

    /// Has the upstream see only the cookies of which `keep` says so.
    pub fn retain_cookies(&mut self, keep: impl Fn(&[u8]) -> bool) {
        let mut rest = std::mem::take(&mut self.spare);
        rest.clear();
        for pair in self.cookies().filter(|pair| keep(pair)) {
            if !rest.is_empty() {
                rest.extend_from_slice(b"; ");
            }
            rest.extend_from_slice(pair);
        }
        let edits = &mut self.edits;
        let changed = if rest.is_empty() { Err(BadHeader) } else { edits.set("Cookie", &rest) };
        if changed.is_err() {
            edits.remove("Cookie").expect("invariant: this is a name");
        }
        self.spare = rest;
    }

    pub(crate) fn normalise_target(&mut self) -> Result<(), PathError> {
        if !normalise(&self.target, &self.path_policy, &mut self.spare)?.unchanged {
            std::mem::swap(&mut self.target, &mut self.spare);
        }
        Ok(())
    }

    /// The first value of a header as the upstream shall see it, edits included.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.edits.first(name, || self.head.find(self.raw(), name.as_bytes()))
    }

    /// Every value of a header as the upstream shall see it, edits included.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let arrived = !self.edits.replaces(name.as_bytes());
        let arrived = self.head.all(self.raw(), name.as_bytes()).filter(move |_| arrived);
        arrived.chain(self.edits.values(name))
    }

    /// Has what came under one name go on under another, in place of what came under that; see
    /// [`Response::rename`](super::Response::rename).
    ///
    /// # Errors
    /// [`BadHeader`] when one of them is no name that may be edited.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), BadHeader> {
        let arrived = self.head.all(self.raw.filled(), from.as_bytes());
        self.edits.rename(from, to, arrived)
    }

    /// The method that a CORS preflight asks about; `None` for every other request.
    pub fn asked_by_preflight(&self) -> Option<&[u8]> {
        self.head.asked_by_preflight(self.raw())
    }

    /// The most bytes that the body may have on a route that allows so many.
    pub(crate) fn most_body(&self, of_route: u64) -> u64 {
        self.max_body.map_or(of_route, |most| most.min(of_route))
    }

    /// The first value of a known header as it arrived.
    pub fn field(&self, name: FieldName) -> Option<&[u8]> {
        self.head.field(self.raw(), name)
    }

    /// Forgets the last request; the memory stays.
    pub(super) fn reset(&mut self) {
        self.head.clear();
        self.edits.clear();
        self.path.clear();
        self.query.clear();
        self.has_query = false;
        self.target.clear();
        self.taken = 0;
        self.body_begun = false;
        self.repeatable = true;
        self.keep = 0;
        self.kept = None;
        self.received = 0;
        self.max_body = None;
    }
}

/// Appends the pairs of a query that have another name, the first of them behind `mark`.
fn append_others(out: &mut Vec<u8>, mut mark: Option<u8>, query: &[u8], name: &[u8]) {
    for pair in query.split(|&byte| byte == b'&') {
        if query::value_of(pair, name).is_none() {
            out.extend(mark.replace(b'&'));
            out.extend_from_slice(pair);
        }
    }
}
