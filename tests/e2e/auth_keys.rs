//! Keys that change: a JWK set behind a URL, files, and tokens that are revoked.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use crate::auth::{SECRET, seconds, sign, signed};
use crate::harness::{
    Client, Driver, Gate, Gateway, Origin, eventually, forward_route, ok, refusing, scenes,
};

scenes![
    a_set_is_fetched_again_for_a_new_key_and_outlives_an_outage,
    only_the_algorithms_that_are_named_are_taken,
    many_who_bring_a_new_key_wait_for_one_fetch,
    slow_servers_of_keys_hold_no_passwords_up,
    a_set_outlives_a_reload_in_an_outage,
    without_any_key_there_is_a_better_time,
    a_revoked_token_is_refused_though_it_is_remembered,
    a_key_file_is_read_again,
];

/// A key pair with an id.
pub(crate) struct Pair {
    id: &'static str,
    key: EncodingKey,
}

impl Pair {
    pub(crate) fn new(id: &'static str) -> Pair {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Pair { id, key: EncodingKey::from_ec_der(document.as_ref()) }
    }

    /// The set with the public half.
    pub(crate) fn set(&self) -> String {
        let mut public = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        public.common.key_id = Some(self.id.to_owned());
        json!({ "keys": [public] }).to_string()
    }

    pub(crate) fn token(&self) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(Algorithm::ES256) };
        sign(&header, &json!({"sub": "alice", "exp": seconds(60)}), &self.key)
    }
}

/// A server whose set can be changed.
fn server(set: &Arc<Mutex<String>>) -> Origin {
    let set = set.clone();
    Origin::script(move |connection| {
        while connection.request()?.is_some() {
            let text = set.lock().unwrap().clone();
            connection.write(ok(&text))?;
        }
        Ok(())
    })
}

/// A server that gives the first set at once, and the second whenever the gate is opened.
fn slow_server(sets: [String; 2], gate: &Gate) -> Origin {
    let (gate, served) = (gate.clone(), Mutex::new(0));
    Origin::script(move |connection| {
        while connection.request()?.is_some() {
            let number = {
                let mut served = served.lock().unwrap();
                *served += 1;
                *served
            };
            if number > 1 {
                gate.pass()?;
            }
            connection.write(ok(&sets[(number - 1).min(1)]))?;
        }
        Ok(())
    })
}

fn gateway(driver: Driver, origin: &Origin, url: &str) -> Gateway {
    let auth = format!(
        "
        filters:
          - auth:
              type: jwt
              jwks_url: http://{url}/keys?a=b
              jwks_refresh_every: 1d
              jwks_cooldown: 1ms
        "
    );
    let everything = ("RINGWAY_LOG", Path::new("trace"));
    Gateway::start_with_env(driver, &forward_route(origin, &auth), everything)
}

fn status(client: &mut Client, token: &str) -> u16 {
    client.request("GET", "/", &[token]).answer().status
}

fn a_set_is_fetched_again_for_a_new_key_and_outlives_an_outage(driver: Driver) {
    let (first, second, other) = (Pair::new("first"), Pair::new("second"), Pair::new("first"));
    let set = Arc::new(Mutex::new(first.set()));
    let server = server(&set);
    let origin = Origin::saying("hi");
    let gateway = gateway(driver, &origin, &server.address.to_string());
    let mut client = gateway.client();

    // It may be that nothing has been fetched yet: then the request waits for it.
    assert_eq!(status(&mut client, &first.token()), 200);
    assert_eq!(status(&mut client, &other.token()), 401, "the same id is not the same key");
    let fetched = server.count();
    assert_eq!(server.requests()[0].target, "/keys?a=b");

    *set.lock().unwrap() = second.set();
    assert_eq!(status(&mut client, &first.token()), 200, "nobody knows yet");
    eventually("the new key", || status(&mut client, &second.token()) == 200);
    assert_eq!(status(&mut client, &first.token()), 401, "what was remembered is forgotten");
    assert!(server.count() > fetched);

    // A key that does not exist is asked for once.
    let nobody = Pair::new("nobody");
    let before = server.count();
    for _ in 0..5 {
        assert_eq!(status(&mut client, &nobody.token()), 401);
    }
    eventually("the fetch", || {
        status(&mut client, &nobody.token());
        server.count() > before
    });
    let after = server.count();
    for _ in 0..5 {
        assert_eq!(status(&mut client, &nobody.token()), 401);
    }
    assert_eq!(server.count(), after);

    drop(server);
    assert_eq!(status(&mut client, &Pair::new("third").token()), 401);
    gateway.await_log(&["the JWK set cannot be fetched", "the last one stays"]);
    // What a query may say is nobody's business, whatever is to be logged.
    assert!(!gateway.log().contains("a=b"), "{}", gateway.log());
    assert_eq!(status(&mut client, &second.token()), 200);
}

/// Whatever else the keys of the set are for.
fn only_the_algorithms_that_are_named_are_taken(driver: Driver) {
    let pair = Pair::new("first");
    let server = server(&Arc::new(Mutex::new(pair.set())));
    let origin = Origin::saying("hi");
    for (algorithms, expected) in [("ES256", 200), ("ES384, RS256", 401)] {
        let url = format!("http://{}/keys", server.address);
        let auth = format!(
            "filters: [{{auth: {{type: jwt, jwks_url: \"{url}\", algorithms: [{algorithms}]}}}}]\n"
        );
        let gateway = Gateway::forward_route(driver, &origin, &auth);
        let answer = gateway.client().get_with("/", &[&pair.token()]);
        assert_eq!(answer.status, expected, "{algorithms}: {}", answer.text());
    }
}

fn many_who_bring_a_new_key_wait_for_one_fetch(driver: Driver) {
    let (first, second) = (Pair::new("first"), Pair::new("second"));
    let gate = Gate::default();
    let server = slow_server([first.set(), second.set()], &gate);
    let origin = Origin::saying("hi");
    let gateway = gateway(driver, &origin, &server.address.to_string());
    assert_eq!(status(&mut gateway.client(), &first.token()), 200);
    let mut waiting: Vec<Client> = (0..4).map(|_| gateway.client()).collect();
    for client in &mut waiting {
        client.request("GET", "/", &[&second.token()]);
        server.await_requests(2);
    }
    // Others are served meanwhile.
    assert_eq!(status(&mut gateway.client(), &first.token()), 200);
    gate.open();
    for client in &mut waiting {
        client.answer().expect(200);
    }
    assert_eq!(server.count(), 2, "one fetch for all of them");
}

/// As many servers of keys are slow as passwords are verified at once.
fn slow_servers_of_keys_hold_no_passwords_up(driver: Driver) {
    let (first, second) = (Pair::new("first"), Pair::new("second"));
    let gate = Gate::default();
    let servers = [(); 2].map(|()| slow_server([first.set(), second.set()], &gate));
    let origin = Origin::saying("hi");
    let route = |name: &str, auth: &str| {
        format!(
            "  - name: {name}\n    prefix: /{name}\n    filters: [{{auth: {{{auth}}}}}]\n    \
             targets: [{{addr: \"http://{}\"}}]\n",
            origin.address
        )
    };
    let keys = |server: &Origin| {
        let address = server.address;
        format!("type: jwt, jwks_url: \"http://{address}\", jwks_cooldown: 1ms")
    };
    let hash = bcrypt::hash("secret", 4).unwrap();
    let basic = format!("type: basic, users: [{{name: alice, password_hash: {hash}}}]");
    let routes =
        [route("a", &keys(&servers[0])), route("b", &keys(&servers[1])), route("c", &basic)];
    let gateway = Gateway::start(driver, &format!("routes:\n{}", routes.concat()));
    let mut waiting = ["/a", "/b"].map(|target| {
        let mut client = gateway.client();
        client.get_with(target, &[&first.token()]).expect(200);
        client.request("GET", target, &[&second.token()]);
        client
    });
    servers.iter().for_each(|server| server.await_requests(2));
    let right = "Authorization: Basic YWxpY2U6c2VjcmV0";
    gateway.client().get_with("/c", &[right]).expect(200);
    // That did not wait until the servers were given up.
    servers.iter().for_each(|_| gate.open());
    waiting.iter_mut().for_each(|client| drop(client.answer().expect(200)));
}

/// The filters of two routes share the set of one URL, and so do those before and after a reload.
fn a_set_outlives_a_reload_in_an_outage(driver: Driver) {
    let pair = Pair::new("first");
    let server = server(&Arc::new(Mutex::new(pair.set())));
    let origin = Origin::saying("hi");
    let file = |issuer: &str| {
        let auth = format!(
            "
            filters:
              - auth:
                  type: jwt
                  jwks_url: http://{}/keys
                  jwks_refresh_every: 1d
                  {issuer}
            ",
            server.address
        );
        let one = forward_route(&origin, &auth);
        let other = one.split_once("routes:\n").unwrap().1;
        let other =
            other.replace("name: all", "name: other").replace("prefix: /", "prefix: /other");
        format!("{one}{other}")
    };
    let gateway = Gateway::start(driver, &file(""));
    let get = |target: &str| gateway.client().get_with(target, &[&pair.token()]).status;
    assert_eq!((get("/"), get("/other")), (200, 200));
    assert_eq!(server.count(), 1);
    let changed = file("leeway: 10s");
    drop(server);
    gateway.reload(&changed);
    assert_eq!((get("/"), get("/other")), (200, 200));
}

fn without_any_key_there_is_a_better_time(driver: Driver) {
    let origin = Origin::saying("hi");
    let gateway = gateway(driver, &origin, &refusing().to_string());
    let answer = gateway.client().get_with("/", &[&Pair::new("a").token()]).expect_error(503);
    assert_eq!(answer.field("retry-after"), Some("1"));
    gateway.client().get("/").expect_error(401);
}

fn a_revoked_token_is_refused_though_it_is_remembered(driver: Driver) {
    let origin = Origin::saying("hi");
    let file = tempfile::NamedTempFile::new().unwrap();
    let auth = format!(
        "
        filters:
          - auth:
              type: jwt
              secret: {SECRET}
              revoked_file: {}
        ",
        file.path().display()
    );
    let gateway = Gateway::forward_route(driver, &origin, &auth);
    let mut client = gateway.client();
    let token =
        |id: &str, subject: &str| signed(&json!({"sub": subject, "jti": id, "exp": seconds(60)}));
    let tokens = [token("1", "alice"), token("2", "alice"), token("3", "bob")];
    let all = |client: &mut Client| tokens.each_ref().map(|token| status(client, token));
    assert_eq!(all(&mut client), [200, 200, 200]);
    let append = |line: &str| {
        let mut file = OpenOptions::new().append(true).open(file.path()).unwrap();
        writeln!(file, "{line}").unwrap();
    };
    append("{\"jti\": \"1\"}");
    eventually("one token is revoked", || all(&mut client) == [401, 200, 200]);
    append("{\"sub\": \"alice\"}");
    eventually("all of somebody are revoked", || all(&mut client) == [401, 401, 200]);
    append("nonsense");
    gateway.await_log(&["what was revoked stays so", "line 3"]);
    assert_eq!(all(&mut client), [401, 401, 200]);
    append("{\"jti\": \"3\"}");
    eventually("a broken line lets nobody in", || all(&mut client) == [401, 401, 401]);
}

fn a_key_file_is_read_again(driver: Driver) {
    let (first, second) = (Pair::new("first"), Pair::new("second"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), first.set()).unwrap();
    let path = file.path().display();
    let auth = format!("filters:\n  - auth: {{type: jwt, jwks_file: \"{path}\"}}\n");
    let origin = Origin::saying("hi");
    let gateway = Gateway::forward_route(driver, &origin, &auth);
    let mut client = gateway.client();
    assert_eq!(status(&mut client, &first.token()), 200);
    assert_eq!(status(&mut client, &second.token()), 401);
    std::fs::write(file.path(), second.set()).unwrap();
    eventually("the new key", || status(&mut client, &second.token()) == 200);
    assert_eq!(status(&mut client, &first.token()), 401);
    std::fs::write(file.path(), "nonsense").unwrap();
    gateway.await_log(&["the last good keys stay"]);
    assert_eq!(status(&mut client, &second.token()), 200);
}
