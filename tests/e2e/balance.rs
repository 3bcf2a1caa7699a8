//! Balance: which endpoint a request goes to, and what happens when that one is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::harness::{
    Client, Deaf, Driver, Gate, Gateway, Origin, eventually, ok, refusing, scenes,
};

scenes![
    round_robin_keeps_the_weights,
    random_keeps_the_weights_roughly,
    least_requests_avoids_the_busy,
    a_hash_of_the_client_sticks,
    a_hash_of_a_header_sticks,
    a_hash_of_a_cookie_sticks,
    a_hash_of_the_path_sticks,
    a_refusing_endpoint_is_passed_over,
    a_refusing_endpoint_is_tried_again,
    a_deaf_endpoint_is_passed_over,
    a_weight_of_zero_takes_nothing,
    a_name_is_resolved,
    a_split_follows_weights,
    a_split_follows_a_header_or_cookie,
];

/// A gateway with one route over these endpoints with these weights.
fn over(driver: Driver, endpoints: &[(SocketAddr, u32)], balance: &str) -> Gateway {
    let targets: String = endpoints
        .iter()
        .map(|(address, weight)| {
            format!("      - addr: http://{address}\n        weight: {weight}\n")
        })
        .collect();
    let routes = format!("routes:\n  - name: all\n    prefix: /\n    targets:\n{targets}");
    Gateway::start(driver, &format!("{routes}    balance: {balance}\n"))
}

/// How often each origin answered.
fn count(answers: impl Iterator<Item = String>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer).or_default() += 1;
    }
    counts
}

fn ask(client: &mut Client, target: &str, fields: &[&str]) -> String {
    client.get_with(target, fields).expect(200).text()
}

fn round_robin_keeps_the_weights(driver: Driver) {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let gateway = over(driver, &[(a.address, 3), (b.address, 1)], "round_robin");
    let mut client = gateway.client();
    let order: String = (0..40).map(|_| ask(&mut client, "/", &[])).collect();
    assert_eq!(order.matches('a').count(), 30, "{order}");
    // Smooth: never all of one and then all of the other.
    assert!(!order.contains("bb") && !order.contains("aaaaaaa"), "{order}");
}

fn random_keeps_the_weights_roughly(driver: Driver) {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let gateway = over(driver, &[(a.address, 3), (b.address, 1)], "random");
    let mut client = gateway.client();
    let counts = count((0..400).map(|_| ask(&mut client, "/", &[])));
    // Six standard deviations of 400 draws at 3/4 are 52.
    assert!((248..=352).contains(&counts["a"]), "{counts:?}");
}

fn least_requests_avoids_the_busy(driver: Driver) {
    let gate = Gate::default();
    let pass = gate.clone();
    let slow = Origin::script(move |connection| {
        while connection.request()?.is_some() {
            pass.pass()?;
            connection.write(ok("slow"))?;
        }
        Ok(())
    });
    let quick = Origin::saying("quick");
    let endpoints = [(slow.address, 1), (quick.address, 1)];
    let gateway = over(driver, &endpoints, "least_requests");
    // Until one request hangs at the slow one; those before it are over by then.
    let mut hanging = gateway.client();
    hanging.request("GET", "/", &[]);
    eventually("a request at one of the two", || slow.count() + quick.count() == 1);
    while slow.count() == 0 {
        hanging.answer().expect(200);
        let before = quick.count();
        hanging.request("GET", "/", &[]);
        eventually("a request at one of the two", || slow.count() + quick.count() > before);
    }
    let mut client = gateway.client();
    for _ in 0..50 {
        assert_eq!(ask(&mut client, "/", &[]), "quick");
    }
    assert_eq!(slow.count(), 1);
    gate.open();
    assert_eq!(hanging.answer().expect(200).text(), "slow");
}

/// A key always meets the same origin, and several keys meet several.
#[track_caller]
fn sticks(driver: Driver, by: &str, ask: impl Fn(&Gateway, u8) -> String) {
    let origins: Vec<Origin> = ["a", "b", "c", "d"].into_iter().map(Origin::saying).collect();
    let endpoints: Vec<(SocketAddr, u32)> =
        origins.iter().map(|origin| (origin.address, 1)).collect();
    let gateway = over(driver, &endpoints, &format!("{{consistent_hash: {{by: {by}}}}}"));
    let mut met = BTreeSet::new();
    for key in 2..32 {
        let first = ask(&gateway, key);
        for _ in 0..3 {
            assert_eq!(ask(&gateway, key), first, "key {key}");
        }
        met.insert(first);
    }
    assert!(met.len() >= 3, "only {met:?} of four were met by 30 keys");
}

fn a_hash_of_the_client_sticks(driver: Driver) {
    sticks(driver, "client_ip", |gateway, key| {
        ask(&mut gateway.client_from([127, 0, 0, key]), "/", &[])
    });
}

fn a_hash_of_a_header_sticks(driver: Driver) {
    sticks(driver, "{header: X-User}", |gateway, key| {
        ask(&mut gateway.client(), "/", &[&format!("x-user: user-{key}")])
    });
}

fn a_hash_of_a_cookie_sticks(driver: Driver) {
    sticks(driver, "{cookie: session}", |gateway, key| {
        ask(&mut gateway.client(), "/", &[&format!("Cookie: a=b; session={key}; c=d")])
    });
}

fn a_hash_of_the_path_sticks(driver: Driver) {
    sticks(driver, "path", |gateway, key| {
        ask(&mut gateway.client(), &format!("/item/{key}?ignored={key}"), &[])
    });
}

fn a_refusing_endpoint_is_passed_over(driver: Driver) {
    let origin = Origin::saying("here");
    let gateway = over(driver, &[(refusing(), 3), (origin.address, 1)], "round_robin");
    let mut client = gateway.client();
    for _ in 0..20 {
        assert_eq!(ask(&mut client, "/", &[]), "here");
        // Nothing was sent yet when the connection was refused, so this may be repeated too.
        client.post("/", b"hello").expect(200);
    }
}

fn a_refusing_endpoint_is_tried_again(driver: Driver) {
    let (origin, late) = (Origin::saying("here"), refusing());
    let gateway = over(driver, &[(origin.address, 1), (late, 1)], "round_robin");
    let mut client = gateway.client();
    for _ in 0..10 {
        assert_eq!(ask(&mut client, "/", &[]), "here");
    }
    let _late = Origin::script_at(late, |connection| {
        while connection.request()?.is_some() {
            connection.write(ok("late"))?;
        }
        Ok(())
    });
    eventually("the late origin is asked", || ask(&mut client, "/", &[]) == "late");
}

fn a_deaf_endpoint_is_passed_over(driver: Driver) {
    let (deaf, origin) = (Deaf::new(), Origin::saying("here"));
    let routes = format!(
        "
        routes:
          - name: all
            prefix: /
            targets:
              - addr: http://{}
              - addr: http://{}
            timeouts:
              connect: 300ms
        ",
        deaf.address, origin.address
    );
    let gateway = Gateway::start(driver, &routes);
    let mut client = gateway.client();
    for _ in 0..5 {
        assert_eq!(ask(&mut client, "/", &[]), "here");
    }
}

fn a_weight_of_zero_takes_nothing(driver: Driver) {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let gateway = over(driver, &[(a.address, 0), (b.address, 1)], "round_robin");
    let mut client = gateway.client();
    for _ in 0..10 {
        assert_eq!(ask(&mut client, "/", &[]), "b");
    }
}

/// The name stands for the IPv6 loopback too, where nobody listens.
fn a_name_is_resolved(driver: Driver) {
    let origin = Origin::saying("here");
    let routes = format!(
        "
        routes:
          - name: all
            prefix: /
            targets:
              - addr: http://localhost:{}
        ",
        origin.address.port()
    );
    let gateway = Gateway::start(driver, &routes);
    let mut client = gateway.client();
    for _ in 0..5 {
        assert_eq!(ask(&mut client, "/", &[]), "here");
    }
}

/// Three of four go to `stable`, the rest to `canary`; `arms` has what claims a request.
fn split(driver: Driver, stable: &Origin, canary: &Origin, claim: &str) -> Gateway {
    Gateway::start(
        driver,
        &format!(
            "
            upstreams:
              stable:
                targets:
                  - addr: http://{}
              canary:
                targets:
                  - addr: http://{}
            routes:
              - name: all
                prefix: /
                split:
                  - upstream: stable
                    weight: 3
                  - upstream: canary
                    {claim}
            ",
            stable.address, canary.address
        ),
    )
}

fn a_split_follows_weights(driver: Driver) {
    let (stable, canary) = (Origin::saying("stable"), Origin::saying("canary"));
    let gateway = split(driver, &stable, &canary, "weight: 1");
    let mut client = gateway.client();
    let counts = count((0..400).map(|_| ask(&mut client, "/", &[])));
    assert!((248..=352).contains(&counts["stable"]), "{counts:?}");
}

fn a_split_follows_a_header_or_cookie(driver: Driver) {
    let (stable, canary) = (Origin::saying("stable"), Origin::saying("canary"));
    for (claim, sent) in [
        ("header: {X-Env: canary}", "x-env: canary"),
        ("cookie: {env: canary}", "Cookie: a=b; env=canary"),
    ] {
        let gateway = split(driver, &stable, &canary, &format!("weight: 0\n{:20}{claim}", ""));
        let mut client = gateway.client();
        for _ in 0..10 {
            assert_eq!(ask(&mut client, "/", &[sent]), "canary", "{sent}");
            assert_eq!(ask(&mut client, "/", &[]), "stable");
            assert_eq!(ask(&mut client, "/", &[&sent.replace("canary", "other")]), "stable");
        }
    }
}
