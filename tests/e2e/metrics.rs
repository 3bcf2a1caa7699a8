//! Metrics and traces: what is counted is what happened, as Prometheus reads it, and who asks for
//! it is not felt.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{Client, Driver, End, Gateway, Origin, dedent, eventually, refusing, scenes};

scenes![
    what_is_counted_is_what_happened,
    no_counter_falls_over_a_reload,
    of_two_breakers_the_one_that_is_open_is_shown,
    prometheus_finds_nothing_to_complain_of,
    a_scrape_every_ten_milliseconds_is_not_felt,
    the_last_failures_can_be_asked_for,
    a_failing_upstream_is_warned_of_once_and_then_in_numbers,
    a_trace_is_carried_on_or_begun,
    dashboard_and_rules_ask_for_what_there_is,
];

const SECTIONS: &str = "
    server:
      listen: [\"127.0.0.1:0\"]
    admin:
      listen: 127.0.0.1:0
    global_filters:
      - metrics: {enabled: true}
";

/// Routes to `origin`, to nobody, and one that answers by itself.
fn start(driver: Driver, origin: &Origin) -> Gateway {
    let (address, dead) = (origin.address, refusing());
    let routes = format!(
        "routes:\n  - name: up\n    prefix: /up\n    targets:\n      - addr: http://{address}\n  \
         - name: dead\n    prefix: /dead\n    targets:\n      - addr: http://{dead}\n  \
         - name: own\n    path: /own\n    respond:\n      body: pong\n"
    );
    Gateway::start(driver, &format!("{}{routes}", dedent(SECTIONS)))
}

fn admin_of(gateway: &Gateway) -> SocketAddr {
    let line = gateway.await_log(&["admin API", "address="]);
    let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
    address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

fn ask(admin: SocketAddr, target: &str) -> String {
    let mut client = Client::connect(admin);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    client.answer().expect(200).text()
}

/// The value of a series, written as it is in the text.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

fn what_is_counted_is_what_happened(driver: Driver) {
    let origin = Origin::saying("hello");
    let gateway = start(driver, &origin);
    let mut client = gateway.client();
    for _ in 0..3 {
        client.get("/up").expect(200);
    }
    client.post("/up", b"four").expect(200);
    client.get("/own").expect(200);
    client.get("/nowhere").expect_error(404);
    client.get("/dead").expect_error(502);
    gateway.client().send("GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n").answer();
    let admin = admin_of(&gateway);
    eventually("all eight are counted", || {
        value(&ask(admin, "/metrics"), "ringway_worker_requests_total{worker=\"0\"}") >= 8.0
    });
    let text = ask(admin, "/metrics");
    let endpoint = format!("{{upstream=\"up\",endpoint=\"{}\"}}", origin.address);
    let refused = "ringway_errors_total{phase=\"connect\",error=\"refused\"}";
    let gets = "ringway_requests_total{route=\"up\",method=\"GET\",status=\"2xx\"}";
    let unrouted = "ringway_requests_total{route=\"unrouted\",method=\"GET\",status=\"4xx\"}";
    for (series, expected) in [
        (gets, 3.0),
        ("ringway_requests_total{route=\"up\",method=\"POST\",status=\"2xx\"}", 1.0),
        ("ringway_requests_total{route=\"own\",method=\"GET\",status=\"2xx\"}", 1.0),
        ("ringway_requests_total{route=\"dead\",method=\"GET\",status=\"5xx\"}", 1.0),
        (unrouted, 1.0),
        ("ringway_requests_total{route=\"unrouted\",method=\"other\",status=\"4xx\"}", 1.0),
        ("ringway_request_duration_seconds_count{route=\"up\"}", 4.0),
        ("ringway_request_duration_seconds_bucket{route=\"up\",le=\"+Inf\"}", 4.0),
        ("ringway_added_latency_seconds_count{route=\"up\"}", 4.0),
        ("ringway_route_request_body_bytes_total{route=\"up\"}", 4.0),
        ("ringway_route_response_body_bytes_total{route=\"up\"}", 20.0),
        ("ringway_upstream_connects_total{worker=\"0\"}", 1.0),
        ("ringway_upstream_reuses_total{worker=\"0\"}", 3.0),
        (&format!("ringway_endpoint_requests_total{endpoint}"), 4.0),
        (&format!("ringway_endpoint_up{endpoint}"), 1.0),
        (refused, 1.0),
        ("ringway_connections{worker=\"0\"}", 1.0),
        ("ringway_worker_requests_active{worker=\"0\"}", 0.0),
        ("ringway_config_reloads_total{result=\"success\"}", 0.0),
        ("ringway_config_last_reload_successful", 1.0),
    ] {
        assert_eq!(value(&text, series), expected, "{series} in:\n{text}");
    }
    let heads = text.lines().filter(|line| line.starts_with("ringway_rejected_heads_total{"));
    assert_eq!(heads.filter(|line| line.ends_with(" 1")).count(), 1, "{text}");
    // As of the worker's last sweep.
    let cpu = "ringway_worker_cpu_seconds_total{worker=\"0\"}";
    eventually("its time is told", || value(&ask(admin, "/metrics"), cpu) > 0.0);
    assert!(value(&text, "process_resident_memory_bytes") > 1e6, "{text}");
    let [added, whole] = ["ringway_added_latency_seconds", "ringway_request_duration_seconds"]
        .map(|name| value(&text, &format!("{name}_sum{{route=\"up\"}}")));
    assert!(0.0 < added && added < whole, "{added} of {whole} s");
}

/// Two filters of a route count under one name. When one of them is built anew the sum stays, or
/// Prometheus would take what the other has for new. A route that is gone is gone.
fn no_counter_falls_over_a_reload(driver: Driver) {
    let file = |burst: u32, more: &str| {
        format!(
            "{}routes:\n  - name: two\n    path: /two\n    respond: {{}}\n    filters:\n      \
             - rate_limit: {{qps: 100, burst: {burst}}}\n      \
             - rate_limit: {{qps: 100, burst: 999, key: client_ip}}\n{more}",
            dedent(SECTIONS)
        )
    };
    let other = "  - name: other-one\n    path: /other\n    respond: {}\n    \
                 filters: [{rate_limit: {qps: 100, burst: 100}}]\n";
    let gateway = Gateway::start(driver, &file(998, other));
    let admin = admin_of(&gateway);
    let mut client = gateway.client();
    let allowed = |route: &str| {
        let labels = format!("{{route=\"{route}\",outcome=\"allowed\"}}");
        value(&ask(admin, "/metrics"), &format!("ringway_rate_limit_requests_total{labels}"))
    };
    for target in ["/two", "/two", "/two", "/other"] {
        client.get(target).expect(200);
    }
    assert_eq!((allowed("two"), allowed("other-one")), (6.0, 1.0));
    gateway.reload(&file(997, ""));
    assert_eq!((allowed("two"), allowed("other-one")), (6.0, 0.0));
    client.get("/two").expect(200);
    gateway.reload(&file(996, other));
    assert_eq!((allowed("two"), allowed("other-one")), (8.0, 0.0));
    client.get("/other").expect(200);
    assert_eq!((allowed("two"), allowed("other-one")), (8.0, 1.0));
    let routed = "ringway_requests_total{route=\"two\",method=\"GET\",status=\"2xx\"}";
    eventually("they are counted", || value(&ask(admin, "/metrics"), routed) == 4.0);
}

/// A state is not added up.
fn of_two_breakers_the_one_that_is_open_is_shown(driver: Driver) {
    let origin = Origin::answering("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n");
    let breakers = "    filters:\n      - circuit_breaker: {threshold: 1, timeout: 1h}\n      \
                    - circuit_breaker: {threshold: 1, timeout: 2h}\n";
    let file = format!(
        "{}routes:\n  - name: all\n    prefix: /\n    targets: [{{addr: \"{}\"}}]\n{breakers}",
        dedent(SECTIONS),
        origin.address
    );
    let gateway = Gateway::start(driver, &file);
    let mut client = gateway.client();
    client.get("/").expect(500);
    client.get("/").expect(503);
    let text = ask(admin_of(&gateway), "/metrics");
    let state = "ringway_circuit_breaker_state{route=\"all\",upstream=\"all\"}";
    assert_eq!(value(&text, state), 2.0, "{text}");
}

/// `promtool check metrics`: names, units, types and help by its conventions.
fn prometheus_finds_nothing_to_complain_of(driver: Driver) {
    let origin = Origin::saying("hello");
    let gateway = start(driver, &origin);
    gateway.get("/up").expect(200);
    gateway.get("/dead").expect_error(502);
    let text = ask(admin_of(&gateway), "/metrics");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is in Debian's package prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}\n{text}",
        String::from_utf8_lossy(&said)
    );
}

fn a_scrape_every_ten_milliseconds_is_not_felt(driver: Driver) {
    let origin = Origin::saying("hello");
    let gateway = start(driver, &origin);
    let admin = admin_of(&gateway);
    let done = AtomicBool::new(false);
    let scrapes = thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            let mut scrapes = 0;
            while !done.load(Ordering::Relaxed) {
                assert!(ask(admin, "/metrics").contains("ringway_build_info"));
                scrapes += 1;
                thread::park_timeout(Duration::from_millis(10));
            }
            scrapes
        });
        {
            // However this scene ends, it does.
            let _end = End(&done);
            let mut client = gateway.client();
            (0..1_000).for_each(|_| drop(client.get("/up").expect(200)));
        }
        scraper.join().unwrap()
    });
    assert!(scrapes > 3, "{scrapes} scrapes");
    let series = "ringway_requests_total{route=\"up\",method=\"GET\",status=\"2xx\"}";
    eventually("all are counted", || value(&ask(admin, "/metrics"), series) == 1_000.0);
}

fn the_last_failures_can_be_asked_for(driver: Driver) {
    let origin = Origin::saying("hello");
    let gateway = start(driver, &origin);
    let admin = admin_of(&gateway);
    assert_eq!(ask(admin, "/errors/recent"), "{\"errors\":[]}");
    gateway.client().get_with("/dead?secret=1", &["X-Request-ID: id-1"]).expect_error(502);
    gateway.get("/nowhere").expect_error(404);
    eventually("both are kept", || ask(admin, "/errors/recent").contains("/nowhere"));
    let errors: serde_json::Value = serde_json::from_str(&ask(admin, "/errors/recent")).unwrap();
    let errors = &errors["errors"];
    let said = |at: usize| ["path", "code", "phase", "route"].map(|name| errors[at][name].clone());
    assert_eq!(said(0), ["/nowhere", "no_route", "route", ""]);
    assert_eq!(said(1), ["/dead", "refused", "connect", "dead"]);
    assert_eq!((&errors[1]["request_id"], &errors[1]["status"]), (&"id-1".into(), &502.into()));
    assert!(!errors.to_string().contains("secret"), "{errors}");
}

fn a_failing_upstream_is_warned_of_once_and_then_in_numbers(driver: Driver) {
    let origin = Origin::saying("hello");
    let gateway = start(driver, &origin);
    let mut client = gateway.client();
    (0..50).for_each(|_| drop(client.get("/dead").expect_error(502)));
    gateway.await_log(&["WARN", "cannot connect"]);
    let count = |log: &str| log.lines().filter(|line| line.contains("cannot connect")).count();
    assert_eq!(count(&gateway.log()), 1, "{}", gateway.log());
}

fn a_trace_is_carried_on_or_begun(driver: Driver) {
    let origin = Origin::echo();
    let file = "
        global_filters:
          - trace
          - logging: {output: {file: LOG}}
    ";
    let folder = tempfile::TempDir::new().unwrap();
    let log = folder.path().join("access.log");
    let file = dedent(file).replace("LOG", log.to_str().unwrap());
    let gateway =
        Gateway::start(driver, &format!("{file}{}", crate::harness::forward_route(&origin, "")));
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let theirs = format!("TraceParent: 00-{id}-00f067aa0ba902b7-00");
    let mut client = gateway.client();
    client.get_with("/theirs", &[&theirs, "tracestate: a=1", "tracestate: b=2"]).expect(200);
    client.get_with("/bad", &["traceparent: 00-zz", "tracestate: a=1"]).expect(200);
    let [theirs, bad] = origin.requests().try_into().unwrap();
    let [carried] = theirs.head.all("traceparent").try_into().unwrap();
    assert!(carried.starts_with(&format!("00-{id}-")) && carried.ends_with("-00"), "{carried}");
    assert!(!carried.contains("00f067aa0ba902b7"), "{carried}");
    assert_eq!(theirs.head.all("tracestate"), ["a=1", "b=2"]);
    let [begun] = bad.head.all("traceparent").try_into().unwrap();
    assert!(begun.len() == 55 && begun.ends_with("-03"), "{begun}");
    assert_eq!(bad.head.all("tracestate"), [""; 0]);
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("both are in the log", || lines().lines().count() == 2);
    for (line, trace) in lines().lines().zip([id, &begun[3..35]]) {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["trace_id"], trace);
    }
}

/// Every name in scripts/monitoring is one that a gateway with these filters writes.
fn dashboard_and_rules_ask_for_what_there_is(driver: Driver) {
    let origin = Origin::saying("hello");
    let (address, folder) = (origin.address, tempfile::TempDir::new().unwrap());
    let log = folder.path().join("access.log");
    let rest = format!(
        "  - logging: {{output: {{file: {}}}}}\n  - retry: {{max_retries: 1, retry_on: [502]}}\n  \
         - circuit_breaker: {{threshold: 5, timeout: 30s}}\n  - rate_limit: {{qps: 100}}\n\
         routes:\n  - name: all\n    prefix: /\n    targets:\n      - addr: http://{address}\n",
        log.display()
    );
    let gateway = Gateway::start(driver, &format!("{}{rest}", dedent(SECTIONS)));
    gateway.get("/").expect(200);
    let admin = admin_of(&gateway);
    eventually("it is counted", || ask(admin, "/metrics").contains("ringway_requests_total{"));
    let text = ask(admin, "/metrics");
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let known: Vec<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    let mut asked = 0;
    for file in ["dashboard.json", "alerts.yaml"] {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/monitoring/");
        let text = std::fs::read_to_string(format!("{path}{file}")).unwrap();
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for word in words.filter(|w| w.starts_with("ringway_") || w.starts_with("process_")) {
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            let found = known.contains(&word) || family.is_some_and(|name| known.contains(&name));
            assert!(found, "{file} asks for {word}, which is not among {known:#?}");
            asked += 1;
        }
    }
    assert!(asked > 40, "{asked} names were found");
}

/// A chain that would count every request twice does not load.
#[test]
fn what_counts_twice_is_refused() {
    let file = "routes:\n  - name: a\n    respond: {body: a}\n    filters:\n      - metrics: {}\n\
                global_filters:\n  - metrics: {}\n";
    let (code, said) = crate::cli::ringway(&["check", "-c"], file);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("counts the same requests") && said.contains(":5:"), "{said}");
}
