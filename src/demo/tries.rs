//! The commands that the demo invites to try, each with a part of what it must show: a test runs
//! them all.

use std::net::SocketAddr;

/// One command for a shell.
#[derive(Debug)]
pub(super) struct Try {
    /// What it shows, in a few words.
    pub(super) what: &'static str,
    /// The command, complete.
    pub(super) command: String,
    /// A part of what it prints. Only the test reads it.
    #[cfg_attr(not(test), expect(dead_code, reason = "what the test compares with"))]
    pub(super) shows: &'static str,
}

/// All of them, for a gateway at this address.
pub(super) fn all(gateway: SocketAddr) -> Vec<Try> {
    let try_ = |what, command: &str, shows| {
        let command = command.replace("GATEWAY", &format!("http://{gateway}"));
        Try { what, command, shows }
    };
    vec![
        try_("the gateway answers by itself", "curl GATEWAY/ping", r#"{"msg":"gateway alive"}"#),
        try_("a list from the user service", "curl GATEWAY/api/v1/users", r#""name":"Grace""#),
        try_(
            "a new order",
            r#"curl -i GATEWAY/api/v1/orders --json '{"user": 2, "item": "compiler"}'"#,
            "201 Created",
        ),
        try_(
            "what the service sees of a request: /users is stripped, fields come and go",
            "curl 'GATEWAY/users/echo?a=1' -H 'X-Secret: x' -d 'some body'",
            r#""x-demo":"from the gateway""#,
        ),
        try_(
            "the path names the service",
            "curl GATEWAY/services/orders/health",
            r#""service":"order-service""#,
        ),
        try_(
            "an error of the service passes through",
            "curl -i 'GATEWAY/orders/fail?status=503'",
            "503 Service Unavailable",
        ),
        try_("an error of the gateway itself", "curl GATEWAY/nothing", r#""code":404"#),
        try_("a slow answer", "curl 'GATEWAY/orders/slow?ms=500'", r#""waited_ms":500"#),
        try_(
            "events as they happen",
            "curl -N 'GATEWAY/users/events?count=3&every_ms=300'",
            "event: tick",
        ),
    ]
}
