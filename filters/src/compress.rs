//! Compresses what the routes answer, for clients that can take it.
//!
//! # Settings
//!
//! ```yaml
//! - compress:
//!     codings: [zstd, brotli, gzip]   # of those that a client likes best, the first
//!     min_size: 1KiB                  # shorter answers are left alone
//!     types: ["text/*", application/json, "application/*+json"]
//!     levels: {zstd: 3, brotli: 4, gzip: 4}
//! ```
//!
//! All of it may be left out: `- compress`. The client's `Accept-Encoding` decides (RFC 9110
//! §12.5.3): the coding with the highest weight, and of several the first in `codings`; nothing is
//! compressed for a client that does not ask, that likes `identity` better, or with the weight 0.
//!
//! Left alone are answers that have a `Content-Encoding` already or `Cache-Control: no-transform`
//! (also in the request), parts (206), 204 and 304, other types than those in `types`, and those
//! whose length is known to be below `min_size`. What might have been compressed says `Vary:
//! Accept-Encoding`, and so does a 304. What is has no `Content-Length` and no `Accept-Ranges`,
//! drops trailers and digests, and its `ETag` becomes a weak one (RFC 9110 §8.8.3), as does that of
//! a 304.
//!
//! A body is compressed as it comes, and all that came is flushed whenever the upstream pauses:
//! server-sent events arrive one by one. Put the filter first, so that it sees what the others make
//! of an answer. Where an answer holds both a secret and what a stranger wrote, its compressed
//! length can tell of the secret (the BREACH attack): leave such routes out.
//!
//! A stream in progress takes about 0.5 MiB with gzip, 0.8 MiB with zstd and up to 1.8 MiB with
//! brotli at the levels given above, whatever its length: windows are 32 KiB, 128 KiB and 64 KiB.
//!
//! # Answers
//!
//! None of its own. Those of the gateway itself are compressed like others.
//!
//! # State
//!
//! None beyond a response. One that is compressed allocates the memory of its compressor, which
//! ends with it; one that is not allocates nothing.

mod coder;
mod pattern;

use std::rc::Rc;

use ringway_config::Bytes;
use ringway_engine::exchange::{Exchange, Request, Response};
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError};
use ringway_engine::http1::items;
use ringway_engine::shared::Shared;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{plan, remove, set, wrong};
use pattern::Pattern;

/// Headers that are about the bytes as the upstream sent them.
const OF_THE_PLAIN_BYTES: [&str; 5] =
    ["Accept-Ranges", "Content-Digest", "Content-MD5", "Digest", "Repr-Digest"];

/// What is compressed, and how.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The codings there are, the preferred one first.
    pub codings: Vec<Coding>,
    /// Answers of fewer bytes are left alone. One of unknown length is compressed.
    pub min_size: Bytes,
    /// Types that are compressed, by `Content-Type` without its parameters; one `*` stands for
    /// any part.
    pub types: Vec<String>,
    /// How hard each coding tries: more is smaller and slower.
    pub levels: Levels,
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Coding {
    /// `zstd` (RFC 8878).
    Zstd,
    /// `br` (RFC 7932).
    Brotli,
    /// `gzip` (RFC 1952), which every client knows.
    Gzip,
}

/// How hard each coding tries. Workers do the compressing, and what goes beyond these bounds
/// would hold up other requests, or take memory by the mebibyte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Levels {
    /// 1 to 9.
    pub gzip: u32,
    /// 0 to 6.
    pub brotli: u32,
    /// 1 to 6.
    pub zstd: u32,
}

impl Default for Levels {
    fn default() -> Self {
        Levels { gzip: 4, brotli: 4, zstd: 3 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/json",
            "application/*+json",
            "application/javascript",
            "application/xml",
            "application/*+xml",
            "application/wasm",
            "image/svg+xml",
        ];
        Settings {
            codings: vec![Coding::Zstd, Coding::Brotli, Coding::Gzip],
            min_size: Bytes(1024),
            types: types.map(str::to_owned).into(),
            levels: Levels::default(),
        }
    }
}

impl Settings {
    /// Refuses what cannot be meant.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        if self.codings.is_empty() {
            let help = "write `[zstd, brotli, gzip]`, or take the filter out";
            return Err(wrong("codings", "there is no coding", help));
        }
        for (at, coding) in self.codings.iter().enumerate() {
            if self.codings[..at].contains(coding) {
                let message = format!("`{}` is there twice", coding.name());
                return Err(wrong(format!("codings[{at}]"), message, "take one of them out"));
            }
        }
        let Levels { gzip, brotli, zstd } = self.levels;
        for (name, level, least, most) in
            [("gzip", gzip, 1, 9), ("brotli", brotli, 0, 6), ("zstd", zstd, 1, 6)]
        {
            if !(least..=most).contains(&level) {
                let message = format!("`{level}` is no level of {name} here");
                let help = format!("write a number from {least} to {most}");
                return Err(wrong(format!("levels.{name}"), message, &help));
            }
        }
        if self.types.is_empty() {
            let help = "name some, such as `text/*`, or take the filter out";
            return Err(wrong("types", "no type is compressed", help));
        }
        let types = self.types.iter().enumerate();
        let types = types.map(|(at, text)| Pattern::read(text, &format!("types[{at}]")));
        Ok(plan(Plan(Compress {
            codings: self.codings.clone(),
            min_size: self.min_size.0,
            types: types.collect::<Result<_, _>>()?,
            levels: self.levels,
        })))
    }
}

impl Coding {
    /// Its name in the file.
    fn name(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Brotli => "brotli",
            Coding::Gzip => "gzip",
        }
    }

    /// Its name in a message (RFC 9110 §8.4.1).
    fn token(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Brotli => "br",
            Coding::Gzip => "gzip",
        }
    }
}

/// The settings once they are checked; every core's instance is a copy.
struct Plan(Compress);

/// One core's instance.
#[derive(Clone)]
struct Compress {
    codings: Vec<Coding>,
    min_size: u64,
    types: Vec<Pattern>,
    levels: Levels,
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "compress"
    }

    fn summary(&self) -> String {
        let codings: Vec<_> = self.0.codings.iter().map(|coding| coding.name()).collect();
        format!("{} from {}", codings.join(", "), Bytes(self.0.min_size))
    }

    fn instance(&self, _: &Rc<dyn Core>) -> Rc<dyn Filter> {
        Rc::new(self.0.clone())
    }
}

impl Filter for Compress {
    fn on_response(&self, exchange: &mut Exchange) {
        let Exchange { request, response, .. } = exchange;
        if response.head.status == 304 {
            // What is remembered under its tag may be what was compressed, and a 304 says of it
            // what its 200 would (RFC 9110 §15.4.5).
            weaken(response);
            response.vary("Accept-Encoding").expect("invariant: the name is a token");
            return;
        }
        if response.coder.is_some() || !self.may(request, response) {
            return;
        }
        response.vary("Accept-Encoding").expect("invariant: the name is a token");
        let accepted = request.head.all(request.raw(), b"accept-encoding");
        let Some(coding) = self.choose(accepted) else { return };
        let Ok(coder) = coder::start(coding, self.levels) else { return };
        weaken(response);
        set(&mut response.edits, "Content-Encoding", coding.token().as_bytes());
        for name in OF_THE_PLAIN_BYTES {
            if response.header(name).is_some() {
                remove(&mut response.edits, name);
            }
        }
        response.coder = Some(coder);
    }
}

impl Compress {
    /// True for an answer that would be compressed for a client that likes it.
    fn may(&self, request: &Request, response: &Response) -> bool {
        let status = response.head.status;
        let coded = response.header("content-encoding").is_some();
        if coded || matches!(status, ..200 | 204 | 206 | 304) {
            return false;
        }
        if response.head.content_length.is_some_and(|length| length < self.min_size.max(1)) {
            return false;
        }
        let kind = response.header("content-type").unwrap_or_default();
        let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        if !self.types.iter().any(|pattern| pattern.fits(kind)) {
            return false;
        }
        let asked = request.head.all(request.raw(), b"cache-control");
        let forbids = |item: &[u8]| item.eq_ignore_ascii_case(b"no-transform");
        !asked.chain(response.values("cache-control")).any(|value| items(value).any(forbids))
    }

    /// The coding that a client likes best, if it likes one as well as none at all.
    fn choose<'a>(&self, accepted: impl Iterator<Item = &'a [u8]>) -> Option<Coding> {
        let mut weights = [None; 3];
        let (mut other, mut identity) = (None, None);
        for (name, weight) in accepted.flat_map(items).filter_map(weighted) {
            let known = self.codings.iter().position(|coding| {
                let alias = *coding == Coding::Gzip && name.eq_ignore_ascii_case(b"x-gzip");
                alias || name.eq_ignore_ascii_case(coding.token().as_bytes())
            });
            match known {
                Some(at) => weights[at] = Some(weight),
                None if name == b"*" => other = Some(weight),
                None if name.eq_ignore_ascii_case(b"identity") => identity = Some(weight),
                None => {}
            }
        }
        let mut best = None;
        for (coding, weight) in self.codings.iter().zip(weights) {
            let weight = weight.or(other).unwrap_or(0);
            if weight > best.map_or(0, |(_, most)| most) {
                best = Some((*coding, weight));
            }
        }
        best.filter(|(_, weight)| *weight >= identity.unwrap_or(0)).map(|(coding, _)| coding)
    }
}

/// An item of `Accept-Encoding` with its weight in thousandths; nothing for one that is malformed.
fn weighted(item: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = item.split(|&byte| byte == b';');
    let name = parts.next()?.trim_ascii();
    let Some(parameter) = parts.next() else { return Some((name, 1000)) };
    let (b"q" | b"Q", [b'=', weight @ ..]) = parameter.trim_ascii().split_at_checked(1)? else {
        return None;
    };
    let (whole, fraction) = match weight {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] => (whole, fraction),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || fraction.len() > 3 {
        return None;
    }
    let mut thousandths = u16::from(whole - b'0') * 1000;
    for (digit, value) in fraction.iter().zip([100, 10, 1]) {
        thousandths += u16::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?) * value;
    }
    (thousandths <= 1000).then_some((name, thousandths))
}

/// What is coded is not what the tag stands for byte by byte, but says the same.
fn weaken(response: &mut Response) {
    let Some(tag) = response.header("etag").filter(|tag| !tag.starts_with(b"W/")) else { return };
    let weak = [b"W/", tag].concat();
    set(&mut response.edits, "ETag", &weak);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use ringway_engine::clock;

    use super::*;
    use crate::tests::{build, core, refused};

    /// An answer with these headers after it has passed the filter.
    fn answered(filter: &str, asks: &str, status: u16, says: &[(&str, &str)]) -> Exchange {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{asks}\r\n");
        let mut exchange = Exchange::with_request(head.as_bytes(), clock::now()).unwrap();
        exchange.response.head.status = status;
        for (name, value) in says {
            match *name {
                "Content-Length" => {
                    exchange.response.head.content_length = Some(value.parse().unwrap());
                }
                _ => exchange.response.edits.add(name, value.as_bytes()).unwrap(),
            }
        }
        build(filter).unwrap().instance(&core()).on_response(&mut exchange);
        exchange
    }

    fn header(exchange: &Exchange, name: &str) -> String {
        let value = exchange.response.header(name).unwrap_or_default();
        String::from_utf8_lossy(value).into_owned()
    }

    /// The coding that a client with this `Accept-Encoding` is given.
    #[track_caller]
    fn check(accepts: &str, expected: &str) {
        let asks = format!("Accept-Encoding: {accepts}\r\n");
        let exchange = answered("- compress", &asks, 200, &[("Content-Type", "text/html")]);
        assert_eq!(header(&exchange, "content-encoding"), expected, "{accepts}");
        assert_eq!(exchange.response.coder.is_some(), !expected.is_empty());
        assert_eq!(header(&exchange, "vary"), "Accept-Encoding", "{accepts}");
    }

    /// RFC 9110 §12.5.3.
    #[test]
    fn the_client_chooses_by_weight_and_the_file_among_equals() {
        check("gzip, deflate, br, zstd", "zstd");
        check("gzip, br", "br");
        check("GZIP", "gzip");
        check("x-gzip", "gzip");
        check("gzip;q=1.0, br;q=0.5", "gzip");
        check("gzip ; q=0.5,br;q=0.501", "br");
        check("*", "zstd");
        check("*;q=0.1, br;q=0.2, zstd;q=0", "br");
        check("gzip;q=0.5, identity", "");
        check("gzip;q=0.5, identity;q=0.5", "gzip");
        check("gzip, *;q=0", "gzip");
        check("identity;q=0", "");
        check("gzip;q=0", "");
        check("gzip;q=0.000", "");
        check("deflate, compress", "");
        check("", "");
        check("gzip;q=2", "");
        check("gzip;q=0.1234", "");
        check("gzip;level=1", "");
        check("br;q=x, gzip", "gzip");
        check("gzip\r\nAccept-Encoding: br;q=0.9", "gzip");
    }

    #[test]
    fn who_does_not_ask_gets_it_plain() {
        let exchange = answered("- compress", "", 200, &[("Content-Type", "text/html")]);
        assert!(exchange.response.coder.is_none());
        assert_eq!(header(&exchange, "vary"), "Accept-Encoding");
    }

    #[test]
    fn what_describes_the_plain_bytes_goes() {
        let says = [
            ("Content-Type", "application/problem+json; charset=utf-8"),
            ("ETag", "\"abc\""),
            ("Accept-Ranges", "bytes"),
            ("Repr-Digest", "sha-256=:YQ==:"),
            ("Vary", "Origin"),
            ("Content-Length", "1024"),
        ];
        let exchange = answered("- compress", "Accept-Encoding: gzip\r\n", 200, &says);
        assert_eq!(header(&exchange, "content-encoding"), "gzip");
        assert_eq!(header(&exchange, "etag"), "W/\"abc\"");
        assert_eq!(header(&exchange, "accept-ranges"), "");
        assert_eq!(header(&exchange, "repr-digest"), "");
        let vary: Vec<_> = exchange.response.values("vary").collect();
        assert_eq!(vary, [&b"Origin"[..], b"Accept-Encoding"]);
    }

    #[test]
    fn what_cannot_or_need_not_be_compressed_is_left_alone() {
        let html = ("Content-Type", "text/html");
        let alone = |asks: &str, status: u16, says: &[(&str, &str)]| {
            let asks = format!("Accept-Encoding: gzip\r\n{asks}");
            let exchange = answered("- compress", &asks, status, says);
            assert!(exchange.response.coder.is_none(), "{asks} {status} {says:?}");
            assert_eq!(header(&exchange, "vary"), "", "{asks} {status} {says:?}");
        };
        alone("", 200, &[]);
        alone("", 200, &[("Content-Type", "image/png")]);
        alone("", 200, &[("Content-Type", "text/")]);
        alone("", 200, &[html, ("Content-Length", "1023")]);
        alone("", 200, &[html, ("Content-Encoding", "br")]);
        alone("", 200, &[html, ("Cache-Control", "public, No-Transform")]);
        alone("Cache-Control: no-transform\r\n", 200, &[html]);
        for status in [101, 204, 206] {
            alone("", status, &[html]);
        }
    }

    #[test]
    fn a_304_goes_by_the_weak_tag() {
        let exchange = answered("- compress", "", 304, &[("ETag", "\"a\"")]);
        assert_eq!(header(&exchange, "etag"), "W/\"a\"");
        assert_eq!(header(&exchange, "vary"), "Accept-Encoding");
        let exchange = answered("- compress", "", 304, &[("ETag", "W/\"a\"")]);
        assert_eq!(header(&exchange, "etag"), "W/\"a\"");
    }

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        // A stream that has been flushed and not ended gives all that it has, and then an error.
        let _ = match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain),
            Coding::Zstd => zstd::Decoder::new(bytes).unwrap().read_to_end(&mut plain),
        };
        plain
    }

    #[test]
    fn every_coding_gives_back_what_went_in_and_holds_nothing_back() {
        let object = |n| format!("{{\"id\":{}}},", n * 7919 % 1009);
        let text: String = (0..40_000).map(object).collect();
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            let mut coder = coder::start(coding, Levels::default()).unwrap();
            let mut out = Vec::new();
            coder.code(b"data: one\n\n", &mut out).unwrap();
            coder.flush(&mut out).unwrap();
            assert_eq!(decoded(coding, &out), b"data: one\n\n", "{coding:?}");
            for piece in text.as_bytes().chunks(65_536) {
                coder.code(piece, &mut out).unwrap();
                coder.flush(&mut out).unwrap();
            }
            coder.finish(&mut out).unwrap();
            let all = [b"data: one\n\n", text.as_bytes()].concat();
            assert!(decoded(coding, &out) == all, "{coding:?}");
            assert!(out.len() < all.len() / 3, "{coding:?}: {} of {}", out.len(), all.len());
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        refused("- compress: {codings: []}", "compress.codings", "no coding");
        refused("- compress: {codings: [gzip, gzip]}", "compress.codings[1]", "twice");
        refused("- compress: {levels: {gzip: 10}}", "compress.levels.gzip", "1 to 9");
        refused("- compress: {levels: {brotli: 11}}", "compress.levels.brotli", "0 to 6");
        refused("- compress: {levels: {zstd: 0}}", "compress.levels.zstd", "1 to 6");
        refused("- compress: {types: []}", "compress.types", "text/*");
        refused("- compress: {types: [html]}", "compress.types[0]", "no type");
        refused("- compress: {types: [\"*/*+a\"]}", "compress.types[0]", "no type");
        assert!(crate::tests::read("- compress: {codings: [deflate]}").is_err());
    }

    #[test]
    fn the_summary_is_one_line() {
        assert_eq!(build("- compress").unwrap().summary(), "zstd, brotli, gzip from 1KiB");
    }
}
