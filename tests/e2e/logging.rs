//! The access log: what it says, and that nothing that happens to its reader is felt by a client.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::cli;
use crate::harness::{Driver, Gateway, Origin, dedent, eventually, ok, refusing, scenes};

scenes![
    json_says_what_happened,
    what_no_route_takes_is_logged,
    failures_are_logged_with_their_phase,
    who_is_refused_is_logged_with_the_filter_that_did,
    a_body_that_is_dropped_has_been_received,
    the_bytes_of_a_tunnel_are_those_it_carried,
    nothing_secret_and_nothing_that_breaks_a_line_is_logged,
    a_share_is_logged_and_what_is_slow_always,
    text_goes_to_standard_output,
    no_record_is_lost_over_a_rotation,
    a_folder_that_is_missing_is_told_at_once,
    a_full_disk_is_not_felt,
    a_reader_of_standard_output_may_go_and_another_come,
    a_socket_may_be_closed_and_opened_again,
    a_reader_that_takes_nothing_is_not_felt,
];

/// A folder for what a scene writes.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// A file with one route that answers `pong` and a log with these settings.
fn ping(settings: &str) -> String {
    format!(
        "routes:\n  - name: ping\n    path: /ping\n    respond:\n      body: pong\n\
         global_filters:\n  - logging: {{{settings}}}\n"
    )
}

fn to_file(path: &Path) -> String {
    format!("output: {{file: {}}}", path.display())
}

fn to_socket(path: &Path) -> String {
    format!("output: {{socket: {}}}", path.display())
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Waits for so many lines, each of them JSON.
#[track_caller]
fn await_records(path: &Path, count: usize) -> Vec<Value> {
    eventually("log records", || lines(path).len() >= count);
    let records: Vec<Value> =
        lines(path).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), count, "{records:#?}");
    records
}

/// Ends the gateway and tells how many records it says were written, dropped and left unwritten;
/// nothing when it lost none.
#[track_caller]
fn end(mut gateway: Gateway) -> Option<[u64; 3]> {
    gateway.terminate();
    assert!(gateway.exit().success(), "{}", gateway.log());
    let log = gateway.log();
    let lost = log.lines().find(|line| line.contains("log records were lost"))?;
    Some(["written=", "dropped=", "unwritten="].map(|name| {
        // The line may have colours off only; a number ends where no digit is.
        let (_, rest) = lost.split_once(&format!(" {name}")).unwrap();
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    }))
}

fn json_says_what_happened(driver: Driver) {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let origin = Origin::answering(
        "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nX-Cache: miss\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n",
    );
    let log = format!(
        "global_filters:\n  - logging: {{{}, headers: {{request: [X-Tenant], \
         response: [x-cache]}}}}\n",
        to_file(&path)
    );
    let routes = crate::harness::forward_route(&origin, "");
    let gateway = Gateway::start(driver, &format!("{log}{routes}"));
    let mut client = gateway.client();
    let sent = ["X-Tenant: blue", "User-Agent: scene/1", "X-Request-ID: id-7", "Content-Length: 3"];
    client.request("POST", "/a/./b?x=1", &sent).send("abc").answer().expect(201);
    let record = await_records(&path, 1).remove(0);
    let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| record[name].as_f64().unwrap_or(-1.0);
    assert_eq!([text("method"), text("path"), text("query")], ["POST", "/a/b", "x=1"]);
    assert_eq!(
        [text("host"), text("protocol"), text("route")],
        ["gateway.test", "HTTP/1.1", "all"]
    );
    assert_eq!([text("client"), text("user_agent")], ["127.0.0.1", "scene/1"]);
    assert_eq!([text("upstream"), text("endpoint")], ["all".into(), origin.address.to_string()]);
    assert_eq!(text("request_id"), "id-7");
    assert!(text("peer").starts_with("127.0.0.1:"), "{record}");
    assert_eq!(["status", "bytes_in", "bytes_out", "attempts"].map(number), [201.0, 3.0, 5.0, 1.0]);
    assert_eq!(record["request_headers"]["x-tenant"], "blue");
    assert_eq!(record["response_headers"]["x-cache"], "miss");
    let steps = ["connect_ms", "first_byte_ms", "last_byte_ms", "duration_ms"].map(number);
    assert!(steps[0] > 0.0 && steps.is_sorted(), "{record}");
    let upstream = number("upstream_ms");
    assert!(upstream >= steps[0] && upstream <= steps[3], "{record}");
    let time = text("time");
    assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");
    assert!(record.get("error").is_none() && record.get("trace_id").is_none(), "{record}");
    // The second connection to the origin is the pooled one: nothing had to be made.
    client.get("/c").expect(201);
    assert_eq!(await_records(&path, 2)[1]["connect_ms"], 0.0);
}

fn what_no_route_takes_is_logged(driver: Driver) {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let gateway = Gateway::start(driver, &ping(&to_file(&path)));
    gateway.get("/nowhere").expect_error(404);
    gateway.client().send("GET /ping HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n").answer();
    gateway.client().request("GET", "/%00", &[]).answer();
    let records = await_records(&path, 3);
    let seen = records.iter().map(|record| {
        let text = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
        (record["status"].as_u64().unwrap(), text("path"), text("error_phase"))
    });
    let expected = [(404, "/nowhere", "route"), (400, "-", "request_head"), (400, "/%00", "route")];
    let expected = expected.map(|(status, path, phase)| (status, path.into(), phase.into()));
    assert_eq!(seen.collect::<Vec<_>>(), expected, "{records:#?}");
    assert_eq!(records[0]["error"], "no_route");
}

fn failures_are_logged_with_their_phase(driver: Driver) {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let cut = Origin::script(|connection| {
        connection.request()?;
        connection.write(&ok("hello")[..40])?;
        connection.reset();
        Ok(())
    });
    let (dead, cut_address) = (refusing(), cut.address);
    let gateway = Gateway::start(
        driver,
        &format!(
            "routes:\n  - name: dead\n    prefix: /dead\n    targets:\n      - addr: \
             http://{dead}\n  - name: cut\n    \
             prefix: /cut\n    targets:\n      - addr: http://{cut_address}\n\
             global_filters:\n  - logging: {{{}}}\n",
            to_file(&path)
        ),
    );
    gateway.get("/dead").expect_error(502);
    assert!(gateway.client().request("GET", "/cut", &[]).answer_or_end().is_none());
    let records = await_records(&path, 2);
    let said = |at: usize| {
        ["error", "error_phase", "endpoint"].map(|name| records[at][name].as_str().unwrap_or("-"))
    };
    assert_eq!(said(0), ["refused", "connect", &dead.to_string()]);
    assert_eq!(said(1), ["truncated", "response_body", &cut_address.to_string()]);
    assert!(records[0]["error_text"].as_str().unwrap().contains("cannot connect"), "{records:#?}");
}

fn who_is_refused_is_logged_with_the_filter_that_did(driver: Driver) {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let origin = Origin::answering("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n");
    let file = "
        routes:
          - {name: limited, path: /limited, respond: {}, filters: [LIMIT]}
          - {name: broken, path: /broken, targets: [{addr: ORIGIN}], filters: [BREAKER]}
          - {name: browsed, path: /browsed, respond: {}, filters: [CORS]}
          - {name: excused, path: /excused, targets: [{addr: DEAD}], filters: [FALLBACK]}
        global_filters:
          - logging: {OUTPUT}
    ";
    let file = dedent(file)
        .replace("LIMIT", "{rate_limit: {qps: 0.001, burst: 1}}")
        .replace("BREAKER", "{circuit_breaker: {threshold: 1, timeout: 1h}}")
        .replace("CORS", "{cors: {allow_origins: [\"http://a.test\"]}}")
        .replace("FALLBACK", "{fallback: {on: [connect_failure], respond: {status: 200}}}")
        .replace("DEAD", &format!("\"{}\"", refusing()))
        .replace("ORIGIN", &format!("\"{}\"", origin.address))
        .replace("OUTPUT", &to_file(&path));
    let gateway = Gateway::start(driver, &file);
    let mut client = gateway.client();
    for (target, status) in [("/limited", 200), ("/limited", 429), ("/broken", 500)] {
        client.get(target).expect(status);
    }
    client.get("/broken").expect(503);
    let asks = ["Origin: http://a.test", "Access-Control-Request-Method: GET"];
    client.request("OPTIONS", "/browsed", &asks).answer().expect(204);
    client.get("/excused").expect(200);
    let records = await_records(&path, 6);
    let said = records.iter().map(|record| {
        ["error", "error_phase"].map(|name| record[name].as_str().unwrap_or("-").to_owned())
    });
    let expected = [
        ["-", "-"],
        ["rate_limit", "filter"],
        ["-", "-"],
        ["circuit_breaker", "filter"],
        ["-", "-"],
        ["refused", "connect"],
    ];
    assert_eq!(said.collect::<Vec<_>>(), expected, "{records:#?}");
}

/// By an answer of the gateway's own, whether the body came with the head or behind the answer.
fn a_body_that_is_dropped_has_been_received(driver: Driver) {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let gateway = Gateway::start(driver, &ping(&to_file(&path)));
    let mut client = gateway.client();
    client.post("/ping", b"four").expect(200);
    client.request("POST", "/ping", &["Content-Length: 11"]).send("seven b").answer().expect(200);
    await_records(&path, 1);
    client.send("ytes");
    client.post("/nowhere", b"five!").expect_error(404);
    let bytes = await_records(&path, 3).iter().map(|r| r["bytes_in"].as_u64()).collect::<Vec<_>>();
    assert_eq!(bytes, [Some(4), Some(11), Some(5)]);
}

/// As everywhere, those of the body: not the head of the answer that began it.
fn the_bytes_of_a_tunnel_are_those_it_carried(driver: Driver) {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let origin = Origin::script(|connection| {
        connection.request()?;
        connection.write(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\n\r\nfirst words",
        )?;
        let heard = connection.wire.exactly(5)?;
        connection.write(heard)
    });
    let log = format!("global_filters:\n  - logging: {{{}}}\n", to_file(&path));
    let routes = crate::harness::forward_route(&origin, "");
    let gateway = Gateway::start(driver, &format!("{log}{routes}"));
    let mut client = gateway.client();
    let asks = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    assert_eq!(client.request("GET", "/", &asks).head().line.split(' ').nth(1), Some("101"));
    assert_eq!(client.send("there").exactly(16), b"first wordsthere");
    client.expect_end();
    drop(client);
    let record = await_records(&path, 1).remove(0);
    let number = |name: &str| record[name].as_u64().unwrap();
    assert_eq!(["status", "bytes_in", "bytes_out"].map(number), [101, 5, 16], "{record}");
}

fn nothing_secret_and_nothing_that_breaks_a_line_is_logged(driver: Driver) {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let settings = format!(
        "{}, headers: {{request: [Authorization, X-Key, Referer, X-From]}}, \
         redact: {{headers: [X-Key], query: [token]}}",
        to_file(&path)
    );
    let gateway = Gateway::start(driver, &ping(&settings));
    let fields = [
        "Authorization: Bearer hush",
        "X-Key: hush",
        "Referer: /?token=hush#token=hush",
        "X-From: http://b.test/?a=1;token=hush&b[token]=hush&c",
    ];
    gateway.client().get_with("/ping?a=1&%74oken=hush", &fields).expect(200);
    let evil =
        b"GET /ping HTTP/1.1\r\nHost: a\r\nUser-Agent: \xc2\x9b31m\t\"}\\ \xff\xe2\x80\xa8\r\n\r\n";
    gateway.client().send(evil).answer().expect(200);
    let records = await_records(&path, 2);
    let text = fs::read(&path).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains("hush"), "{text}");
    assert_eq!(records[0]["query"], "a=1&%74oken=***");
    assert_eq!(records[0]["referer"], "/?token=***#token=***");
    let headers = &records[0]["request_headers"];
    assert_eq!(headers["authorization"], "***");
    assert_eq!(headers["referer"], records[0]["referer"]);
    assert_eq!(headers["x-from"], "http://b.test/?a=1;token=***&b[token]=***&c");
    assert_eq!(records[1]["user_agent"], "\u{9b}31m\t\"}\\ \u{fffd}\u{2028}");
    assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n'), "{text:?}");
}

fn a_share_is_logged_and_what_is_slow_always(driver: Driver) {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let settings = format!("{}, sample: {{2xx: 0}}, slow: 300ms", to_file(&path));
    let slow = "\n  - name: slow\n    path: /slow\n    respond:\n      body: slow\n    \
                filters:\n      - fault: {delay: {time: 300ms}}\nglobal_filters";
    let file = ping(&settings).replace("\nglobal_filters", slow);
    let gateway = Gateway::start(driver, &file);
    let mut client = gateway.client();
    (0..100).for_each(|_| drop(client.get("/ping").expect(200)));
    client.get("/slow").expect(200);
    client.get("/nowhere").expect_error(404);
    let records = await_records(&path, 2);
    assert_eq!([&records[0]["path"], &records[1]["path"]], ["/slow", "/nowhere"]);
}

fn text_goes_to_standard_output(driver: Driver) {
    let folder = Folder::new();
    let path = folder.path("stdout");
    let gateway = Gateway::start_with_stdout(driver, &ping("format: text"), &path);
    gateway.client().get_with("/ping?a=b", &["User-Agent: say \"hi\""]).expect(200);
    eventually("a line", || lines(&path).len() == 1);
    let line = lines(&path).remove(0);
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    let rest = "\"GET /ping?a=b HTTP/1.1\" 200 4 \"-\" \"say \\\"hi\\\"\" route=ping endpoint=- ";
    assert!(line.contains(rest), "{line}");
}

/// Every request is in one of the files, or was dropped and counted.
/// At the start and by `check`, and not only when the first record comes; once it is made, it is
/// written to.
fn a_folder_that_is_missing_is_told_at_once(driver: Driver) {
    let folder = Folder::new();
    let log = folder.path("later/access.log");
    let gateway = Gateway::start(driver, &ping(&to_file(&log)));
    gateway.await_log(&["WARN", "there is no folder `", "later` for the log", "line="]);
    let (code, said) = cli::run(&["check", "-c", gateway.path().to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("(global_filters[0].logging.output.file)"), "{said}");
    fs::create_dir(folder.path("later")).unwrap();
    gateway.get("/ping").expect(200);
    eventually("the record is written", || lines(&log).len() == 1);
    let (_, said) = cli::run(&["check", "-c", gateway.path().to_str().unwrap()]);
    assert!(!said.contains("warning"), "{said}");
}

fn no_record_is_lost_over_a_rotation(driver: Driver) {
    const CLIENTS: usize = 4;
    const ROTATIONS: usize = 10;
    let folder = Folder::new();
    let path = folder.path("access.log");
    let file = format!("workers:\n  count: 2\n{}", ping(&to_file(&path)));
    let gateway = Gateway::start(driver, &file);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let requests: usize = thread::scope(|scope| {
        let load = || {
            let mut client = gateway.client();
            let mut count = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                client.get("/ping").expect(200);
                count += 1;
            }
            count
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(load)).collect();
        for rotation in 0..ROTATIONS {
            eventually("records in the new file", || {
                fs::metadata(&path).is_ok_and(|m| m.len() > 0)
            });
            fs::rename(&path, folder.path(&format!("access.log.{rotation}"))).unwrap();
            gateway.signal(Signal::USR1);
        }
        eventually("records in the last file", || fs::metadata(&path).is_ok_and(|m| m.len() > 0));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let [_, dropped, unwritten] = end(gateway).unwrap_or_default();
    let files = (0..ROTATIONS).map(|n| folder.path(&format!("access.log.{n}"))).chain([path]);
    let mut records = 0;
    for line in files.flat_map(|file| lines(&file)) {
        let record: Value = serde_json::from_str(&line).unwrap();
        records += usize::from(record.get("status").is_some());
    }
    assert_eq!((records + dropped as usize, unwritten), (requests, 0));
}

fn a_full_disk_is_not_felt(driver: Driver) {
    let gateway = Gateway::start(driver, &ping(&to_file(Path::new("/dev/full"))));
    let mut client = gateway.client();
    client.get("/ping").expect(200);
    gateway.await_log(&["the log cannot be written", "file:/dev/full", "No space left"]);
    (0..500).for_each(|_| drop(client.get("/ping").expect(200)));
    drop(client);
    let log = gateway.log();
    assert_eq!(log.matches("the log cannot be written").count(), 1, "{log}");
    let [written, dropped, unwritten] = end(gateway).unwrap();
    assert_eq!((written, dropped + unwritten), (0, 501));
}

fn a_reader_of_standard_output_may_go_and_another_come(driver: Driver) {
    let folder = Folder::new();
    let path = folder.path("pipe");
    make_pipe(&path);
    let open = || {
        // Without blocking, or the opening would wait for a writer.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        OpenOptions::new().read(true).custom_flags(flags).open(&path).unwrap()
    };
    let reader = open();
    let gateway = Gateway::start_with_stdout(driver, &ping(""), &path);
    let mut client = gateway.client();
    client.get("/ping").expect(200);
    await_line(&reader, "/ping");
    drop(reader);
    client.get("/ping?gone").expect(200);
    gateway.await_log(&["the log cannot be written", "Broken pipe"]);
    let reader = open();
    await_line(&reader, "gone");
    gateway.await_log(&["the log is written again"]);
    client.get("/ping?after").expect(200);
    await_line(&reader, "after");
    drop(client);
    assert_eq!(end(gateway), None);
}

/// Waits until this has come through the pipe, whatever came before.
#[track_caller]
fn await_line(mut reader: &File, word: &str) {
    let mut text = String::new();
    eventually(word, || {
        let mut block = [0; 4096];
        if let Ok(read) = reader.read(&mut block) {
            text += std::str::from_utf8(&block[..read]).unwrap();
        }
        text.contains(word)
    });
}

fn make_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

fn a_socket_may_be_closed_and_opened_again(driver: Driver) {
    let folder = Folder::new();
    let path = folder.path("collector.sock");
    let gateway = Gateway::start(driver, &ping(&to_socket(&path)));
    gateway.await_log(&["the log cannot be written", "socket:"]);
    let mut client = gateway.client();
    client.get("/ping?early").expect(200);
    for round in ["first", "second"] {
        let listener = UnixListener::bind(&path).unwrap();
        client.get(&format!("/ping?{round}")).expect(200);
        let (stream, _) = listener.accept().unwrap();
        let found = BufReader::new(stream).lines().map_while(Result::ok).find(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            record["query"] == round
        });
        assert!(found.is_some(), "{round}");
        drop(listener);
        fs::remove_file(&path).unwrap();
        client.get("/ping?lost-or-kept").expect(200);
        eventually("the end is noticed", || {
            client.get("/ping?probe").expect(200);
            gateway.log().matches("the log cannot be written").count() >= 2
        });
    }
    assert!(gateway.log().contains("the log is written again"));
}

/// Clients are served as ever, and what the reader did not take is counted.
fn a_reader_that_takes_nothing_is_not_felt(driver: Driver) {
    let folder = Folder::new();
    let path = folder.path("collector.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let gateway = Gateway::start(driver, &ping(&to_socket(&path)));
    let (stream, _) = listener.accept().unwrap();
    let target = format!("/ping?{}", "x".repeat(3_900));
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut client = gateway.client();
    // The queue has room for 256 batches of eight, the socket for some dozens of records.
    const REQUESTS: u64 = 4_000;
    for _ in 0..REQUESTS / 8 {
        client.send(request.repeat(8));
        (0..8).for_each(|_| drop(client.answer().expect(200)));
    }
    drop(client);
    let [written, dropped, unwritten] = end(gateway).unwrap();
    assert!(dropped > 0 && unwritten > 0, "{written} {dropped} {unwritten}");
    assert_eq!(written + dropped + unwritten, REQUESTS);
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let whole = lines.filter(|line| serde_json::from_str::<Value>(line).is_ok()).count() as u64;
    assert!(whole >= written, "{whole} lines were read of {written} that were written");
}
