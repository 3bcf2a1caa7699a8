use std::time::{Duration, UNIX_EPOCH};

use ringway_engine::error::{ClientError, Error};
use ringway_engine::exchange::{Exchange, Identity};

use super::*;
use crate::tests::{build, read, refused};

const HEAD: &str = "GET /a/b?x=1&token=hush HTTP/1.1\r\nHost: h.test\r\n\
                    User-Agent: the \"agent\"\r\n\
                    Referer: http://r.test/?password=hush&y=2\r\nX-Tenant: t\x1b1\r\n\
                    X-Tenant: t2\r\nX-Empty:\r\nX-Key: hush\r\n\
                    Authorization: Bearer hush\r\nX-Key: hush\r\n\r\n";

/// The line that a filter with these settings writes about an exchange.
fn line(filter: &str, status: u16, error: Option<&Error>) -> String {
    build(filter).unwrap();
    let Ok(crate::FilterSettings::Logging(settings)) = read(filter) else { panic!("{filter}") };
    let shape = Shape::build(&settings).unwrap();
    let head = HEAD.replace('\x1b', "\u{e9}");
    let mut exchange = Exchange::with_request(head.as_bytes(), clock::now()).unwrap();
    exchange.route_name = "users".to_owned();
    exchange.request_id = b"id-1".to_vec();
    exchange.response.sent = 42;
    exchange.client.address = [192, 0, 2, 1].into();
    exchange.client.peer = ([127, 0, 0, 1], 4000).into();
    exchange.identity =
        Some(Rc::new(Identity { consumer: "the team".to_owned(), ..Identity::default() }));
    let ended = exchange.started + Duration::from_micros(12_345);
    exchange.times.first_byte = Some(exchange.started + Duration::from_millis(10));
    exchange.attempts = 1;
    exchange.endpoint = Some(([127, 0, 0, 1], 8081).into());
    let record = Record { exchange: &exchange, status, error, ended };
    let began = UNIX_EPOCH + Duration::from_millis(1_795_471_037_007);
    let mut out = Vec::new();
    Line { record: &record, began, shape: &shape }.write(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with('\n') && text.matches('\n').count() == 1, "{text:?}");
    assert!(!text.contains("hush"), "{text}");
    text
}

#[test]
fn json_has_every_field_that_is_known() {
    let filter = "- logging: {headers: {request: [X-None, X-Tenant, Authorization, X-Key, \
                  X-Empty]}, redact: {headers: [x-key], query: [token, password]}}";
    let error = Error::from(ClientError::Stalled);
    let json: serde_json::Value = serde_json::from_str(&line(filter, 200, Some(&error))).unwrap();
    let expected = serde_json::json!({
        "time": "2026-11-23T21:57:17.007Z",
        "method": "GET",
        "host": "h.test",
        "path": "/a/b",
        "query": "x=1&token=***",
        "protocol": "HTTP/1.1",
        "route": "users",
        "status": 200,
        "duration_ms": 12.345,
        "connect_ms": 0.0,
        "first_byte_ms": 10.0,
        "upstream_ms": 0.0,
        "bytes_in": 0,
        "bytes_out": 42,
        "client": "192.0.2.1",
        "peer": "127.0.0.1:4000",
        "endpoint": "127.0.0.1:8081",
        "attempts": 1,
        "request_id": "id-1",
        "user_agent": "the \"agent\"",
        "referer": "http://r.test/?password=***&y=2",
        "consumer": "the team",
        "error": "client_stalled",
        "error_phase": "response",
        "error_text": "the client did not take the response in time",
        "request_headers": {
            "x-tenant": "t\u{e9}1, t2",
            "authorization": "***",
            "x-key": "***",
            "x-empty": "",
        },
    });
    assert_eq!(json, expected);
}

#[test]
fn every_field_is_explained() {
    let schema = schemars::schema_for!(LineFormat);
    let explained = schema.get("description").unwrap().as_str().unwrap();
    for (_, name) in fields::FIELDS {
        assert!(explained.contains(&format!("`{name}`")), "{name} is not in:\n{explained}");
    }
}

#[test]
fn text_is_what_web_servers_write_and_more() {
    let text = line("- logging: {format: text}", 404, None);
    let expected = "192.0.2.1 - the\\x20team [23/Nov/2026:21:57:17 +0000] \
                    \"GET /a/b?x=1&token=*** HTTP/1.1\" 404 42 \
                    \"http://r.test/?password=***&y=2\" \"the \\\"agent\\\"\" route=users ";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains(" ms=12.345 ") && text.ends_with("error=- phase=-\n"), "{text}");
}

#[test]
fn a_template_is_filled_in() {
    let filter = "- logging: {format: template, template: \
                  '$${x} ${status} ${request_header_x_tenant} ${request_header_authorization} \
                  ${response_header_x_none} ${error}'}";
    assert_eq!(line(filter, 200, None), "${x} 200 t\u{e9}1, t2 *** - -\n");
}

/// How many of ten thousand exchanges with this status are logged.
fn logged(filter: &str, status: u16, took: Duration) -> usize {
    let Ok(crate::FilterSettings::Logging(settings)) = read(filter) else { panic!("{filter}") };
    let logging = Logging {
        shape: Shape::build(&settings).unwrap(),
        shares: settings.shares().unwrap(),
        slow: settings.slow.map(|slow| slow.0),
        journal: crate::tests::core().journal(&Output::File("/dev/null".into())),
        rng: RefCell::new(Rng::new(7)),
    };
    let exchange = Exchange::new(clock::now());
    let ended = exchange.started + took;
    let record = Record { exchange: &exchange, status, error: None, ended };
    (0..10_000).filter(|_| logging.wants(&record)).count()
}

#[test]
fn a_share_is_logged_by_status_and_what_is_slow_always() {
    let filter = "- logging: {sample: {2xx: 10, 204: 0, 404: 100, 4xx: 50}, slow: 1s}";
    let quick = Duration::from_millis(999);
    assert!((900..1100).contains(&logged(filter, 200, quick)));
    assert_eq!(logged(filter, 204, quick), 0);
    assert_eq!(logged(filter, 204, Duration::from_secs(1)), 10_000);
    assert_eq!(logged(filter, 404, quick), 10_000);
    assert!((4_700..5_300).contains(&logged(filter, 403, quick)));
    assert_eq!(logged(filter, 503, quick), 10_000);
    assert_eq!(logged(filter, 0, quick), 10_000);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let template = |text: &str| format!("- logging: {{format: template, template: '{text}'}}");
    refused("- logging: {format: template}", "logging.template", "write it");
    refused("- logging: {template: '${status}'}", "logging.template", "format: template");
    refused(&template("${stats}"), "logging.template", "the fields are time, method");
    refused(&template("${request_header_}"), "logging.template", "no field");
    refused("- logging: {output: {file: access.log}}", "logging.output.file", "begin it with `/`");
    refused("- logging: {output: {socket: ''}}", "logging.output.socket", "begin it");
    refused("- logging: {sample: {6xx: 1}}", "logging.sample.6xx", "`404` or `4xx`");
    refused("- logging: {sample: {20: 1}}", "logging.sample.20", "`404` or `4xx`");
    refused("- logging: {sample: {2xx: 101}}", "logging.sample.2xx", "from 0 to 100");
    let field = "logging.headers.request[0]";
    refused("- logging: {headers: {request: [\"a b\"]}}", field, "name alone");
    refused("- logging: {redact: {headers: [\"\"]}}", "logging.redact.headers[0]", "name alone");
}

#[test]
fn the_summary_says_where_lines_go() {
    let summary = |filter: &str| build(filter).unwrap().summary();
    assert_eq!(summary("- logging: {}"), "json to stdout");
    let filter = "- logging: {format: text, output: {file: /a/b}, sample: {2xx: 1}}";
    assert_eq!(summary(filter), "text to file:/a/b, sampled");
}
