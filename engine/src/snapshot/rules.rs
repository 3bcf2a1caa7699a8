//! The server section as the data path needs it.

use std::time::Duration;

use ringway_config as config;
use ringway_config::{Cidr, PathPolicy};

use crate::http1::HeadLimits;

/// The server section as the data path needs it.
#[derive(Debug)]
pub(crate) struct Rules {
    /// What the head of a request may measure.
    pub(crate) head: HeadLimits,
    /// What the head of an answer may measure. Who grants clients less than usual grants upstreams
    /// the usual: their answers have fields that no request has.
    pub(crate) answer_head: HeadLimits,
    pub(crate) path: PathPolicy,
    pub(crate) header_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) read_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) max_requests: u64,
    pub(crate) trusted_proxies: Vec<Cidr>,
    pub(crate) server_header: String,
    pub(crate) via: String,
    pub(crate) request_id: bool,
}

impl Rules {
    pub(super) fn new(server: &config::Server) -> Self {
        let head = head_limits(&server.limits);
        let usual = head_limits(&config::Limits::default());
        Rules {
            head,
            answer_head: HeadLimits {
                max_head: head.max_head.max(usual.max_head),
                max_line: head.max_line.max(usual.max_line),
                max_fields: head.max_fields.max(usual.max_fields),
            },
            path: server.path,
            header_timeout: server.header_timeout.0,
            idle_timeout: server.idle_timeout.0,
            read_timeout: server.read_timeout.0,
            write_timeout: server.write_timeout.0,
            max_requests: bound(server.max_requests_per_connection),
            trusted_proxies: server.trusted_proxies.clone(),
            server_header: server.server_header.clone(),
            via: server.via.clone(),
            request_id: server.request_id,
        }
    }
}

fn head_limits(limits: &config::Limits) -> HeadLimits {
    HeadLimits {
        max_head: usize::try_from(limits.max_head.0).unwrap_or(usize::MAX),
        max_line: usize::try_from(limits.max_line.0).unwrap_or(usize::MAX),
        max_fields: limits.max_headers as usize,
    }
}

/// A limit as the number to compare with.
pub(crate) fn bound(limit: config::Limit) -> u64 {
    match limit {
        config::Limit::Unlimited => u64::MAX,
        config::Limit::Of(n) => n,
    }
}
