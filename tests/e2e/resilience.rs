//! What the gateway does when an upstream fails: it stops asking, asks another, or waits no longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{
    Deaf, Driver, Framing, Gateway, Origin, chunked, dedent, eventually, forward_route, ok,
    refusing, scenes,
};

scenes![
    five_failures_open_the_breaker_and_a_probe_closes_it,
    workers_share_one_breaker,
    a_share_of_failures_opens_the_breaker,
    a_client_that_leaves_gives_its_probe_back,
    a_client_that_dawdles_keeps_no_breaker_half_open,
    a_retry_goes_to_another_endpoint,
    an_error_status_is_retried_over_the_same_connections,
    retries_stop_at_their_number,
    retries_stop_at_the_budget,
    an_upstream_that_asks_for_time_is_given_it,
    a_time_that_is_too_long_is_left_to_the_client,
    what_may_not_be_sent_twice_is_not,
    what_was_not_sent_may_be_sent_again,
    a_breaker_counts_each_attempt_and_is_not_retried,
    a_fallback_answers_for_an_upstream_that_failed,
    a_fallback_answers_for_an_open_breaker,
    another_upstream_is_asked_after_the_retries,
    each_of_several_fallbacks_is_asked_once,
    a_body_is_sent_again_when_that_is_asked_for,
    a_body_that_is_too_long_is_not_sent_again,
    a_body_goes_on_where_the_attempt_before_left_it,
    a_kept_body_waits_for_the_word_to_come,
    another_service_says_who_may_pass,
    a_service_that_does_not_answer_lets_nobody_pass,
    a_refusal_is_one_however_long_it_is,
    an_attempt_has_its_own_time,
    an_attempt_that_has_no_time_to_connect_has_sent_nothing,
    an_exchange_that_takes_too_long_is_answered_504,
    an_upload_that_takes_too_long_is_answered_408,
    a_slow_client_opens_no_breaker,
    an_upstream_is_to_blame_for_its_own_time,
    the_time_of_an_attempt_begins_when_the_body_has_come,
    an_answer_that_takes_too_long_breaks_off,
    an_answer_that_nobody_takes_breaks_off,
    a_pause_does_not_outlast_the_exchange,
    a_filter_that_waits_does_not_outlast_the_exchange,
    what_is_in_time_leaves_no_deadline_behind,
];

const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno";

/// An origin that answers 200 while the switch is on and 503 while it is off.
fn switched() -> (Origin, Arc<AtomicBool>) {
    let on = Arc::new(AtomicBool::new(false));
    let switch = on.clone();
    let origin = Origin::script(move |connection| {
        while connection.request()?.is_some() {
            let good = switch.load(Ordering::SeqCst);
            connection.write(if good { ok("good") } else { UNAVAILABLE.to_owned() })?;
        }
        Ok(())
    });
    (origin, on)
}

fn five_failures_open_the_breaker_and_a_probe_closes_it(driver: Driver) {
    let (origin, on) = switched();
    let breaker = "
        filters:
          - circuit_breaker: {threshold: 5, timeout: 1s}
    ";
    let gateway = Gateway::forward_route(driver, &origin, breaker);
    let mut client = gateway.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").expect(503).text(), "no");
    }
    on.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        let refused = client.get("/").expect_error(503);
        assert_eq!(refused.field("retry-after"), Some("1"));
    }
    assert_eq!(origin.count(), 5, "the origin sees nothing while it is open");
    let mut client = gateway.client();
    eventually("the breaker closes", || client.get("/").status == 200);
    client.get("/").expect(200);
    // The probe fails: open again at once.
    on.store(false, Ordering::SeqCst);
    (0..5).for_each(|_| drop(client.get("/").expect(503)));
    let before = origin.count();
    eventually("the probe fails", || {
        client.get("/").expect(503);
        origin.count() == before + 1
    });
    client.get("/").expect_error(503);
    assert_eq!(origin.count(), before + 1);
}

fn workers_share_one_breaker(driver: Driver) {
    let (origin, on) = switched();
    let open = |timeout: &str| {
        let breaker = format!(
            "
        filters:
          - circuit_breaker: {{threshold: 6, timeout: {timeout}}}
        "
        );
        let yaml = format!("workers:\n  count: 2\n{}", forward_route(&origin, &breaker));
        let gateway = Gateway::start(driver, &yaml);
        // With `accept: balance` clients that stay are spread over both workers.
        let mut clients: Vec<_> = (0..8).map(|_| gateway.client()).collect();
        for client in &mut clients[..6] {
            assert_eq!(client.get("/").expect(503).text(), "no");
        }
        (gateway, clients)
    };
    let (_gateway, mut clients) = open("1d");
    clients.iter_mut().for_each(|client| drop(client.get("/").expect_error(503)));
    assert_eq!(origin.count(), 6);
    let (_gateway, mut clients) = open("1s");
    on.store(true, Ordering::SeqCst);
    eventually("the breaker closes", || clients[0].get("/").status == 200);
    clients.iter_mut().for_each(|client| drop(client.get("/").expect(200)));
}

fn a_share_of_failures_opens_the_breaker(driver: Driver) {
    let answered = AtomicUsize::new(0);
    let origin = Origin::script(move |connection| {
        while connection.request()?.is_some() {
            let good = answered.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
            connection.write(if good { ok("good") } else { UNAVAILABLE.to_owned() })?;
        }
        Ok(())
    });
    let breaker = "
        filters:
          - circuit_breaker: {error_ratio: 0.5, minimum_requests: 10, timeout: 1d}
    ";
    let gateway = Gateway::forward_route(driver, &origin, breaker);
    let mut client = gateway.client();
    for turn in 0..10 {
        client.get("/").expect(if turn % 2 == 0 { 200 } else { 503 });
    }
    client.get("/").expect_error(503);
    assert_eq!(origin.count(), 10);
}

/// The only probe waits for an answer when its client leaves; another must be let through.
fn a_client_that_leaves_gives_its_probe_back(driver: Driver) {
    let origin = Origin::script(move |connection| {
        while let Some(request) = connection.request()? {
            match request.target.as_str() {
                "/hang" => connection.await_end(),
                "/good" => connection.write(ok("good"))?,
                _ => connection.write(UNAVAILABLE)?,
            }
        }
        Ok(())
    });
    let settings = "
        timeouts: {first_byte: 1s}
        filters:
          - circuit_breaker: {threshold: 1, timeout: 300ms, failures: [503]}
    ";
    let gateway = Gateway::forward_route(driver, &origin, settings);
    let mut client = gateway.client();
    assert_eq!(client.get("/bad").expect(503).text(), "no");
    // A timeout is no failure here and no success either: the probe's place is free again.
    eventually("a probe is let through", || client.get("/hang").status == 504);
    assert_eq!(client.get("/good").expect(200).text(), "good");
}

/// The only probe is a request whose body does not come to its end.
fn a_client_that_dawdles_keeps_no_breaker_half_open(driver: Driver) {
    let (origin, on) = switched();
    let breaker = "filters: [{circuit_breaker: {threshold: 1, timeout: 300ms}}]";
    let gateway = Gateway::forward_route(driver, &origin, breaker);
    let mut client = gateway.client();
    assert_eq!(client.get("/").expect(503).text(), "no");
    on.store(true, Ordering::SeqCst);
    assert!(!client.dawdle(Duration::from_millis(400)));
    let mut slow = gateway.client();
    slow.request("POST", "/", &["Content-Length: 2"]).send("x");
    assert!(!slow.dawdle(Duration::from_millis(100)));
    eventually("another probe is let through", || client.get("/").status == 200);
    assert_eq!(slow.send("y").answer().expect(200).text(), "good");
}

/// A route to two origins, with further settings.
fn two(first: &Origin, second: &Origin, settings: &str) -> String {
    let route = forward_route(first, settings);
    let target = format!("      - addr: http://{}\n", second.address);
    route.replacen("    targets:\n", &format!("    targets:\n{target}"), 1)
}

fn a_retry_goes_to_another_endpoint(driver: Driver) {
    let bad = Origin::answering(UNAVAILABLE);
    let dead = Origin::script(|connection| connection.request().map(drop));
    let good = Origin::saying("good");
    let retry = "
        filters:
          - retry: {retry_on: [502, 503], max_retries: 1, budget: {percent: 100, minimum: 50}}
    ";
    for failing in [&bad, &dead] {
        let gateway = Gateway::start(driver, &two(failing, &good, retry));
        let mut client = gateway.client();
        for _ in 0..10 {
            assert_eq!(client.get("/").expect(200).text(), "good");
        }
        assert!(failing.count() >= 3, "half of the requests went there first");
    }
}

fn an_error_status_is_retried_over_the_same_connections(driver: Driver) {
    let bad = Origin::answering(UNAVAILABLE);
    let retry = "
        filters:
          - retry: {max_retries: 3, backoff: {base: 0s}, budget: {minimum: 100}}
    ";
    let gateway = Gateway::forward_route(driver, &bad, retry);
    assert_eq!(gateway.get("/").expect(503).text(), "no");
    assert_eq!((bad.count(), bad.connections()), (4, 1));
}

fn retries_stop_at_their_number(driver: Driver) {
    let dead = Origin::script(|connection| connection.request().map(drop));
    let retry = "
        filters:
          - retry: {max_retries: 3, backoff: {base: 1ms, max: 5ms}, budget: {minimum: 100}}
    ";
    let gateway = Gateway::forward_route(driver, &dead, retry);
    let mut client = gateway.client();
    client.get("/").expect_error(502);
    assert_eq!(dead.count(), 4);
    client.get("/").expect_error(502);
    assert_eq!(dead.count(), 8);
}

/// An origin that answers the first request with this `Retry-After`, and the others as asked.
fn busy(retry_after: &'static str) -> Origin {
    let answered = AtomicUsize::new(0);
    Origin::script(move |connection| {
        while connection.request()?.is_some() {
            let field = format!("Retry-After: {retry_after}\r\nContent-Length");
            let first = answered.fetch_add(1, Ordering::SeqCst) == 0;
            let busy = UNAVAILABLE.replace("Content-Length", &field);
            connection.write(if first { busy } else { ok("good") })?;
        }
        Ok(())
    })
}

fn an_upstream_that_asks_for_time_is_given_it(driver: Driver) {
    let origin = busy("1");
    let retry = "
        filters:
          - retry: {backoff: {base: 0s, max: 5s}, obey_retry_after: true}
    ";
    let gateway = Gateway::forward_route(driver, &origin, retry);
    let start = Instant::now();
    assert_eq!(gateway.get("/").expect(200).text(), "good");
    assert!(start.elapsed() >= Duration::from_secs(1), "after {:?}", start.elapsed());
    assert_eq!(origin.count(), 2);
}

fn a_time_that_is_too_long_is_left_to_the_client(driver: Driver) {
    for (retry_after, filters) in [
        // Longer than the longest pause, and longer than there is time.
        ("6", "retry: {obey_retry_after: true, backoff: {base: 0s, max: 5s}}"),
        ("Fri, 31 Dec 9999 23:59:59 GMT", "retry: {obey_retry_after: true}"),
        (
            "4",
            "timeout: {total: 3s}, retry: {obey_retry_after: true, backoff: {base: 0s, max: 5s}}",
        ),
    ] {
        let origin = busy(retry_after);
        let filters = filters.split(", retry").collect::<Vec<_>>().join("}, {retry");
        let route = format!("filters: [{{{filters}}}]");
        let gateway = Gateway::forward_route(driver, &origin, &route);
        let answer = gateway.get("/").expect(503);
        assert_eq!(
            (answer.text().as_str(), answer.field("retry-after")),
            ("no", Some(retry_after))
        );
        assert_eq!(origin.count(), 1);
    }
    let origin = busy("6");
    Gateway::forward_route(driver, &origin, "filters: [retry: {}]").get("/").expect(200);
}

fn retries_stop_at_the_budget(driver: Driver) {
    let bad = Origin::answering(UNAVAILABLE);
    let retry = "
        filters:
          - retry: {max_retries: 1, backoff: {base: 0s}, budget: {percent: 20, minimum: 4}}
    ";
    let gateway = Gateway::forward_route(driver, &bad, retry);
    let mut client = gateway.client();
    (0..20).for_each(|_| drop(client.get("/").expect(503)));
    assert_eq!(bad.count(), 24, "twenty requests and four retries");
    (0..20).for_each(|_| drop(client.get("/").expect(503)));
    assert_eq!(bad.count(), 48, "a fifth of forty");
}

fn what_may_not_be_sent_twice_is_not(driver: Driver) {
    let bad = Origin::answering(UNAVAILABLE);
    let retry = "
        filters:
          - retry: {backoff: {base: 0s}}
    ";
    let gateway = Gateway::forward_route(driver, &bad, retry);
    gateway.client().post("/", b"hello").expect(503);
    gateway.client().request("PATCH", "/", &[]).answer().expect(503);
    assert_eq!(bad.count(), 2);
    gateway.client().request("PUT", "/", &["Content-Length: 2"]).send("hi").answer().expect(503);
    assert_eq!(bad.count(), 5);
    assert!(bad.requests()[2..].iter().all(|request| request.body == b"hi"));
}

fn what_was_not_sent_may_be_sent_again(driver: Driver) {
    let address = refusing();
    let retry = format!(
        "
        routes:
          - name: all
            prefix: /
            targets:
              - addr: http://{address}
            filters:
              - retry:
                  retry_on: [connect_failure]
                  max_retries: 10
                  backoff: {{base: 1s, max: 10s}}
        "
    );
    let gateway = Gateway::start(driver, &retry);
    let mut client = gateway.client();
    client.post_begun("/", b"hello");
    assert!(!client.dawdle(Duration::from_millis(100)), "the gateway tries again");
    let late = Origin::script_at(address, |connection| {
        connection.request()?;
        connection.write(ok("late"))
    });
    assert_eq!(client.answer().expect(200).text(), "late");
    assert_eq!(late.request().body, b"hello");
}

fn a_breaker_counts_each_attempt_and_is_not_retried(driver: Driver) {
    let bad = Origin::answering(UNAVAILABLE);
    let filters = "
        filters:
          - retry: {max_retries: 10, backoff: {base: 0s}, budget: {minimum: 100}}
          - circuit_breaker: {threshold: 4, timeout: 1d}
    ";
    let yaml = dedent(&forward_route(&bad, filters));
    let gateway = Gateway::start(driver, &yaml);
    gateway.get("/").expect_error(503);
    gateway.get("/").expect_error(503);
    assert_eq!(bad.count(), 4);
}

fn a_fallback_answers_for_an_upstream_that_failed(driver: Driver) {
    let dead = Origin::script(|connection| connection.request().map(drop));
    let fallback = "
        filters:
          - fallback:
              respond:
                status: 200
                headers: {X-Stale: \"yes\"}
                body: from the cupboard
    ";
    let gateway = Gateway::forward_route(driver, &dead, fallback);
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.get("/").expect(200);
        let told = (answer.text(), answer.field("x-stale"));
        assert_eq!(told, ("from the cupboard".to_owned(), Some("yes")));
    }
    client.post("/", b"hello").expect(200);
    // An answer of the upstream's own is not asked for here.
    let bad = Origin::answering(UNAVAILABLE);
    let gateway = Gateway::forward_route(driver, &bad, fallback);
    assert_eq!(gateway.get("/").expect(503).text(), "no");
}

fn a_fallback_answers_for_an_open_breaker(driver: Driver) {
    let bad = Origin::answering(UNAVAILABLE);
    for filters in [
        ["circuit_breaker: {threshold: 1}", "fallback: {respond: {status: 299}}"],
        ["fallback: {respond: {status: 299}}", "circuit_breaker: {threshold: 1}"],
    ] {
        let filters = format!("filters:\n  - {}\n  - {}\n", filters[0], filters[1]);
        let gateway = Gateway::forward_route(driver, &bad, &filters);
        let mut client = gateway.client();
        client.get("/").expect(503);
        client.get("/").expect(299);
        client.get("/").expect(299);
    }
    assert_eq!(bad.count(), 2);
}

fn another_upstream_is_asked_after_the_retries(driver: Driver) {
    let (bad, backup) = (Origin::answering(UNAVAILABLE), Origin::echo());
    for order in [[0, 1], [1, 0]] {
        let filters = [
            "  - fallback: {on: [5xx], upstream: backup}\n",
            "  - retry: {max_retries: 2, methods: [POST], backoff: {base: 0s}}\n",
        ];
        let filters = format!("filters:\n{}{}", filters[order[0]], filters[order[1]]);
        let upstreams = format!(
            "upstreams:\n  backup:\n    targets:\n      - addr: http://{}\n",
            backup.address
        );
        let yaml = format!("{upstreams}{}", forward_route(&bad, &filters));
        let gateway = Gateway::start(driver, &yaml);
        let mut client = gateway.client();
        for _ in 0..2 {
            // All of it at once: what has come with the head can always be sent again.
            let post = "POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
            let answer = client.send(post).answer().expect(200).json();
            assert_eq!((&answer["body"], &answer["target"]), (&"hello".into(), &"/a?b".into()));
        }
    }
    assert_eq!((bad.count(), backup.count()), (12, 4));
    assert!(bad.requests().iter().all(|request| request.body == b"hello"));
}

fn each_of_several_fallbacks_is_asked_once(driver: Driver) {
    let bad = Origin::answering(UNAVAILABLE);
    let target = format!("targets:\n      - addr: http://{}\n", bad.address);
    let upstreams = format!("upstreams:\n  b:\n    {target}  c:\n    {target}");
    let filters = "
        filters:
          - fallback: {on: [503], upstream: b}
          - fallback: {on: [503], upstream: c}
    ";
    let gateway = Gateway::start(driver, &format!("{upstreams}{}", forward_route(&bad, filters)));
    assert_eq!(gateway.get("/").expect(503).text(), "no");
    assert_eq!(bad.count(), 3);
}

const REPLAY: &str = "
    filters:
      - retry: {methods: [POST], max_retries: 2, backoff: {base: 0s}, max_body: 200000B}
";

/// An origin that fails twice and then tells what it received.
fn failing_twice() -> Origin {
    let failed = AtomicUsize::new(0);
    Origin::script(move |connection| {
        while let Some(request) = connection.request()? {
            match failed.fetch_add(1, Ordering::SeqCst) {
                0 => connection.write(UNAVAILABLE)?,
                1 => return Ok(()),
                _ => connection.write(ok(&request.body.len().to_string()))?,
            }
        }
        Ok(())
    })
}

fn a_body_is_sent_again_when_that_is_asked_for(driver: Driver) {
    let long = "0123456789abcdef".repeat(10_000);
    let fixed =
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{long}", long.len());
    let in_chunks = chunked("/", &[&long[..70_000], &long[70_000..]], &["X-Sum: 1"]);
    for text in [fixed, in_chunks] {
        let origin = failing_twice();
        let gateway = Gateway::forward_route(driver, &origin, REPLAY);
        let mut client = gateway.client();
        assert_eq!(client.send(&text).answer().expect(200).text(), "160000");
        let requests = origin.requests();
        assert_eq!(requests.len(), 3);
        assert!(requests.iter().all(|request| request.body == long.as_bytes()));
        assert!(requests.iter().all(|request| request.trailers == requests[0].trailers));
        // The connection goes on behind the body.
        assert_eq!(client.send(&text).answer().expect(200).text(), "160000");
    }
}

fn a_body_that_is_too_long_is_not_sent_again(driver: Driver) {
    let long = "x".repeat(300_000);
    for too_long in [200_001, 300_000] {
        let origin = failing_twice();
        let gateway = Gateway::forward_route(driver, &origin, REPLAY);
        gateway.client().send(chunked("/", &[&long[..too_long]], &[])).answer().expect(503);
        assert_eq!(origin.count(), 1);
    }
    // Nor is one that nobody has asked for.
    let origin = failing_twice();
    let gateway = Gateway::forward_route(driver, &origin, "filters: [{retry: {max_retries: 2}}]");
    let mut client = gateway.client();
    client.request("POST", "/", &["Content-Length: 300000"]).send(&long).answer().expect(503);
    assert_eq!(origin.count(), 1);
}

/// The first origin breaks off in the middle of the body, while the client still waits to send.
fn a_body_goes_on_where_the_attempt_before_left_it(driver: Driver) {
    let broken = Arc::new(AtomicBool::new(false));
    let breaks = broken.clone();
    let origin = Origin::script(move |connection| {
        if !breaks.swap(true, Ordering::SeqCst) {
            connection.head()?;
            connection.wire.exactly(50_000)?;
            return Ok(());
        }
        let Some(request) = connection.request()? else { return Ok(()) };
        connection.write(ok(&String::from_utf8_lossy(&request.body[99_990..])))
    });
    let gateway = Gateway::forward_route(driver, &origin, REPLAY);
    let mut client = gateway.client();
    client.request("POST", "/", &["Content-Length: 100000"]).send("a".repeat(60_000));
    origin.await_connections(2);
    client.send("b".repeat(40_000));
    assert_eq!(client.answer().expect(200).text(), "bbbbbbbbbb");
}

fn a_kept_body_waits_for_the_word_to_come(driver: Driver) {
    let failed = AtomicBool::new(false);
    let origin = Origin::script(move |connection| {
        while let Some(head) = connection.head()? {
            if !failed.swap(true, Ordering::SeqCst) {
                return connection.write(UNAVAILABLE);
            }
            connection.write("HTTP/1.1 100 Continue\r\n\r\n")?;
            let request = connection.wire.rest_of_request(head, Framing::Length(5))?;
            connection.write(ok(&String::from_utf8_lossy(&request.body)))?;
        }
        Ok(())
    });
    let gateway = Gateway::forward_route(driver, &origin, REPLAY);
    let mut client = gateway.client();
    client.request("POST", "/", &["Content-Length: 5", "Expect: 100-continue"]);
    assert!(client.head().line.contains("100"), "of the second attempt");
    assert_eq!(client.send("hello").answer().expect(200).text(), "hello");
}

/// A route to `origin` that asks `auth` first.
fn guarded(origin: &Origin, auth: std::net::SocketAddr, more: &str) -> String {
    let filters = format!(
        "filters:\n  - forward_auth:\n      upstream: auth\n      path: /verify?a=b\n      \
         response_headers: [X-User]\n      timeout: 500ms\n      {more}\n"
    );
    let upstreams = format!("upstreams:\n  auth:\n    targets:\n      - addr: http://{auth}\n");
    format!("{upstreams}{}", forward_route(origin, &filters))
}

fn another_service_says_who_may_pass(driver: Driver) {
    let origin = Origin::echo();
    let auth = Origin::script(|connection| {
        while let Some(request) = connection.request()? {
            connection.write(match request.head.field("authorization") {
                Some("ann") => "HTTP/1.1 204 No Content\r\nX-User: ann\r\n\r\n",
                Some("bob") => {
                    "HTTP/1.1 302 Found\r\nLocation: /login\r\nSet-Cookie: a=b\r\n\
                     Set-Cookie: c=d\r\nX-Secret: s\r\nContent-Length: 0\r\n\r\n"
                }
                _ => {
                    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n\
                     Transfer-Encoding: chunked\r\n\r\n3\r\nwho\r\n1\r\n?\r\n0\r\n\r\n"
                }
            })?;
        }
        Ok(())
    });
    let gateway = Gateway::start(driver, &guarded(&origin, auth.address, ""));
    let mut client = gateway.client();
    for turn in 0..3 {
        let sent = ["Authorization: ann", "X-User: evil", "X_User: evil", "X-Other: o"];
        client.get_with("/a?b", &sent).expect(200);
        assert_eq!(origin.requests()[turn].head.all("x-user"), ["ann"]);
        assert_eq!(origin.requests()[turn].head.all("x_user"), [""; 0]);
        let refused = client.get("/").expect(401);
        assert_eq!(
            (refused.text().as_str(), refused.field("www-authenticate")),
            ("who?", Some("Bearer"))
        );
        let elsewhere = client.get_with("/", &["Authorization: bob"]).expect(302);
        assert_eq!(elsewhere.field("location"), Some("/login"));
        assert_eq!(elsewhere.head.all("set-cookie"), ["a=b", "c=d"]);
        assert_eq!(elsewhere.field("x-secret"), None);
    }
    let asked = &auth.requests()[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/verify?a=b"));
    assert_eq!(asked.field("x-forwarded-uri"), Some("/a?b"));
    assert_eq!(asked.field("x-other"), None);
    assert_eq!((auth.connections(), auth.count(), origin.count()), (1, 9, 3));
}

fn a_service_that_does_not_answer_lets_nobody_pass(driver: Driver) {
    let (origin, silent) = (Origin::echo(), silent());
    let long = Origin::answering(ok(&"x".repeat(100_000)));
    for auth in [refusing(), silent.address, long.address] {
        let gateway = Gateway::start(driver, &guarded(&origin, auth, ""));
        gateway.client().post("/", b"hello").expect_error(503);
    }
    assert_eq!(origin.connections(), 0);
    let gateway = Gateway::start(driver, &guarded(&origin, silent.address, "fail_open: true"));
    gateway.client().get_with("/", &["X-User: evil"]).expect(200);
    assert_eq!(origin.request().field("x-user"), None);
}

fn a_refusal_is_one_however_long_it_is(driver: Driver) {
    let origin = Origin::echo();
    let head = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n";
    let long = format!("{head}Content-Length: 100000\r\n\r\n{}", "x".repeat(100_000));
    let broken = format!("{head}Content-Length: 10\r\nConnection: close\r\n\r\nx");
    for answer in [long, broken] {
        let auth = Origin::answering(answer);
        let gateway = Gateway::start(driver, &guarded(&origin, auth.address, "fail_open: true"));
        let refused = gateway.client().get("/").expect(401);
        assert_eq!(refused.field("www-authenticate"), Some("Bearer"));
        assert_eq!(refused.text(), "");
    }
    assert_eq!(origin.connections(), 0);
}

/// An origin that takes requests and never answers.
fn silent() -> Origin {
    Origin::script(|connection| {
        if connection.request()?.is_some() {
            connection.await_end();
        }
        Ok(())
    })
}

fn an_attempt_has_its_own_time(driver: Driver) {
    let (silent, good) = (silent(), Origin::saying("good"));
    let retry = "
        filters:
          - retry:
              retry_on: [timeout]
              max_retries: 1
              per_try_timeout: 300ms
              budget: {minimum: 50}
    ";
    let gateway = Gateway::start(driver, &two(&silent, &good, retry));
    let mut client = gateway.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").expect(200).text(), "good");
    }
    assert_eq!(silent.count(), 2, "every other one went there first");
    let gateway = Gateway::forward_route(driver, &silent, retry);
    gateway.get("/").expect_error(504);
    gateway.await_log(&["try_timeout"]);
    assert_eq!(silent.count(), 4);
}

/// So another endpoint is asked, whatever the method.
fn an_attempt_that_has_no_time_to_connect_has_sent_nothing(driver: Driver) {
    let (deaf, good) = (Deaf::new(), Origin::saying("good"));
    let retry = "
        filters:
          - retry: {per_try_timeout: 300ms}
    ";
    let route = forward_route(&good, retry);
    let target = format!("    targets:\n      - addr: http://{}\n", deaf.address);
    let gateway = Gateway::start(driver, &route.replacen("    targets:\n", &target, 1));
    let mut client = gateway.client();
    for _ in 0..4 {
        assert_eq!(client.post("/", b"hello").expect(200).text(), "good");
    }
}

const TOTAL: &str = "
    filters:
      - timeout: {total: 500ms}
";

fn an_exchange_that_takes_too_long_is_answered_504(driver: Driver) {
    let origin = silent();
    let gateway = Gateway::forward_route(driver, &origin, TOTAL);
    let mut client = gateway.client();
    let sent = Instant::now();
    client.get("/").expect_error(504);
    assert!(sent.elapsed() >= Duration::from_millis(500), "after {:?}", sent.elapsed());
    gateway.await_log(&["code=\"timeout\""]);
    origin.await_ended(1);
    // The request was whole, so the connection takes another one.
    client.get("/").expect_error(504);
}

fn an_upload_that_takes_too_long_is_answered_408(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward_route(driver, &origin, TOTAL);
    let mut client = gateway.client();
    let sent = Instant::now();
    client.request("POST", "/", &["Content-Length: 100"]);
    // Each byte is in time; all of them together are not.
    let drops = (0..50).find(|_| client.send(b"x").wire.listen(Duration::from_millis(50)).0 > 0);
    let took = sent.elapsed();
    assert!(drops.is_some() && took >= Duration::from_millis(500), "{drops:?} drops in {took:?}");
    client.answer().expect_error(408);
    client.expect_end();
    origin.await_ended(1);
    assert_eq!(origin.count(), 0, "half a request is no request");
}

/// Or a few of them could have the upstream taken from everybody else.
fn a_slow_client_opens_no_breaker(driver: Driver) {
    let origin = Origin::echo();
    let filters = "
        filters:
          - timeout: {total: 500ms}
          - retry: {methods: [POST], retry_on: [5xx, timeout], per_try_timeout: 200ms}
          - circuit_breaker: {threshold: 1, timeout: 1d, failures: [5xx, timeout, reset]}
    ";
    let gateway = Gateway::forward_route(driver, &origin, filters);
    // More than is kept, and less: the body goes up in two ways.
    for length in ["100", "1000000"] {
        let mut client = gateway.client();
        client.request("POST", "/", &[&format!("Content-Length: {length}")]).send("x");
        client.answer().expect_error(408);
    }
    gateway.get("/").expect(200);
    assert_eq!((origin.count(), origin.connections()), (1, 3), "nothing was sent again");
}

/// Neither does one that leaves the upstream less time than it needs; but an upstream that had it
/// all and did not answer is to blame.
fn an_upstream_is_to_blame_for_its_own_time(driver: Driver) {
    let origin = silent();
    let filters = "
        filters:
          - timeout: {total: 1s}
          - circuit_breaker: {threshold: 1, timeout: 1d}
    ";
    let gateway = Gateway::forward_route(driver, &origin, filters);
    let mut client = gateway.client();
    client.request("POST", "/", &["Content-Length: 2"]).send("x");
    assert!(!client.dawdle(Duration::from_millis(400)));
    client.send("y").answer().expect_error(504);
    gateway.get("/").expect_error(504);
    gateway.get("/").expect_error(503);
    assert_eq!(origin.count(), 2);
}

fn the_time_of_an_attempt_begins_when_the_body_has_come(driver: Driver) {
    let silent = AtomicBool::new(false);
    let origin = Origin::script(move |connection| {
        while let Some(request) = connection.request()? {
            if silent.swap(true, Ordering::SeqCst) {
                connection.await_end();
                return Ok(());
            }
            connection.write(ok(&request.body.len().to_string()))?;
        }
        Ok(())
    });
    let retry = "
        filters:
          - retry: {per_try_timeout: 200ms, retry_on: [502]}
    ";
    let gateway = Gateway::forward_route(driver, &origin, retry);
    for expected in [200, 504] {
        let mut client = gateway.client();
        client.request("PUT", "/", &["Content-Length: 2"]).send("x");
        assert!(!client.dawdle(Duration::from_millis(800)), "the client may take its time");
        client.send("y").answer().expect(expected);
    }
    gateway.await_log(&["try_timeout"]);
}

/// Bytes that go on coming are no reason to go on for ever.
fn an_answer_that_takes_too_long_breaks_off(driver: Driver) {
    let origin = Origin::script(|connection| {
        let Some(request) = connection.request()? else { return Ok(()) };
        let framing = match request.target.as_str() {
            "/length" => "Content-Length: 1000000000\r\n",
            _ => "Transfer-Encoding: chunked\r\n",
        };
        connection.write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n"))?;
        let (chunk, length) = (b"400\r\n".as_slice(), request.target == "/length");
        loop {
            connection.write(if length { b"" } else { chunk })?;
            connection.write([b'x'; 1024])?;
            connection.write(if length { b"".as_slice() } else { b"\r\n" })?;
        }
    });
    let gateway = Gateway::forward_route(driver, &origin, TOTAL);
    for target in ["/length", "/chunked"] {
        let mut client = gateway.client();
        client.request("GET", target, &[]);
        assert!(client.head().line.contains("200"));
        let broken = client.until_end();
        assert!(!broken.ends_with("0\r\n\r\n"), "{target} ended as if it were whole");
    }
    // A body that only the end of the connection ends: the end has to be a reset.
    let mut client = gateway.client();
    client.send("GET /chunked HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(client.head().line.contains("200"));
    let fault = client.wire.until_close().map(|all| all.len()).expect_err("an orderly end");
    assert_eq!(fault.kind(), std::io::ErrorKind::ConnectionReset);
    origin.await_ended(3);
}

fn an_answer_that_nobody_takes_breaks_off(driver: Driver) {
    let body = vec![b'x'; 64 << 20];
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    answer.push_str(std::str::from_utf8(&body).unwrap());
    let origin = Origin::answering(answer);
    let gateway = Gateway::forward_route(driver, &origin, TOTAL);
    let mut client = gateway.client();
    client.request("GET", "/", &[]);
    origin.await_ended(1);
    assert!(client.until_end().len() < body.len());
}

fn a_pause_does_not_outlast_the_exchange(driver: Driver) {
    let bad = Origin::answering(UNAVAILABLE);
    let filters = "
        filters:
          - timeout: {total: 300ms}
          - retry: {max_retries: 10, backoff: {base: 1m, max: 1m}, budget: {minimum: 100}}
    ";
    let gateway = Gateway::forward_route(driver, &bad, filters);
    // There is no time for another attempt, so the answer of the first is as good as any.
    assert_eq!(gateway.get("/").expect(503).text(), "no");
}

fn a_filter_that_waits_does_not_outlast_the_exchange(driver: Driver) {
    let origin = Origin::echo();
    let filters = "
        filters:
          - timeout: {total: 300ms}
          - fault: {delay: {time: 1h}}
    ";
    let gateway = Gateway::forward_route(driver, &origin, filters);
    let mut client = gateway.client();
    client.get("/").expect_error(504);
    client.post("/", b"hello").expect_error(504);
    assert_eq!(origin.connections(), 0);
}

/// Both connections are used again, long after the deadline of their first exchange.
fn what_is_in_time_leaves_no_deadline_behind(driver: Driver) {
    let origin = Origin::echo();
    let gateway = Gateway::forward_route(driver, &origin, TOTAL);
    let mut client = gateway.client();
    for _ in 0..8 {
        client.post("/", b"hello").expect(200);
        assert!(!client.dawdle(Duration::from_millis(200)));
    }
    assert_eq!((origin.connections(), origin.count()), (1, 8));
}
