//! `admin:`: where Ringway tells about itself and is told what to do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::findings::Findings;
use crate::secret::Secret;
use crate::server::Server;

/// The fewest bytes of a token: 16 letters and digits are beyond guessing over a network.
const MIN_TOKEN: usize = 16;

/// The most bytes of a token, so that it fits any head.
const MAX_TOKEN: usize = 512;

/// The admin listener, which is there only where the file has the section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admin {
    /// The address to listen on; port 0 is any free one. Default `127.0.0.1:9901`.
    pub listen: SocketAddr,
    /// What a client has to show; nothing only where [`Admin::listen`] is a loopback address.
    pub token: Option<Secret>,
}

impl Admin {
    /// Where the admin API is when nobody says.
    pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);
}

/// The admin API: what runs, what is configured, metrics, reload, and a page for a browser. There
/// is none unless the section is written; `admin: {}` is one at its default address.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Admin")]
pub(crate) struct AdminWritten {
    /// The address to listen on; port 0 is any free one. Addresses that other machines can reach
    /// need a `token`. A reload does not move it.
    listen: String,
    /// What a client has to show as `Authorization: Bearer …`: 16 to 512 letters, digits and
    /// `-._~+/`, best from the environment. Without it, only a loopback address is listened on, and
    /// whoever can log in on this machine may ask.
    token: Option<Secret>,
}

impl Default for AdminWritten {
    fn default() -> AdminWritten {
        AdminWritten { listen: Admin::LISTEN.to_string(), token: None }
    }
}

impl AdminWritten {
    /// What is needed of it.
    pub(crate) fn lower(self, findings: &mut Findings<'_>) -> Option<Admin> {
        let token = self.token;
        if let Some(token) = &token {
            check_token(token.expose(), findings);
        }
        let Ok(listen) = self.listen.parse::<SocketAddr>() else {
            findings.error(
                "admin.listen",
                format!("`{}` is not an address to listen on", self.listen),
                "write an IP address and a port, such as `127.0.0.1:9901` or `[::1]:9901`",
            );
            return None;
        };
        if token.is_none() && !listen.ip().to_canonical().is_loopback() {
            findings.error(
                "admin.listen",
                format!("other machines can reach `{listen}`, and there is no `token`"),
                format!(
                    "add `token: \"${{ADMIN_TOKEN}}\"`, or listen on `127.0.0.1:{}`",
                    listen.port()
                ),
            );
        }
        Some(Admin { listen, token })
    }
}

/// A token has the form that a `Bearer` can have (RFC 6750 §2.1), and is long enough.
fn check_token(token: &str, findings: &mut Findings<'_>) {
    let body = token.trim_end_matches('=');
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if !(MIN_TOKEN..=MAX_TOKEN).contains(&token.len()) {
        findings.error(
            "admin.token",
            format!("a token of {} bytes", token.len()),
            format!(
                "use {MIN_TOKEN} to {MAX_TOKEN} bytes, such as those of `openssl rand -hex 32`, \
                 and leave `token` out for none"
            ),
        );
    } else if body.is_empty() || !body.bytes().all(letter) {
        findings.error(
            "admin.token",
            "a token with characters that `Authorization: Bearer` cannot carry",
            "use letters, digits and `-._~+/`, such as those of `openssl rand -hex 32`",
        );
    }
}

/// The admin listener has a port of its own.
pub(crate) fn check(admin: &Admin, server: &Server, findings: &mut Findings<'_>) {
    let same = |other: &&SocketAddr| {
        let (a, b) = (admin.listen.ip(), other.ip());
        let any = a.is_unspecified() || b.is_unspecified();
        other.port() == admin.listen.port() && (a == b || any && a.is_ipv4() == b.is_ipv4())
    };
    let taken = server.listen.iter().filter(|other| other.port() != 0).find(same);
    if let Some(other) = taken {
        findings.error(
            "admin.listen",
            format!("`{}` is taken by `{other}` of `server.listen`", admin.listen),
            "choose another port: requests and administration do not mix",
        );
    }
}
