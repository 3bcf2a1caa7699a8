//! The page of the admin API in a real browser, at a desk and on a phone.

use crate::admin::{LOCAL, admin_of};
use crate::harness::{Browser, Driver, Gateway, Origin, dedent};

const TOKEN: &str = "correct-horse-battery-staple";

/// Two upstreams and three routes, one of which answers by itself.
fn gateway(driver: Driver, origins: [&Origin; 2], admin: &str) -> Gateway {
    let [users, orders] = origins.map(|origin| origin.address);
    let rest = format!(
        "
        workers:
          count: 2
        upstreams:
          users:
            targets: [{{addr: \"{users}\", weight: 3}}]
          orders:
            targets: [{{addr: \"{orders}\"}}]
            balance: least_requests
        routes:
          - name: users
            prefix: /users
            upstream: users
            filters:
              - headers: {{request: {{set: {{X-Gateway: ringway}}}}}}
          - name: orders
            host: [shop.example.com]
            prefix: /orders
            methods: [GET, POST]
            upstream: orders
          - name: ping
            path: /ping
            respond: {{body: \"<img src=x onerror=alert(1)>\"}}
        "
    );
    Gateway::start(driver, &format!("{}{admin}{}", dedent(LOCAL), dedent(&rest)))
}

#[track_caller]
fn expect_no_complaints(browser: &mut Browser) {
    assert_eq!(browser.complaints(), [""; 0]);
    let loaded = browser.value(
        "performance.getEntriesByType('resource').map(entry => entry.name)
            .filter(name => !name.startsWith(location.origin)).join()",
    );
    assert_eq!(loaded, "", "the page asks nobody else");
}

#[test]
fn it_shows_what_runs_at_a_desk() {
    let (users, orders) = (Origin::saying("users"), Origin::saying("orders"));
    let gateway = gateway(Driver::IoUring, [&users, &orders], "");
    let mut browser = Browser::open(&format!("http://{}/", admin_of(&gateway)), 1280, 1000);
    browser.await_true("document.querySelector('#state').textContent === 'ready'");
    browser.await_true("document.querySelectorAll('#routes tr').length === 3");
    let mut client = gateway.client();
    for _ in 0..7 {
        client.get("/users/1").expect(200);
    }
    browser.await_true(
        "[...document.querySelectorAll('#workers tr')]
            .reduce((sum, row) => sum + Number(row.cells[4].textContent), 0) === 7",
    );
    let text = browser.text();
    let parts = [
        env!("CARGO_PKG_VERSION"),
        "io_uring",
        &gateway.address().to_string(),
        "Worker 0",
        "Worker 1",
        &users.address.to_string(),
        "least requests",
        "shop.example.com · GET POST · prefix /orders",
        "respond 200",
    ];
    for part in parts {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    browser.await_true("document.querySelector('#errors').textContent.includes('None')");
    client.get("/nothing").expect_error(404);
    browser.await_true("document.querySelector('#errors').textContent.includes('/nothing')");
    // The rate is shown once two answers have come.
    browser.await_true("document.querySelector('#rate').textContent !== '–'");
    expect_no_complaints(&mut browser);
}

#[test]
fn an_endpoint_is_drained_and_weighed_by_hand() {
    let (users, orders) = (Origin::saying("users"), Origin::saying("orders"));
    let gateway = gateway(Driver::Epoll, [&users, &orders], "");
    let mut browser = Browser::open(&format!("http://{}/", admin_of(&gateway)), 1280, 1000);
    browser.await_true("document.querySelectorAll('#upstreams tbody tr').length === 2");
    browser.value("document.querySelector('#upstreams button').click()");
    browser
        .await_true("document.querySelector('#upstreams tbody .pill').textContent === 'draining'");
    browser.value("document.querySelector('#upstreams button').click()");
    browser
        .await_true("document.querySelector('#upstreams tbody .pill').textContent === 'healthy'");
    browser.value(
        "document.querySelector('#upstreams input').value = '5';
         document.querySelector('#upstreams input').dispatchEvent(new Event('change'))",
    );
    browser.await_true(
        "fetch('status').then((answer) => answer.json())
            .then((status) => status.upstreams[0].endpoints[0].set_weight === 5)",
    );
    expect_no_complaints(&mut browser);
}

/// The picture in README: written anew with `RINGWAY_BLESS=1 cargo test --test e2e picture`.
#[test]
fn the_picture_in_readme_is_one_of_this_page() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/engine/src/control/admin/page/page.png");
    if std::env::var_os("RINGWAY_BLESS").is_some() {
        let (users, orders) = (Origin::saying("users"), Origin::saying("orders"));
        let gateway = gateway(Driver::IoUring, [&users, &orders], "");
        let mut browser = Browser::open(&format!("http://{}/", admin_of(&gateway)), 1180, 1000);
        let mut clients: Vec<_> = (0..9).map(|_| gateway.client()).collect();
        let (mut state, mut turn) = (7, 0);
        let points = "document.querySelector('#rate-line polyline').getAttribute('points')";
        while browser.value(&format!("({points} ?? '').split(' ').length < 24")) == true {
            turn += 1;
            for _ in 0..40 + 4 * (turn % 13) {
                let at = crate::harness::draw(&mut state, clients.len());
                let host = if turn % 9 == 0 { "example.com" } else { "shop.example.com" };
                let path = ["/users/7", "/orders/7", "/ping"][at % 3];
                clients[at].send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).answer();
            }
        }
        std::fs::write(path, browser.picture()).unwrap();
    }
    let picture = std::fs::read(path).unwrap();
    assert!(picture.starts_with(b"\x89PNG"), "{path} is no PNG");
    assert!(picture.len() < 200_000, "{path} has {} bytes", picture.len());
    let readme = include_str!("../../README.md");
    assert!(readme.contains("engine/src/control/admin/page/page.png"), "README shows it");
}

#[test]
fn it_fits_a_phone_by_day_and_by_night() {
    let (users, orders) = (Origin::saying("users"), Origin::saying("orders"));
    let gateway = gateway(Driver::Epoll, [&users, &orders], "");
    let mut browser = Browser::open(&format!("http://{}/", admin_of(&gateway)), 375, 812);
    browser.await_true("document.querySelectorAll('#routes tr').length === 3");
    browser.await_true("document.querySelectorAll('#upstreams tbody tr').length === 2");
    let wide = "document.documentElement.scrollWidth";
    assert_eq!(browser.value(wide), 375, "nothing sticks out");
    let cut = "(() => {
        const cells = [...document.querySelectorAll('#routes tr:first-child > *')];
        const before = cells.map((cell) => cell.textContent);
        cells.forEach((cell) => cell.textContent = 'name'.repeat(30));
        const cut = cells.filter((cell) => cell.scrollWidth > cell.clientWidth).length;
        cells.forEach((cell, at) => cell.textContent = before[at]);
        return cut;
    })()";
    assert_eq!(browser.value(cut), 0, "a long name goes on in the next line");
    let small = "[...document.querySelectorAll('main *')]
        .filter(node => node.childNodes.length && parseFloat(getComputedStyle(node).fontSize) < 12)
        .length";
    assert_eq!(browser.value(small), 0, "every text can be read");
    let nameless = "[...document.querySelectorAll('button, input, meter')]
        .filter(node => !(node.labels?.length || node.ariaLabel || node.textContent.trim()))
        .length";
    assert_eq!(browser.value(nameless), 0, "every control has a name");
    // The contrast of text and ground (WCAG 2.2, 1.4.3) in both schemes.
    let contrast = "(() => {
        const light = (colour) => {
            const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((part) => part / 255)
                .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ground = (node) => {
            const own = getComputedStyle(node).backgroundColor;
            const through = own === 'rgba(0, 0, 0, 0)' && node.parentElement;
            return through ? ground(node.parentElement) : own;
        };
        const texts = [...document.querySelectorAll('body *')].filter((node) =>
            node.checkVisibility() &&
            [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
        return Math.min(...texts.map((node) => {
            const [a, b] = [light(getComputedStyle(node).color), light(ground(node))];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        }));
    })()";
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        let contrast = browser.value(contrast).as_f64().unwrap();
        assert!(contrast >= 4.5, "{scheme}: the worst contrast is {contrast}");
    }
    expect_no_complaints(&mut browser);
}

#[test]
fn it_asks_for_the_token_and_keeps_it_in_the_tab() {
    let (users, orders) = (Origin::saying("users"), Origin::saying("orders"));
    let admin = format!("  token: {TOKEN}\n");
    let gateway = gateway(Driver::Epoll, [&users, &orders], &admin);
    let url = format!("http://{}/", admin_of(&gateway));
    let mut browser = Browser::open(&url, 1280, 800);
    browser.await_true("document.querySelector('#login').open");
    let enter = |browser: &mut Browser, token: &str| {
        browser.value(&format!(
            "document.querySelector('#token').value = '{token}';
             document.querySelector('#login-form').requestSubmit()"
        ));
    };
    enter(&mut browser, "wrong-horse-battery-staple");
    browser
        .await_true("document.querySelector('#login-why').textContent.includes('not the token')");
    browser.await_true("document.querySelector('#login').open");
    enter(&mut browser, TOKEN);
    browser.await_true("document.querySelectorAll('#routes tr').length === 3");
    browser.await_true("document.querySelector('#state').textContent === 'ready'");
    assert_eq!(browser.value("Object.values(sessionStorage).join()"), TOKEN);
    assert_eq!(browser.value("localStorage.length + document.cookie.length"), 0);
    assert!(!browser.text().contains(TOKEN));
}

#[test]
fn it_explains_a_request_and_reloads() {
    let (users, orders) = (Origin::saying("users"), Origin::saying("orders"));
    let gateway = gateway(Driver::IoUring, [&users, &orders], "");
    let mut browser = Browser::open(&format!("http://{}/", admin_of(&gateway)), 1280, 1000);
    browser.await_true("document.querySelectorAll('#routes tr').length === 3");
    let explain = |browser: &mut Browser, url: &str| {
        browser.value(&format!(
            "document.querySelector('#explain-url').value = '{url}';
             document.querySelector('#explain').requestSubmit()"
        ));
    };
    explain(&mut browser, "http://shop.example.com/orders/7");
    browser.await_true("document.querySelector('#explained').textContent.includes('orders/7')");
    explain(&mut browser, "/nothing");
    browser.await_true("document.querySelector('#explained').textContent.includes('404')");
    browser.value(
        "document.querySelector('#find').value = 'ping';
        document.querySelector('#find').dispatchEvent(new Event('input'))",
    );
    browser.await_true("document.querySelectorAll('#routes tr').length === 1");
    browser.value("document.querySelector('#reload').click()");
    browser.await_true("document.querySelector('#notice').textContent.startsWith('Reloaded in')");
    expect_no_complaints(&mut browser);
    gateway.rewrite("routes: 7");
    browser.value("document.querySelector('#reload').click()");
    browser.await_true("document.querySelector('#notice').textContent.includes('expected a list')");
}
