//! Tells browsers to be strict with what the routes answer.
//!
//! # Settings
//!
//! ```yaml
//! - security_headers
//! ```
//!
//! Each header has a setting of its name, and an empty value leaves it out:
//!
//! ```yaml
//! - security_headers:
//!     strict_transport_security: "max-age=63072000; includeSubDomains"
//!     x_frame_options: ""                        # pages may stand in frames
//!     content_security_policy: "default-src 'self'"
//!     cross_origin_opener_policy: same-origin
//!     hide_server: true                          # no Server, no X-Powered-By
//!     override: true                             # whatever the upstream says
//! ```
//!
//! What the upstream says goes before, unless `override` is set. Without settings are sent
//! `X-Content-Type-Options: nosniff`, `X-Frame-Options: SAMEORIGIN`,
//! `Referrer-Policy: strict-origin-when-cross-origin` and, to clients that came over https,
//! `Strict-Transport-Security: max-age=31536000`. The policies that can break a page
//! (`content_security_policy`, `permissions_policy`, `cross_origin_*`) are for whoever knows it.
//!
//! `Strict-Transport-Security` means nothing in plain http and must not be sent there (RFC 6797
//! §7.2). It is sent when a proxy in `server.trusted_proxies` says `X-Forwarded-Proto: https`.
//!
//! # Answers
//!
//! None of its own. Answers of the gateway itself are given the headers too.
//!
//! # State
//!
//! None.

use std::rc::Rc;

use ringway_engine::exchange::Exchange;
use ringway_engine::filter::{Blueprint, Core, Filter, SettingsError};
use ringway_engine::http1::write::is_safe_value;
use ringway_engine::shared::Shared;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{plan, remove, set, wrong};

/// What browsers are told. An empty value leaves its header out.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `Strict-Transport-Security`: come back over https only (RFC 6797). Sent to clients that
    /// came over https.
    pub strict_transport_security: String,
    /// `X-Content-Type-Options`: take the type that is written, do not guess.
    pub x_content_type_options: String,
    /// `X-Frame-Options`: who may show the page in a frame.
    pub x_frame_options: String,
    /// `Referrer-Policy`: what other sites are told of where a visitor comes from.
    pub referrer_policy: String,
    /// `Content-Security-Policy`: where a page may load things from.
    pub content_security_policy: String,
    /// `Permissions-Policy`: which features of the browser a page may use.
    pub permissions_policy: String,
    /// `Cross-Origin-Opener-Policy`: who keeps a hold on a window that it opens.
    pub cross_origin_opener_policy: String,
    /// `Cross-Origin-Embedder-Policy`: what a page may embed.
    pub cross_origin_embedder_policy: String,
    /// `Cross-Origin-Resource-Policy`: who may embed what is answered.
    pub cross_origin_resource_policy: String,
    /// Whether these headers replace what the upstream says under the same names.
    #[serde(rename = "override")]
    pub replace: bool,
    /// Whether `Server` and `X-Powered-By` are left out, the gateway's own `Server` included.
    pub hide_server: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            strict_transport_security: "max-age=31536000".to_owned(),
            x_content_type_options: "nosniff".to_owned(),
            x_frame_options: "SAMEORIGIN".to_owned(),
            referrer_policy: "strict-origin-when-cross-origin".to_owned(),
            content_security_policy: String::new(),
            permissions_policy: String::new(),
            cross_origin_opener_policy: String::new(),
            cross_origin_embedder_policy: String::new(),
            cross_origin_resource_policy: String::new(),
            replace: false,
            hide_server: false,
        }
    }
}

const TRANSPORT: &str = "Strict-Transport-Security";

impl Settings {
    /// Refuses what cannot stand in a header.
    pub(crate) fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError> {
        let all = [
            ("strict_transport_security", TRANSPORT, &self.strict_transport_security),
            ("x_content_type_options", "X-Content-Type-Options", &self.x_content_type_options),
            ("x_frame_options", "X-Frame-Options", &self.x_frame_options),
            ("referrer_policy", "Referrer-Policy", &self.referrer_policy),
            ("content_security_policy", "Content-Security-Policy", &self.content_security_policy),
            ("permissions_policy", "Permissions-Policy", &self.permissions_policy),
            (
                "cross_origin_opener_policy",
                "Cross-Origin-Opener-Policy",
                &self.cross_origin_opener_policy,
            ),
            (
                "cross_origin_embedder_policy",
                "Cross-Origin-Embedder-Policy",
                &self.cross_origin_embedder_policy,
            ),
            (
                "cross_origin_resource_policy",
                "Cross-Origin-Resource-Policy",
                &self.cross_origin_resource_policy,
            ),
        ];
        for (field, _, value) in all {
            if !is_safe_value(value.as_bytes()) || value.trim() != *value {
                let message = "the value cannot stand in a header as it is";
                let help = "write it in one line, without white space around it";
                return Err(wrong(field, message, help));
            }
        }
        let seconds = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            name.trim().eq_ignore_ascii_case("max-age") && value.trim().parse::<u64>().is_ok()
        };
        let transport = &self.strict_transport_security;
        if !transport.is_empty() && !transport.split(';').any(seconds) {
            let message = format!("`{transport}` has no `max-age` (RFC 6797 §6.1.1)");
            let help = "write one, such as `max-age=31536000`, or `\"\"` to leave the header out";
            return Err(wrong("strict_transport_security", message, help));
        }
        let sent = all.into_iter().filter(|(.., value)| !value.is_empty());
        let sent: Vec<_> = sent.map(|(_, name, value)| (name, value.clone())).collect();
        if sent.is_empty() && !self.hide_server {
            let message = "every header is left out";
            return Err(wrong("", message, "leave one in, or take the filter out"));
        }
        Ok(plan(Plan(Security { sent, replace: self.replace, hide_server: self.hide_server })))
    }
}

/// The settings once they are checked; every core's instance is a copy.
struct Plan(Security);

/// One core's instance.
#[derive(Clone)]
struct Security {
    sent: Vec<(&'static str, String)>,
    replace: bool,
    hide_server: bool,
}

impl Blueprint for Plan {
    fn name(&self) -> &'static str {
        "security_headers"
    }

    fn summary(&self) -> String {
        let mut names: Vec<_> = self.0.sent.iter().map(|(name, _)| *name).collect();
        if self.0.hide_server {
            names.push("no Server");
        }
        names.join(", ")
    }

    fn instance(&self, _: &Rc<dyn Core>) -> Rc<dyn Filter> {
        Rc::new(self.0.clone())
    }
}

impl Filter for Security {
    fn on_response(&self, exchange: &mut Exchange) {
        let https = exchange.is_https();
        let response = &mut exchange.response;
        for (name, value) in &self.sent {
            let wanted = *name != TRANSPORT || https;
            if wanted && (self.replace || response.header(name).is_none()) {
                set(&mut response.edits, name, value.as_bytes());
            }
        }
        if self.hide_server {
            remove(&mut response.edits, "Server");
            remove(&mut response.edits, "X-Powered-By");
        }
    }
}

#[cfg(test)]
mod tests {
    use ringway_engine::clock;

    use super::*;
    use crate::tests::{build, core, refused};

    /// What an answer says after it has passed the filter.
    fn answered(filter: &str, trusted: bool, upstream: &[(&str, &str)]) -> Exchange {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n";
        let mut exchange = Exchange::with_request(head, clock::now()).unwrap();
        exchange.client.through_trusted_proxy = trusted;
        for (name, value) in upstream {
            exchange.response.edits.add(name, value.as_bytes()).unwrap();
        }
        build(filter).unwrap().instance(&core()).on_response(&mut exchange);
        exchange
    }

    fn header<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a str> {
        exchange.response.header(name).map(|value| std::str::from_utf8(value).unwrap())
    }

    #[test]
    fn a_bare_word_sends_what_breaks_no_page() {
        let exchange = answered("- security_headers", true, &[("Server", "inner")]);
        assert_eq!(header(&exchange, "x-content-type-options"), Some("nosniff"));
        assert_eq!(header(&exchange, "x-frame-options"), Some("SAMEORIGIN"));
        let referrer = header(&exchange, "referrer-policy");
        assert_eq!(referrer, Some("strict-origin-when-cross-origin"));
        assert_eq!(header(&exchange, "strict-transport-security"), Some("max-age=31536000"));
        assert_eq!(header(&exchange, "content-security-policy"), None);
        assert_eq!(header(&exchange, "server"), Some("inner"));
    }

    #[test]
    fn plain_http_is_not_told_to_come_over_https() {
        let exchange = answered("- security_headers", false, &[]);
        assert_eq!(header(&exchange, "strict-transport-security"), None);
        assert_eq!(header(&exchange, "x-content-type-options"), Some("nosniff"));
    }

    #[test]
    fn the_upstream_goes_before_unless_it_is_overridden() {
        let upstream = [("X-Frame-Options", "DENY")];
        let exchange = answered("- security_headers", false, &upstream);
        assert_eq!(header(&exchange, "x-frame-options"), Some("DENY"));
        let exchange = answered("- security_headers: {override: true}", false, &upstream);
        assert_eq!(exchange.response.values("x-frame-options").count(), 1);
        assert_eq!(header(&exchange, "x-frame-options"), Some("SAMEORIGIN"));
    }

    #[test]
    fn each_can_be_changed_or_left_out() {
        let filter = "- security_headers: {x_frame_options: \"\", hide_server: true, \
                      content_security_policy: \"default-src 'self'\"}";
        let upstream = [("Server", "inner"), ("X-Powered-By", "b")];
        let exchange = answered(filter, false, &upstream);
        assert_eq!(header(&exchange, "x-frame-options"), None);
        assert_eq!(header(&exchange, "content-security-policy"), Some("default-src 'self'"));
        assert_eq!(header(&exchange, "server"), None);
        assert_eq!(header(&exchange, "x-powered-by"), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let with = |settings: &str| format!("- security_headers: {{{settings}}}");
        refused(
            &with("strict_transport_security: includeSubDomains"),
            "security_headers.strict_transport_security",
            "max-age",
        );
        refused(
            &with("referrer_policy: \"a\\nb\""),
            "security_headers.referrer_policy",
            "in one line",
        );
        let none = "strict_transport_security: \"\", x_content_type_options: \"\", \
                    x_frame_options: \"\", referrer_policy: \"\"";
        refused(&with(none), "security_headers", "left out");
        assert!(build(&with(&format!("{none}, hide_server: true"))).is_ok());
    }

    #[test]
    fn the_summary_names_what_is_sent() {
        let summary = build("- security_headers: {hide_server: true}").unwrap().summary();
        assert!(summary.ends_with("Referrer-Policy, no Server"), "{summary}");
    }
}
