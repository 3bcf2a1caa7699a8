//! The admin API: each endpoint on a real gateway, who may ask, and that nobody who asks, however
//! badly, is felt by the requests.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::harness::{BOUND, Client, Driver, Gateway, Origin, eventually, forward_route, scenes};

scenes![
    it_tells_what_runs,
    completions_are_told_of_a_ring,
    it_tells_what_is_configured_without_secrets,
    it_explains_as_the_command_does,
    a_token_opens_it,
    only_this_machine_is_answered_without_a_token,
    what_changes_something_comes_as_json,
    what_is_not_there_is_refused_in_the_shape_of_all_errors,
    bodies_and_heads_are_bounded,
    clients_that_never_read_are_let_go,
    clients_that_never_ask_make_room,
    it_is_not_ready_while_it_drains,
    it_reloads_the_file_or_says_what_is_wrong,
    a_reload_that_takes_for_ever_does_not_hold_the_end_up,
    a_reload_may_change_the_token_but_not_the_place,
    an_endpoint_is_drained_and_weighed,
    what_is_set_for_an_endpoint_outlasts_a_reload,
    it_tells_the_last_errors,
    a_scrape_every_10_ms_hurts_nobody,
];

/// Loopback, any port; `listen:` of the server has to be written beside it.
pub(crate) const LOCAL: &str = "
    server:
      listen: [\"127.0.0.1:0\"]
    admin:
      listen: 127.0.0.1:0
";

const TOKEN: &str = "correct-horse-battery-staple";

/// A gateway to `origin` with an admin API without a token.
fn gateway(driver: Driver, origin: &Origin) -> Gateway {
    let sections = crate::harness::dedent(LOCAL);
    Gateway::start(driver, &format!("{sections}{}", forward_route(origin, "")))
}

/// Where the admin API of a gateway is.
#[track_caller]
pub(crate) fn admin_of(gateway: &Gateway) -> SocketAddr {
    let line = gateway.await_log(&["admin API", "address="]);
    let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
    address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

/// A client of the admin API, which knows its name.
struct Operator {
    client: Client,
    host: String,
}

impl Operator {
    #[track_caller]
    fn of(gateway: &Gateway) -> Operator {
        let address = admin_of(gateway);
        Operator { client: Client::connect(address), host: address.to_string() }
    }

    fn send(&mut self, method: &str, target: &str, fields: &[&str], body: &str) -> &mut Client {
        let host = &self.host;
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let length = match method {
            "POST" => format!("Content-Length: {}\r\n", body.len()),
            _ => String::new(),
        };
        self.client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}{length}\r\n{body}"
        ))
    }

    #[track_caller]
    fn get(&mut self, target: &str) -> crate::harness::Response {
        self.send("GET", target, &[], "").answer()
    }

    #[track_caller]
    fn post(&mut self, target: &str, body: &str) -> crate::harness::Response {
        self.send("POST", target, &["Content-Type: application/json"], body).answer()
    }
}

fn it_tells_what_runs(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = gateway(driver, &origin);
    let mut operator = Operator::of(&gateway);
    assert_eq!(operator.get("/health").expect(200).json()["status"], "ok");
    assert_eq!(operator.get("/ready").expect(200).json()["status"], "ready");
    let mut client = gateway.client();
    for _ in 0..5 {
        client.get("/").expect(200);
    }
    // A worker counts an exchange when it is over, which is just after its answer.
    eventually("5 requests are counted", || {
        operator.get("/status").expect(200).json()["workers"][0]["requests"] == 5
    });
    let status = operator.get("/status").expect(200).json();
    assert_eq!(status["driver"], driver.name());
    assert_eq!(status["state"], "ready");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["listeners"][0], gateway.address().to_string());
    assert!(status["uptime_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{status:#}");
    let worker = &status["workers"][0];
    assert_eq!((&worker["connections"], &worker["accepted"]), (&1.into(), &1.into()));
    assert_eq!(worker["upstream_connects"], 1);
    assert_eq!(worker["upstream_reuses"], 4);
    let upstream = &status["upstreams"][0];
    assert_eq!((&upstream["name"], &upstream["balance"]), (&"all".into(), &"round_robin".into()));
}

/// The kernel counts them, so there are none on epoll.
fn completions_are_told_of_a_ring(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = gateway(driver, &origin);
    let mut operator = Operator::of(&gateway);
    let mut client = gateway.client();
    let worker =
        |operator: &mut Operator| operator.get("/status").expect(200).json()["workers"][0].clone();
    for _ in 0..100 {
        client.get("/").expect(200);
    }
    if driver == Driver::Epoll {
        let worker = worker(&mut operator);
        assert!(worker["completions"].is_null() && worker["completions_per_wait"].is_null());
        let metrics = operator.get("/metrics").expect(200).text();
        assert!(!metrics.contains("ringway_worker_completions_total{"), "{metrics}");
        return;
    }
    // Each of these exchanges read and wrote twice.
    eventually("400 completions are told", || {
        worker(&mut operator)["completions"].as_u64().is_some_and(|completions| completions >= 400)
    });
    let told = worker(&mut operator);
    assert!(told["completions_per_wait"].as_f64().is_some_and(|number| number > 0.1), "{told:#}");
    let metrics = operator.get("/metrics").expect(200).text();
    assert!(metrics.contains("ringway_worker_completions_total{worker=\"0\"}"), "{metrics}");
}

fn it_tells_what_is_configured_without_secrets(driver: Driver) {
    let yaml = format!(
        "
        server:
          listen: [\"127.0.0.1:0\"]
        admin:
          listen: 127.0.0.1:0
          token: {TOKEN}
        routes:
          - name: shop
            host: [shop.test]
            prefix: /shop
            methods: [GET, POST]
            headers: {{X-Api-Key: {TOKEN}, X-Env: canary}}
            upstream: shop
            filters:
              - headers:
                  request:
                    set: {{Authorization: Bearer {TOKEN}}}
          - name: ping
            path: /ping
            respond:
              body: pong
          - name: old
            pattern: /old/:page
            redirect: /new/${{page}}
        upstreams:
          shop:
            targets:
              - addr: http://127.0.0.1:1
        "
    );
    let gateway = Gateway::start(driver, &yaml);
    let mut operator = Operator::of(&gateway);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let mut get = |target: &str| operator.send("GET", target, &[&bearer], "").answer().expect(200);
    let config = get("/config");
    assert_eq!(config.json()["config"]["routes"][0]["name"], "shop");
    assert_eq!(config.json()["config"]["admin"]["token"], "***");
    let routes = get("/routes");
    for answer in [&config, &routes, &get("/status")] {
        assert!(!answer.text().contains(TOKEN), "{}", answer.text());
    }
    let routes = routes.json();
    assert_eq!(routes["total"], 3);
    let shop = &routes["routes"][0];
    assert_eq!((&shop["path"], &shop["to"][0]), (&"prefix /shop".into(), &"shop".into()));
    assert_eq!(shop["conditions"][0], "header x-api-key = ***");
    assert_eq!(shop["conditions"][1], "header x-env = canary");
    assert_eq!(shop["filters"][0], "headers");
    let old = &routes["routes"][2];
    assert_eq!((&old["action"], &old["to"][0]), (&"redirect".into(), &"302 /new/${page}".into()));
    let found = get("/routes?find=PIN&limit=5").json();
    assert_eq!((&found["total"], &found["routes"][0]["name"]), (&1.into(), &"ping".into()));
    assert_eq!(get("/routes?offset=1&limit=1").json()["routes"][0]["name"], "ping");
}

fn it_explains_as_the_command_does(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = gateway(driver, &origin);
    let mut operator = Operator::of(&gateway);
    let question = r#"{"url": "http://a.test/x?y=z", "headers": [{"name": "X-A", "value": "b"}]}"#;
    let told = operator.post("/explain", question).expect(200).json();
    assert_eq!((&told["route"], &told["path"]), (&"all".into(), &"/x".into()));
    assert_eq!(told["action"]["forward"]["target"], "/x?y=z");
    let route = "filters: [cors: {allow_origins: [\"*\"]}]";
    let sections = crate::harness::dedent(LOCAL);
    let gateway = Gateway::start(driver, &format!("{sections}{}", forward_route(&origin, route)));
    let mut cors = Operator::of(&gateway);
    let preflight = r#"{"method": "OPTIONS", "url": "/orders/1", "headers": [
        {"name": "Origin", "value": "https://a.test"},
        {"name": "Access-Control-Request-Method", "value": "GET"}]}"#;
    let told = cors.post("/explain", preflight).expect(200).json();
    assert_eq!(told["action"]["answered"]["by"], "cors");
    let refused = operator.post("/explain", r#"{"url": "/%00"}"#).expect(200).json();
    assert_eq!(refused["action"]["refuse"]["status"], 400);
    for wrong in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"url": "ftp://x/"}"#,
        r#"{"url": "/", "ulr": "/"}"#,
        r#"{"url": "/", "method": "GE T"}"#,
        r#"{"url": "/", "headers": [{"name": "X A", "value": "b"}]}"#,
        r#"{"url": "/", "headers": [{"name": "X-A", "value": "b\r\nX-B: c"}]}"#,
        r#"{"url": "/ HTTP/1.1\r\nX-A: b\r\n\r\n"}"#,
        r#"{"url": "/", "client": "nobody"}"#,
    ] {
        operator.post("/explain", wrong).expect_error(400);
    }
}

fn a_token_opens_it(driver: Driver) {
    let yaml = format!(
        "
        server:
          listen: [\"127.0.0.1:0\"]
        admin:
          listen: 127.0.0.1:0
          token: {TOKEN}
        routes:
          - name: ping
            path: /ping
            respond:
              body: pong
        "
    );
    let gateway = Gateway::start(driver, &yaml);
    let address = admin_of(&gateway);
    let ask = |target: &str, fields: &[&str]| {
        let mut operator = Operator { client: Client::connect(address), host: "any.test".into() };
        operator.send("GET", target, fields, "").answer()
    };
    for target in ["/health", "/ready"] {
        ask(target, &[]).expect(200);
    }
    for target in ["/status", "/config", "/routes", "/nothing"] {
        let refused = ask(target, &[]).expect_error(401);
        assert!(refused.field("www-authenticate").is_some_and(|how| how.starts_with("Bearer")));
        assert!(refused.closes(), "{refused:#?}");
        ask(target, &["Authorization: Bearer wrong-horse-battery-staple"]).expect_error(401);
        ask(target, &["Authorization: Basic Y29ycmVjdC1ob3JzZQ=="]).expect_error(401);
        let bearer = format!("Authorization: Bearer {TOKEN}");
        ask(target, &[&bearer, &bearer]).expect_error(401);
        assert_ne!(ask(target, &[&bearer]).status, 401);
    }
    gateway.await_log(&["refused without the right token", "127.0.0.1"]);
    assert!(!gateway.log().contains("horse"), "no token is logged, right or wrong");
}

fn only_this_machine_is_answered_without_a_token(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = gateway(driver, &origin);
    let address = admin_of(&gateway);
    let ask = |head: &str| {
        let mut client = Client::connect(address);
        client.send(head).answer()
    };
    let port = address.port();
    for host in ["localhost".to_owned(), format!("LocalHost:{port}"), format!("[::1]:{port}")] {
        ask(&format!("GET /status HTTP/1.1\r\nHost: {host}\r\n\r\n")).expect(200);
    }
    // A page of evil.test whose name was made to stand for 127.0.0.1 (DNS rebinding).
    for host in ["evil.test".to_owned(), format!("evil.test:{port}"), "10.0.0.1".to_owned()] {
        ask(&format!("GET /status HTTP/1.1\r\nHost: {host}\r\n\r\n")).expect_error(403);
        ask(&format!("GET http://{host}/status HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .expect_error(403);
    }
    ask("GET /status HTTP/1.1\r\n\r\n").expect_error(400);
    ask("GET /status HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n").expect_error(400);
}

fn what_changes_something_comes_as_json(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = gateway(driver, &origin);
    let body = r#"{"url": "/"}"#;
    let ask =
        |fields: &[&str]| Operator::of(&gateway).send("POST", "/explain", fields, body).answer();
    // What a form of another site can send without asking.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        ask(&[&format!("Content-Type: {kind}")]).expect_error(415);
    }
    ask(&[]).expect_error(415);
    let json = "Content-Type: application/json";
    ask(&[json, "Origin: https://evil.test"]).expect_error(403);
    ask(&[json, "Origin: null"]).expect_error(403);
    ask(&[json, &format!("Origin: http://{}", admin_of(&gateway))]).expect(200);
    let mut operator = Operator::of(&gateway);
    let asked = ["Origin: https://evil.test", "Access-Control-Request-Method: POST"];
    let preflight = operator.send("OPTIONS", "/explain", &asked, "").answer().expect_error(405);
    assert_eq!(preflight.field("access-control-allow-origin"), None);
}

fn what_is_not_there_is_refused_in_the_shape_of_all_errors(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = gateway(driver, &origin);
    let mut operator = Operator::of(&gateway);
    operator.get("/nothing").expect_error(404);
    let wrong = operator.send("DELETE", "/status", &[], "").answer().expect_error(405);
    assert_eq!(wrong.field("allow"), Some("GET,HEAD"));
    operator.get("/routes?limit=0").expect_error(400);
    operator.get("/routes?limit=ten").expect_error(400);
    operator.get("/routes?lmit=1").expect_error(400);
    let answer = operator.get("/status").expect(200);
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.field("access-control-allow-origin"), None);
    let policy = answer.field("content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
}

fn bodies_and_heads_are_bounded(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = gateway(driver, &origin);
    let long = format!(r#"{{"url": "/{}"}}"#, "x".repeat(100_000));
    Operator::of(&gateway).post("/explain", &long).expect_error(413);
    let mut operator = Operator::of(&gateway);
    let fields: Vec<String> = (0..200).map(|at| format!("X-{at}: y")).collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let answer = operator.send("GET", "/status", &fields, "").answer();
    assert_eq!(answer.status, 431);
    let mut operator = Operator::of(&gateway);
    let long = format!("X-Long: {}", "x".repeat(100_000));
    let refused = operator.send("GET", "/status", &[&long], "").answer_or_end();
    assert!(refused.is_none_or(|answer| answer.status == 431));
    Operator::of(&gateway).get("/health").expect(200);
}

/// Connections that ask without end and take nothing, as many as there may be: requests do not
/// feel them, and they are let go to make room for others.
fn clients_that_never_read_are_let_go(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = gateway(driver, &origin);
    let address = admin_of(&gateway);
    let request = format!("GET /status HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(100);
    let deaf: Vec<Client> = (0..60)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket.connect(&address.into()).unwrap();
            let mut client = Client::over(socket.into());
            client.wire.stream.set_nonblocking(true).unwrap();
            // Until nothing more is taken: then its answers wait, and so does the gateway.
            while client.wire.write(request.as_bytes()).is_ok() {}
            client
        })
        .collect();
    let mut client = gateway.client();
    let before = Instant::now();
    for _ in 0..200 {
        client.get("/").expect(200);
    }
    assert!(before.elapsed() < BOUND, "200 requests took {:?}", before.elapsed());
    eventually("somebody who reads is answered again", || {
        let mut client = Client::connect(address);
        client.send(format!("GET /health HTTP/1.1\r\nHost: {address}\r\n\r\n"));
        client.answer_or_end().is_some_and(|answer| answer.status == 200)
    });
    drop(deaf);
}

/// Also where it needs a token: those who connect and say nothing have not shown it.
fn clients_that_never_ask_make_room(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = gateway(driver, &origin);
    let address = admin_of(&gateway);
    let half_open: Vec<Client> = (0..200)
        .map(|at| {
            let mut client = Client::connect(address);
            if at % 2 == 0 {
                client.send("GET /health HTTP/1.1\r\nHost: loc");
            }
            client
        })
        .collect();
    let before = Instant::now();
    for _ in 0..10 {
        Operator::of(&gateway).get("/health").expect(200);
    }
    let took = before.elapsed();
    assert!(took < Duration::from_secs(1), "10 answers took {took:?}");
    drop(half_open);
}

fn it_is_not_ready_while_it_drains(driver: Driver) {
    let gate = crate::harness::Gate::default();
    let origin = {
        let gate = gate.clone();
        Origin::script(move |connection| {
            connection.request()?;
            gate.pass()?;
            connection.write(crate::harness::ok("done"))
        })
    };
    let mut gateway = gateway(driver, &origin);
    let mut operator = Operator::of(&gateway);
    let mut client = gateway.client();
    client.request("GET", "/", &[]);
    origin.await_requests(1);
    operator.get("/ready").expect(200);
    gateway.terminate();
    eventually("it is told", || operator.get("/ready").status == 503);
    operator.get("/ready").expect_error(503);
    operator.get("/health").expect(200);
    assert_eq!(operator.get("/status").expect(200).json()["state"], "draining");
    gate.open();
    client.answer().expect(200);
    assert_eq!(gateway.exit().code(), Some(0));
}

fn it_reloads_the_file_or_says_what_is_wrong(driver: Driver) {
    let local = crate::harness::dedent(LOCAL);
    let answering = |body: &str| {
        format!("{local}routes:\n  - {{name: all, prefix: /, respond: {{body: {body}}}}}\n")
    };
    let gateway = Gateway::start(driver, &answering("old"));
    let mut operator = Operator::of(&gateway);
    let mut client = gateway.client();
    assert_eq!(client.get("/").expect(200).text(), "old");
    gateway.rewrite(&answering("new"));
    let report = operator.post("/reload", "").expect(200).json();
    assert_eq!((&report["routes"], &report["listeners"]), (&1.into(), &1.into()), "{report:#}");
    assert!(report["adopted_ms"].as_f64() >= report["build_ms"].as_f64(), "{report:#}");
    assert_eq!(client.get("/").expect(200).text(), "new");
    gateway.rewrite(&answering("new").replace("prefix", "prefx"));
    let refused = operator.post("/reload", "").expect_error(422).json();
    let message = refused["message"].as_str().unwrap().to_owned();
    assert!(message.contains("did you mean `prefix`?"), "{message}");
    assert_eq!(client.get("/").expect(200).text(), "new");
    let reloads = operator.get("/status").expect(200).json()["reloads"].clone();
    assert_eq!((&reloads["good"], &reloads["failed"]), (&1.into(), &1.into()), "{reloads:#}");
    assert!(reloads["failure"].as_str().is_some_and(|why| why.contains("prefx")), "{reloads:#}");
    operator.send("GET", "/reload", &[], "").answer().expect_error(405);
}

/// What is waited for here is a secret that a pipe shall give, to which nobody writes.
fn a_reload_that_takes_for_ever_does_not_hold_the_end_up(driver: Driver) {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("secret");
    crate::reload::make_pipe(&pipe);
    let local = crate::harness::dedent(LOCAL);
    let route = "routes:\n  - {name: all, prefix: /, respond: {body: hi}";
    let mut gateway = Gateway::start(driver, &format!("{local}{route}}}\n"));
    let mut operator = Operator::of(&gateway);
    let auth = format!("auth: {{type: jwt, secret_file: {}}}", pipe.display());
    gateway.rewrite(&format!("{local}{route}, filters: [{{{auth}}}]}}\n"));
    operator.send("POST", "/reload", &["Content-Type: application/json"], "");
    // To open it waits until the gateway has opened it.
    let opened = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    gateway.terminate();
    assert_eq!(gateway.exit().code(), Some(0));
    drop(opened);
}

fn a_reload_may_change_the_token_but_not_the_place(driver: Driver) {
    let local = crate::harness::dedent(LOCAL);
    let file = |token: &str| {
        let route = "routes:\n  - {name: all, prefix: /, respond: {body: hi}}\n";
        format!("{local}  token: {token}\n{route}")
    };
    let gateway = Gateway::start(driver, &file(TOKEN));
    let address = admin_of(&gateway);
    let ask = |method: &str, target: &str, token: &str| {
        let mut operator = Operator { client: Client::connect(address), host: "any.test".into() };
        let bearer = format!("Authorization: Bearer {token}");
        let fields = [&bearer, "Content-Type: application/json"];
        operator.send(method, target, &fields, "").answer()
    };
    let other = "another-horse-battery-staple";
    gateway.rewrite(&file(other));
    ask("POST", "/reload", TOKEN).expect(200);
    ask("GET", "/status", TOKEN).expect_error(401);
    ask("GET", "/status", other).expect(200);
    gateway.rewrite(&file(other).replace("listen: 127.0.0.1:0", "listen: 127.0.0.2:0"));
    let refused = ask("POST", "/reload", other).expect_error(422).text();
    assert!(refused.contains("`admin.listen` cannot change"), "{refused}");
    gateway.rewrite("routes:\n  - {name: all, prefix: /, respond: {body: hi}}\n");
    ask("POST", "/reload", other).expect_error(422);
    ask("GET", "/status", other).expect(200);
}

fn an_endpoint_is_drained_and_weighed(driver: Driver) {
    let (one, two) = (Origin::saying("one"), Origin::saying("two"));
    let [first, second] = [one.address, two.address];
    let local = crate::harness::dedent(LOCAL);
    let rest = format!(
        "
        upstreams:
          \"a shop\":
            targets: [{{addr: \"{first}\"}}, {{addr: \"{second}\"}}]
        routes:
          - {{name: all, prefix: /, upstream: a shop}}
        "
    );
    let gateway = Gateway::start(driver, &format!("{local}{}", crate::harness::dedent(&rest)));
    let mut operator = Operator::of(&gateway);
    let mut client = gateway.client();
    let mut served = |count: usize| {
        let before = [one.count(), two.count()];
        (0..count).for_each(|_| drop(client.get("/").expect(200)));
        [one.count() - before[0], two.count() - before[1]]
    };
    assert_eq!(served(10), [5, 5]);
    let place = format!("/upstreams/a%20shop/endpoints/{first}");
    let drained = operator.post(&place, r#"{"drain": true}"#).expect(200).json();
    assert_eq!((&drained["state"], &drained["used"]), (&"draining".into(), &false.into()));
    assert_eq!(served(10), [0, 10], "no request goes to an endpoint that is drained");
    let status = operator.get("/status").expect(200).json();
    let endpoint = &status["upstreams"][0]["endpoints"][0];
    assert_eq!((&endpoint["state"], &endpoint["requests"]), (&"draining".into(), &5.into()));
    assert_eq!(endpoint["reuse_rate"], 0.8);
    let used = operator.post(&place, r#"{"drain": false, "weight": 4}"#).expect(200).json();
    assert_eq!((&used["state"], &used["set_weight"]), (&"healthy".into(), &4.into()));
    assert_eq!(served(10), [8, 2]);
    for (place, body, status) in [
        (place.as_str(), "{}", 400),
        (&place, r#"{"weight": 1000001}"#, 400),
        (&place, r#"{"weight": -1}"#, 400),
        (&place, r#"{"drian": true}"#, 400),
        (&place, r#"{"drain": null, "weight": 1}"#, 400),
        ("/upstreams/shop/endpoints/127.0.0.1:1", r#"{"drain": true}"#, 404),
        ("/upstreams/a%20shop/endpoints/127.0.0.1:1", r#"{"drain": true}"#, 404),
        ("/upstreams/a%20shop/endpoints/somewhere", r#"{"drain": true}"#, 404),
        ("/upstreams/%FF/endpoints/127.0.0.1:1", r#"{"drain": true}"#, 400),
    ] {
        operator.post(place, body).expect_error(status);
    }
}

fn what_is_set_for_an_endpoint_outlasts_a_reload(driver: Driver) {
    let origins = ["one", "two", "three"].map(Origin::saying);
    let [first, second, third] = [0, 1, 2].map(|at| origins[at].address);
    let local = crate::harness::dedent(LOCAL);
    let file = |weight: u32, balance: &str| {
        let rest = format!(
            "
            upstreams:
              shop:
                balance: {balance}
                targets:
                  - {{addr: \"{first}\"}}
                  - {{addr: \"{second}\", weight: {weight}}}
                  - {{addr: \"{third}\"}}
            routes:
              - {{name: all, prefix: /, upstream: shop}}
            "
        );
        format!("{local}{}", crate::harness::dedent(&rest))
    };
    let gateway = Gateway::start(driver, &file(1, "round_robin"));
    let mut operator = Operator::of(&gateway);
    let place = |endpoint| format!("/upstreams/shop/endpoints/{endpoint}");
    operator.post(&place(first), r#"{"drain": true}"#).expect(200);
    operator.post(&place(second), r#"{"weight": 3}"#).expect(200);
    gateway.reload(&file(1, "least_requests"));
    gateway.reload(&file(1, "round_robin"));
    let mut client = gateway.client();
    let mut served = |count: usize| {
        let before = [0, 1, 2].map(|at| origins[at].count());
        (0..count).for_each(|_| drop(client.get("/").expect(200)));
        [0, 1, 2].map(|at| origins[at].count() - before[at])
    };
    assert_eq!(served(8), [0, 6, 2]);
    // Who writes another weight into the file means that one.
    gateway.reload(&file(7, "round_robin"));
    assert_eq!(served(8), [0, 7, 1]);
    let status = operator.get("/status").expect(200).json();
    let endpoints = &status["upstreams"][0]["endpoints"];
    assert_eq!(
        (&endpoints[0]["state"], &endpoints[1]["set_weight"]),
        (&"draining".into(), &().into())
    );
}

fn it_tells_the_last_errors(driver: Driver) {
    let gateway = Gateway::start(
        driver,
        &format!(
            "{}routes:\n  - {{name: dead, prefix: /, targets: [{{addr: \"{}\"}}]}}\n",
            crate::harness::dedent(LOCAL),
            crate::harness::refusing()
        ),
    );
    let mut operator = Operator::of(&gateway);
    assert_eq!(operator.get("/errors/recent").expect(200).json()["errors"], serde_json::json!([]));
    gateway.get("/lost?secret=swordfish").expect_error(502);
    let mut told = String::new();
    eventually("the error is told", || {
        told = operator.get("/errors/recent").expect(200).text();
        told.contains("/lost")
    });
    assert!(!told.contains("swordfish"), "{told}");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let error = &told["errors"][0];
    assert_eq!((&error["status"], &error["route"]), (&502.into(), &"dead".into()), "{error:#}");
    assert!(error["time"].as_f64().is_some_and(|time| time > 1.7e9), "{error:#}");
}

/// Requests under way while somebody scrapes a hundred times a second: none fails, and no worker
/// is held up by it.
fn a_scrape_every_10_ms_hurts_nobody(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = gateway(driver, &origin);
    let mut operator = Operator::of(&gateway);
    let mut client = gateway.client();
    let begun = Instant::now();
    let mut scrapes = 0;
    while scrapes < 100 {
        client.get("/").expect(200);
        if begun.elapsed().as_millis() >= 10 * scrapes {
            let scraped = operator.get("/metrics").expect(200);
            assert!(scraped.text().contains("ringway_"), "{}", scraped.text());
            scrapes += 1;
        }
    }
    let status = operator.get("/status").expect(200).json();
    let worker = &status["workers"][0];
    assert_eq!(worker["errors"], 0, "{worker:#}");
    assert!(worker["waits"].as_u64() > Some(0), "{worker:#}");
    assert!(worker["cpu_seconds"].as_f64() > Some(0.0), "{worker:#}");
}
