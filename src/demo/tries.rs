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
    /// It keeps something in the shell that later commands need.
    #[cfg_attr(not(test), expect(dead_code, reason = "what the test goes by"))]
    pub(super) keeps: bool,
}

/// All of them, for a gateway at this address: free, refused, let in, limited, broken.
pub(super) fn all(gateway: SocketAddr) -> Vec<Try> {
    let try_ = |what, command: &str, shows| {
        let command = command.replace("GATEWAY", &format!("http://{gateway}"));
        Try { what, command, shows, keeps: false }
    };
    vec![
        try_("the gateway answers by itself", "curl GATEWAY/ping", r#"{"msg":"gateway alive"}"#),
        try_(
            "401: the services want to know who asks",
            "curl -i GATEWAY/user-service/users",
            "401 U",
        ),
        Try {
            keeps: true,
            ..try_(
                "so log in, and keep the token",
                "TOKEN=$(curl -s GATEWAY/login \\\n  \
                 --json '{\"user\": \"ada\", \"password\": \"demo\"}' \\\n  \
                 | sed 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/'); echo \"$TOKEN\"",
                "eyJ",
            )
        },
        try_(
            "200: now the user service answers",
            r#"curl GATEWAY/user-service/users -H "Authorization: Bearer $TOKEN""#,
            r#""name":"Grace""#,
        ),
        try_(
            "what the service sees: the prefix is stripped, X-User-ID is who the token says",
            "curl 'GATEWAY/user-service/echo?a=1' -d 'some body' \\\n  \
             -H \"Authorization: Bearer $TOKEN\" -H 'X-User-ID: somebody-else'",
            r#""x-user-id":"ada""#,
        ),
        try_(
            "a new order",
            "curl -i GATEWAY/order-service/orders \\\n  \
             --json '{\"user\": 2, \"item\": \"compiler\"}' \\\n  \
             -H \"Authorization: Bearer $TOKEN\"",
            "201 Created",
        ),
        try_(
            "events as they happen",
            "curl -N 'GATEWAY/order-service/events?count=3&every_ms=300' \\\n  \
             -H \"Authorization: Bearer $TOKEN\"",
            "event: tick",
        ),
        try_(
            "429: ten at once, and then one a second for each user",
            "for n in $(seq 15); do curl -s -o /dev/null -w '%{http_code} ' \\\n  \
             GATEWAY/user-service/users -H \"Authorization: Bearer $TOKEN\"; done; echo",
            "429",
        ),
        try_(
            "five failures open the circuit breaker: the sixth answer is the gateway's own",
            "for n in $(seq 6); do curl -s -w '\\n' 'GATEWAY/order-service/fail?status=503' \\\n  \
             -H \"Authorization: Bearer $TOKEN\"; done",
            "the upstream is failing and is not asked",
        ),
        try_(
            "503: while it is open the service is left alone; after five seconds it is tried again",
            "curl -i GATEWAY/order-service/orders -H \"Authorization: Bearer $TOKEN\"",
            "Retry-After: ",
        ),
        try_("an error of the gateway itself", "curl GATEWAY/nothing", r#""code":404"#),
    ]
}
