//! The head as the upstream sees it, and the one the client gets back.

use crate::harness::{Driver, Gateway, Origin, Request, scenes};

scenes![
    end_to_end_fields_pass,
    hop_by_hop_fields_stay,
    connection_cannot_name_what_matters,
    hop_by_hop_fields_of_answers_stay,
    an_unknown_client_speaks_for_itself_only,
    a_trusted_proxy_is_believed,
    the_client_is_the_rightmost_untrusted,
    a_request_id_is_made_or_kept,
    a_request_id_is_kept_where_none_is_made,
    an_ipv6_client_is_written_as_each_field_wants,
    an_answer_without_a_date_is_given_one,
    via_says_who_passed_it_on,
    the_server_field_is_ours_only_if_configured,
    host_can_be_kept_replaced_or_named,
    the_absolute_form_names_the_host,
    large_heads_pass,
    forwarding_fields_have_no_aliases,
];

fn end_to_end_fields_pass(driver: Driver) {
    let origin = Origin::answering(
        "HTTP/1.1 203 Kind Of\r\nContent-Length: 0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
         X-Odd:   spaces inside  stay  \r\nETag: \"x\"\r\n\
         Date: Mon, 23 Nov 2026 18:00:00 GMT\r\n\r\n",
    );
    let gateway = Gateway::forward(driver, &origin);
    let fields = [
        "Authorization: Bearer abc",
        "Cookie: a=b; c=d",
        "X-Twice: 1",
        "X-Twice: 2",
        "X-Empty:",
        "User-Agent: test/1",
        "Accept: */*",
        "x-lower: \u{e9}",
    ];
    let answer = gateway.client().get_with("/", &fields).expect(203);
    assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.field("x-odd"), Some("spaces inside  stay"));
    assert_eq!(answer.field("etag"), Some("\"x\""));
    assert_eq!(answer.head.all("date"), ["Mon, 23 Nov 2026 18:00:00 GMT"]);
    let request = origin.request();
    assert_eq!(request.field("host"), Some("gateway.test"));
    assert_eq!(request.field("authorization"), Some("Bearer abc"));
    assert_eq!(request.field("cookie"), Some("a=b; c=d"));
    assert_eq!(request.head.all("x-twice"), ["1", "2"]);
    assert_eq!(request.field("x-empty"), Some(""));
    assert_eq!(request.field("user-agent"), Some("test/1"));
    assert_eq!(request.field("x-lower"), Some("\u{e9}"));
}

/// HTTP_SAFETY rules 12 and 14.
fn hop_by_hop_fields_stay(driver: Driver) {
    let origin = Origin::saying("");
    let gateway = Gateway::forward(driver, &origin);
    let fields = [
        "Connection: X-Hop, keep-alive",
        "connection: x-other-hop",
        "X-Hop: 1",
        "X-OTHER-HOP: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic abc",
        "Proxy-Authenticate: Basic",
        "TE: gzip",
        "Trailer: X-Sum",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
    ];
    gateway.client().get_with("/", &fields).expect(200);
    let request = origin.request();
    for name in [
        "x-hop",
        "x-other-hop",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "proxy-authenticate",
        "te",
        "trailer",
        "upgrade",
        "http2-settings",
        "transfer-encoding",
    ] {
        assert_eq!(request.head.all(name), [""; 0], "{name} reached the origin");
    }
    let connection = request.head.all("connection");
    assert!(connection.iter().all(|value| value.eq_ignore_ascii_case("keep-alive")));
}

/// HTTP_SAFETY rule 14: listing an end-to-end field does not take it away.
fn connection_cannot_name_what_matters(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    let listed = "Host, Authorization, Content-Length, Cookie, X-Forwarded-For, X-Real-IP, \
                  X-Forwarded-Proto, X-Forwarded-Host, Forwarded, X-Request-ID, Via";
    client.request(
        "POST",
        "/",
        &[&format!("Connection: {listed}"), "Authorization: me", "Content-Length: 5"],
    );
    assert_eq!(client.send("hello").answer().expect(200).json()["body"], "hello");
    let request = origin.request();
    assert_eq!(request.field("host"), Some("gateway.test"));
    assert_eq!(request.field("authorization"), Some("me"));
    assert_eq!(request.field("content-length"), Some("5"));
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-real-ip"), Some("127.0.0.1"));
    assert!(request.field("x-request-id").is_some());
}

fn hop_by_hop_fields_of_answers_stay(driver: Driver) {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Inner, keep-alive\r\nX-Inner: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\
         X-Outer: 1\r\n\r\nhi",
    );
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.get("/").expect(200);
        for name in ["x-inner", "keep-alive", "proxy-authenticate", "upgrade"] {
            assert_eq!(answer.field(name), None, "{name}");
        }
        assert_eq!(answer.field("x-outer"), Some("1"));
    }
    assert_eq!(origin.connections(), 1);
}

/// What `X-Forwarded-…` and their kin say at the origin.
#[derive(Debug, PartialEq)]
struct Trace {
    forwarded_for: String,
    real_ip: String,
    proto: String,
    host: String,
    forwarded: String,
}

fn trace(request: &Request) -> Trace {
    let joined = |name: &str| request.head.all(name).join(", ");
    Trace {
        forwarded_for: joined("x-forwarded-for"),
        real_ip: joined("x-real-ip"),
        proto: joined("x-forwarded-proto"),
        host: joined("x-forwarded-host"),
        forwarded: joined("forwarded"),
    }
}

const CLAIMS: [&str; 5] = [
    "X-Forwarded-For: 6.6.6.6",
    "X-Real-IP: 6.6.6.6",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: shop.test",
    "Forwarded: for=6.6.6.6;proto=https",
];

/// What nobody but a trusted proxy may say, and the gateway has nothing to say of.
const MORE_CLAIMS: [&str; 5] = [
    "X-Forwarded-Port: 443",
    "X-Forwarded-Prefix: /shop",
    "X-Forwarded-User: root",
    "X_Forwarded_Port: 443",
    "X.Real-IP: 6.6.6.6",
];

/// HTTP_SAFETY rule 16.
fn an_unknown_client_speaks_for_itself_only(driver: Driver) {
    let origin = Origin::saying("");
    let gateway = Gateway::forward(driver, &origin);
    gateway.client().get_with("/", &[&CLAIMS[..], &MORE_CLAIMS].concat()).expect(200);
    gateway.get("/").expect(200);
    for request in origin.requests() {
        let trace = trace(&request);
        assert_eq!(trace.forwarded_for, "127.0.0.1");
        assert_eq!(trace.real_ip, "127.0.0.1");
        assert_eq!(trace.proto, "http");
        assert_eq!(trace.host, "gateway.test");
        assert!(!trace.forwarded.contains("6.6.6.6"), "{trace:?}");
        assert!(trace.forwarded.contains("for=127.0.0.1"), "{trace:?}");
        assert!(trace.forwarded.contains("proto=http"), "{trace:?}");
        for claim in MORE_CLAIMS {
            let (name, _) = claim.split_once(':').unwrap();
            assert_eq!(request.field(name), None);
        }
    }
}

fn a_trusted_proxy_is_believed(driver: Driver) {
    let origin = Origin::saying("");
    let trusted = "
        server:
          trusted_proxies: [127.0.0.0/8]
    ";
    let gateway = Gateway::forward_with(driver, &origin, trusted);
    gateway.client().get_with("/", &[&CLAIMS[..], &MORE_CLAIMS].concat()).expect(200);
    let request = origin.request();
    // Spelled in another way than proxies do, it comes from none of them.
    let said = MORE_CLAIMS.map(|claim| request.field(claim.split_once(':').unwrap().0));
    assert_eq!(said, [Some("443"), Some("/shop"), Some("root"), None, None]);
    let trace = trace(&request);
    assert_eq!(trace.forwarded_for, "6.6.6.6, 127.0.0.1");
    assert_eq!(trace.real_ip, "6.6.6.6");
    assert_eq!(trace.proto, "https");
    assert_eq!(trace.host, "shop.test");
    assert!(trace.forwarded.contains("for=6.6.6.6"), "{trace:?}");
}

fn the_client_is_the_rightmost_untrusted(driver: Driver) {
    let origin = Origin::saying("");
    let trusted = "
        server:
          trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]
    ";
    let gateway = Gateway::forward_with(driver, &origin, trusted);
    // The first address is what an attacker wrote; the proxy at 10.0.0.1 appended 6.6.6.6.
    let chain = "X-Forwarded-For: 127.0.0.1, 1.2.3.4, 6.6.6.6, 10.0.0.1";
    gateway.client().get_with("/", &[chain]).expect(200);
    assert_eq!(trace(&origin.request()).real_ip, "6.6.6.6");
}

fn a_request_id_is_made_or_kept(driver: Driver) {
    let origin = Origin::saying("");
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.get_with("/", &["X-Request-ID: mine-42"]).expect(200);
    client.get("/").expect(200);
    client.get("/").expect(200);
    let ids: Vec<String> = origin
        .requests()
        .iter()
        .map(|request| request.field("x-request-id").unwrap_or_default().to_owned())
        .collect();
    assert_eq!(ids[0], "mine-42");
    assert!(ids[1].len() >= 16 && ids[2].len() >= 16 && ids[1] != ids[2], "{ids:?}");
}

fn a_request_id_is_kept_where_none_is_made(driver: Driver) {
    let origin = Origin::saying("");
    let gateway = Gateway::forward_with(driver, &origin, "server:\n  request_id: false");
    let mut client = gateway.client();
    client.get_with("/", &["X-Request-ID: mine-42"]).expect(200);
    client.get("/").expect(200);
    let requests = origin.requests();
    assert_eq!(requests[0].field("x-request-id"), Some("mine-42"));
    assert_eq!(requests[1].field("x-request-id"), None);
}

/// RFC 7239 §6: in Forwarded, an IPv6 address has brackets and quotes.
fn an_ipv6_client_is_written_as_each_field_wants(driver: Driver) {
    let origin = Origin::saying("");
    let listen = "server:\n  listen: [\"[::1]:0\"]";
    let gateway = Gateway::forward_with(driver, &origin, listen);
    gateway.get("/").expect(200);
    let trace = trace(&origin.request());
    assert_eq!((trace.forwarded_for.as_str(), trace.real_ip.as_str()), ("::1", "::1"));
    assert!(trace.forwarded.contains("for=\"[::1]\""), "{trace:?}");
}

/// RFC 9110 §6.6.1: a recipient with a clock adds the Date that an origin left out.
fn an_answer_without_a_date_is_given_one(driver: Driver) {
    let origin = Origin::saying("");
    let gateway = Gateway::forward(driver, &origin);
    let answer = gateway.get("/").expect(200);
    let date = answer.field("date").unwrap_or_default();
    assert!(
        date.ends_with(" GMT") && date.len() == "Mon, 23 Nov 2026 18:00:00 GMT".len(),
        "{date}"
    );
}

fn via_says_who_passed_it_on(driver: Driver) {
    let origin = Origin::saying("");
    let gateway = Gateway::forward(driver, &origin);
    gateway.client().get_with("/", &["Via: 1.0 fred"]).expect(200);
    assert_eq!(origin.request().head.all("via").join(", "), "1.0 fred, 1.1 ringway");

    let origin = Origin::saying("");
    let gateway = Gateway::forward_with(driver, &origin, "server:\n  via: \"\"");
    gateway.get("/").expect(200);
    assert_eq!(origin.request().field("via"), None);
}

fn the_server_field_is_ours_only_if_configured(driver: Driver) {
    let bare = Origin::saying("");
    let gateway = Gateway::forward(driver, &bare);
    assert_eq!(gateway.get("/").expect(200).field("server"), None);

    let named =
        Origin::answering("HTTP/1.1 200 OK\r\nServer: origin/1\r\nContent-Length: 0\r\n\r\n");
    let gateway = Gateway::forward_with(driver, &named, "server:\n  server_header: ours");
    assert_eq!(gateway.get("/").expect(200).field("server"), Some("ours"));
}

fn host_can_be_kept_replaced_or_named(driver: Driver) {
    for (setting, host) in
        [("keep", None), ("upstream", Some("")), ("inner.test", Some("inner.test"))]
    {
        let origin = Origin::saying("");
        let settings = format!("rewrite:\n  host: {setting}");
        Gateway::forward_route(driver, &origin, &settings).get("/").expect(200);
        let request = origin.request();
        let address = origin.address.to_string();
        let wanted = match host {
            None => "gateway.test",
            Some("") => address.as_str(),
            Some(name) => name,
        };
        assert_eq!(request.field("host"), Some(wanted), "host: {setting}");
        assert_eq!(request.field("x-forwarded-host"), Some("gateway.test"), "host: {setting}");
    }
}

/// RFC 9112 §3.2.2: the Host of a request in absolute form is replaced by that of its target.
fn the_absolute_form_names_the_host(driver: Driver) {
    let origin = Origin::saying("");
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    client.send("GET http://real.test:8080/x HTTP/1.1\r\nHost: other.test\r\n\r\n");
    client.answer().expect(200);
    let request = origin.request();
    assert_eq!((request.target.as_str(), request.field("host")), ("/x", Some("real.test:8080")));
}

fn large_heads_pass(driver: Driver) {
    let long = "v".repeat(15_000);
    let origin = Origin::answering(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Long: {long}\r\nX-Longer: {long}\r\n\r\nhi"
    ));
    let gateway = Gateway::forward(driver, &origin);
    let mut client = gateway.client();
    let fields: Vec<String> = (0..4).map(|place| format!("X-Long-{place}: {long}")).collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let many: Vec<String> = (0..90).map(|place| format!("X-Many-{place}: {place}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for fields in [fields, many] {
        let answer = client.get_with("/", &fields).expect(200);
        assert_eq!((answer.field("x-longer"), answer.text().as_str()), (Some(&*long), "hi"));
    }
    let requests = origin.requests();
    assert_eq!(requests[0].field("x-long-3"), Some(&*long));
    assert_eq!(requests[1].field("x-many-89"), Some("89"));
}

/// HTTP_SAFETY rules 16 and 17: programs that read `_` and `.` as `-` would take these for ours.
fn forwarding_fields_have_no_aliases(driver: Driver) {
    let trusting = "server:\n  trusted_proxies: [127.0.0.1]";
    for sections in ["", trusting] {
        let origin = Origin::saying("hi");
        let gateway = Gateway::forward_with(driver, &origin, sections);
        let aliases = ["X_Forwarded_For", "x-forwarded_proto", "X.Forwarded.Host", "X-Real_IP"];
        let forged = aliases.map(|name| format!("{name}: 6.6.6.6"));
        let fields: Vec<&str> = forged.iter().map(String::as_str).collect();
        gateway.client().get_with("/", &fields).expect(200);
        let request = origin.request();
        assert!(aliases.iter().all(|name| request.field(name).is_none()), "{:?}", request.head);
    }
}
