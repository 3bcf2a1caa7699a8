//! A sample service on its own thread: bound before anything starts, ended when it is dropped.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use axum::Router;
use tokio::sync::oneshot;

/// A service that answers until this value is dropped.
#[derive(Debug)]
pub(super) struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Serves `app` on `listener`, on a thread called `name`.
    pub(super) fn start(name: &str, listener: TcpListener, app: Router) -> io::Result<Running> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::select! {
                served = axum::serve(listener, app) => served,
                // Sent or dropped: in both cases nobody wants this service any more. Streams that
                // would never end (`/events`) end with the runtime.
                _ = stopped => Ok(()),
            }
        };
        let told = name.to_owned();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(serve) {
                tracing::error!(service = told, %error, "the sample service ended");
            }
        })?;
        Ok(Running { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it answers.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed by then; there is nothing to add.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;
    use crate::demo::tokens::Signer;
    use crate::demo::{orders, users};

    fn start(app: Router) -> Running {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        Running::start("sample", listener, app).expect("a thread")
    }

    /// Sends one request, with its body if it has one, and reads to the end of the answer.
    fn ask(service: &Running, line: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(service.address()).expect("a connection");
        let length = body.len();
        write!(
            stream,
            "{line} HTTP/1.1\r\nHost: sample\r\nConnection: close\r\nX-Twice: a\r\nX-Twice: b\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .expect("the request is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer in text");
        answer
    }

    #[track_caller]
    fn check(service: &Running, line: &str, body: &str, parts: &[&str]) {
        let answer = ask(service, line, body);
        for part in parts {
            assert!(answer.contains(part), "{line}: {part} is not in:\n{answer}");
        }
    }

    #[test]
    fn every_service_has_the_common_paths() {
        let service = start(users::app(Signer::new("a secret of the test")));
        check(&service, "GET /health", "", &["200 OK", r#""status":"ok""#, "x-served-by: user"]);
        check(&service, "GET /", "", &["/slow?ms="]);
        let echoed = [r#""path":"/echo/x%20y""#, r#""query":"a=1""#, r#""x-twice":["a","b"]"#];
        check(&service, "PUT /echo/x%20y?a=1", "hello", &echoed);
        check(&service, "PUT /echo", "hello", &[r#""body":"hello""#, r#""method":"PUT""#]);
        check(&service, "GET /slow?ms=1", "", &[r#""waited_ms":1"#]);
        check(&service, "GET /fail?status=429", "", &["429 Too Many", "as asked"]);
        check(&service, "GET /fail?status=200", "", &["400 Bad", "from 400 to 599"]);
        let events = ["text/event-stream", "event: tick", r#"data: {"number":2}"#];
        check(&service, "GET /events?count=2&every_ms=1", "", &events);
        check(&service, "GET /nothing", "", &["404 Not Found", "nothing at /nothing"]);
    }

    #[test]
    fn lists_can_be_read_and_added_to() {
        let users = start(users::app(Signer::new("a secret of the test")));
        check(&users, "GET /users", "", &["Ada", "Grace"]);
        let made = ["201 Created", "location: users/4", r#""name":"Barbara""#];
        check(&users, "POST /users", r#"{"name":"Barbara"}"#, &made);
        check(&users, "GET /users/4", "", &["Barbara"]);
        check(&users, "GET /users/5", "", &["404 Not Found", "no user 5"]);
        let ada = r#"{"user": "ada", "password": "demo"}"#;
        check(&users, "POST /login", ada, &["200 OK", r#""token":"eyJ"#]);
        let eve = r#"{"user": "eve", "password": "demo"}"#;
        check(&users, "POST /login", eve, &["401 Unauthorized", "no such user"]);

        let orders = start(orders::app());
        check(&orders, "GET /orders?user=3", "", &[r#"{"orders":[{"id":3"#, "kettle"]);
        let made = ["201 Created", "location: orders/4"];
        check(&orders, "POST /orders", r#"{"user":2,"item":"pen"}"#, &made);
        check(&orders, "GET /orders/4", "", &["pen"]);
    }

    #[test]
    fn a_web_socket_sends_back_what_it_gets() {
        let service = start(users::app(Signer::new("a secret of the test")));
        let mut stream = TcpStream::connect(service.address()).expect("a connection");
        let request = "GET /ws HTTP/1.1\r\nHost: sample\r\nConnection: Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("the request is taken");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a whole head");
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        // RFC 6455 §5.2: a final text frame of two bytes, masked with zeros; the answer is not
        // masked.
        stream.write_all(b"\x81\x82\0\0\0\0hi").expect("the frame is taken");
        let mut frame = [0; 4];
        stream.read_exact(&mut frame).expect("a frame");
        assert_eq!(&frame, b"\x81\x02hi");
    }
}
