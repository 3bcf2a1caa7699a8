//! The work that gateways are compared at, row by row.

use super::load::Pattern;
use super::peers::{Duty, ROUTES};

/// One row of the comparison.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Its name on the command line and in reports.
    pub(super) name: String,
    /// What it shows, in a few words.
    pub(super) what: String,
    pub(super) duty: Duty,
    pub(super) work: Work,
    /// What each connection asks, with `{route}` for one of the gateway's routes.
    pub(super) ask: Ask,
    /// Cores for the gateway; its workers are as many.
    pub(super) workers: usize,
    /// Another program has half of these cores, so that the load's suffices to keep the gateway
    /// busy.
    pub(super) neighbour: bool,
}

/// How the load goes about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Work {
    /// A load for the time of a round.
    Load(Pattern, usize),
    /// So many idle connections, and then a request on each at once.
    Idle(usize),
    /// A load during which the gateway is told to read its configuration once a second.
    Reload(usize),
}

impl Work {
    /// True where a faster gateway means more requests, so that it ought to use its cores up.
    pub(super) fn is_closed_loop(self) -> bool {
        !matches!(self, Work::Load(Pattern::Rate(_), _) | Work::Idle(_))
    }
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// A small GET.
    Get,
    /// The same, the last one on its connection.
    LastGet,
    /// A GET through one of the gateway's routes, with a token.
    Service,
    /// A GET that is answered with so many bytes, in chunks or not.
    Download(usize, bool),
    /// A POST of so many bytes, in chunks or not.
    Upload(usize, bool),
    /// An upgrade to WebSocket.
    WebSocket,
}

impl Ask {
    /// Bytes of the body that answers it; an upgrade has none.
    pub(super) fn answer(self) -> u64 {
        match self {
            Ask::Download(len, _) => len as u64,
            Ask::Get | Ask::LastGet | Ask::Service | Ask::Upload(..) => 100,
            Ask::WebSocket => 0,
        }
    }

    /// The request in bytes, with this token where one is wanted.
    pub(super) fn bytes(self, token: &str) -> Vec<u8> {
        const FIELDS: &str = "Host: bench.example\r\nUser-Agent: ringway-bench\r\nAccept: */*\r\n";
        let get = |path: &str, more: &str| {
            format!("GET {path} HTTP/1.1\r\n{FIELDS}{more}\r\n").into_bytes()
        };
        match self {
            Ask::Get => get("/b/100", ""),
            Ask::LastGet => get("/b/100", "Connection: close\r\n"),
            Ask::Service => {
                // A route in the middle: neither the first nor the last that is looked at.
                let path = format!("/service-{}/b/100", ROUTES / 2);
                get(&path, &format!("Authorization: Bearer {token}\r\n"))
            }
            Ask::Download(len, false) => get(&format!("/b/{len}"), ""),
            Ask::Download(len, true) => get(&format!("/c/{len}"), ""),
            Ask::Upload(len, false) => {
                let head = format!("POST /b/100 HTTP/1.1\r\n{FIELDS}Content-Length: {len}\r\n\r\n");
                [head.as_bytes(), &vec![b'x'; len]].concat()
            }
            Ask::Upload(len, true) => {
                let head =
                    format!("POST /b/100 HTTP/1.1\r\n{FIELDS}Transfer-Encoding: chunked\r\n\r\n");
                [head.as_bytes(), &super::wire::chunked(len)].concat()
            }
            Ask::WebSocket => get(
                "/ws",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            ),
        }
    }
}

/// Idle connections of the idle row, where descriptors allow.
pub(super) const IDLE: usize = 10_000;

/// All rows, in the order of the report, with so many connections in the idle row.
pub(super) fn all(idle: usize) -> Vec<Row> {
    let row = |name: &str, what: &str, work, ask| Row {
        name: name.to_owned(),
        what: what.to_owned(),
        duty: Duty::Proxy,
        work,
        ask,
        workers: 1,
        neighbour: false,
    };
    let keep = |connections| Work::Load(Pattern::KeepAlive, connections);
    let mut rows = Vec::new();
    for connections in [1, 16, 64, 256, 1024] {
        let what = format!("small GET, keep-alive, {connections} connections");
        rows.push(row(&format!("get-{connections}"), &what, keep(connections), Ask::Get));
    }
    rows.push(Row {
        duty: Duty::Gateway,
        ..row(
            "gateway-64",
            "1,000 routes, JWT, rate limit, headers, log, metrics",
            keep(64),
            Ask::Service,
        )
    });
    for (name, len) in [("16k", 16 << 10), ("256k", 256 << 10), ("10m", 10 << 20)] {
        for (kind, chunked) in [("fixed", false), ("chunked", true)] {
            let connections = if len > 1 << 20 { 8 } else { 64 };
            let what = format!("answers of {name}iB, {kind}");
            let ask = Ask::Download(len, chunked);
            rows.push(row(&format!("down-{name}-{kind}"), &what, keep(connections), ask));
        }
    }
    for (kind, chunked) in [("fixed", false), ("chunked", true)] {
        let what = format!("uploads of 1 MiB, {kind}");
        rows.push(row(&format!("up-1m-{kind}"), &what, keep(16), Ask::Upload(1 << 20, chunked)));
    }
    let fresh = Work::Load(Pattern::Fresh, 64);
    rows.push(row("connect-64", "a new connection for each request", fresh, Ask::LastGet));
    rows.push(Row {
        neighbour: true,
        ..row(
            "connect-64-half",
            "a new connection for each request, on half a core",
            fresh,
            Ask::LastGet,
        )
    });
    let rate = Work::Load(Pattern::Rate(20_000.0), 64);
    rows.push(row("rate-20k", "20,000 requests a second, open loop", rate, Ask::Get));
    let what = format!("{idle} idle connections, then a request on all at once");
    rows.push(row("idle-10k", &what, Work::Idle(idle), Ask::Get));
    let echo = Work::Load(Pattern::WebSocket, 64);
    rows.push(row("websocket-64", "WebSocket echo of 128 bytes", echo, Ask::WebSocket));
    rows.push(Row {
        workers: 2,
        ..row("even-64", "two workers: how evenly 64 connections load them", keep(64), Ask::Get)
    });
    let reload = Work::Reload(64);
    rows.push(row("reload-64", "a reload every second", reload, Ask::Get));
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_a_whole_request() {
        let rows = all(IDLE);
        let names: BTreeSet<_> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names.len(), rows.len());
        for row in rows {
            let request = row.ask.bytes("a.b.c");
            let head = super::super::wire::head(&request).expect("a whole head");
            let mut body = super::super::wire::Body::new(head.framing);
            assert_eq!(body.take(&request[head.len..]) + head.len, request.len(), "{}", row.name);
            assert!(body.is_done());
        }
    }
}
