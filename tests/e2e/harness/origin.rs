//! The origin of a scene: a real server on a real socket that does exactly what it is told.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::wire::{BOUND, Head, Request, Wire};

/// Accepts on loopback until dropped, one thread a connection.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

/// What the origin saw so far, and a bell for whoever waits for more.
#[derive(Default)]
struct Seen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    connections: usize,
    ended: usize,
    requests: Vec<Request>,
    streams: Vec<TcpStream>,
    /// What came that no origin could read.
    faults: Vec<String>,
    closed: bool,
}

/// One connection as a script has it. What a script returns early for is never its failure: a
/// gateway that goes away is seen by the scene.
pub(crate) struct OriginConnection {
    /// Counts from 1 in the order of arrival.
    pub(crate) number: usize,
    pub(crate) wire: Wire,
    seen: Arc<Seen>,
}

impl Origin {
    /// Runs `script` on every connection; the connection is closed when it returns.
    pub(crate) fn script<S>(script: S) -> Origin
    where
        S: Fn(&mut OriginConnection) -> io::Result<()> + Send + Sync + 'static,
    {
        Origin::script_at(SocketAddr::from(([127, 0, 0, 1], 0)), script)
    }

    /// The same on an address that was chosen before, such as one of `refusing`.
    pub(crate) fn script_at<S>(address: SocketAddr, script: S) -> Origin
    where
        S: Fn(&mut OriginConnection) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (shared, script) = (seen.clone(), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(connection) = shared.welcome(stream) else { return };
                let script = script.clone();
                thread::spawn(move || run(connection, &*script));
            }
        });
        Origin { address, seen }
    }

    /// Answers every request with `answer`, byte for byte, and keeps the connection.
    pub(crate) fn answering(answer: impl AsRef<[u8]>) -> Origin {
        let answer = answer.as_ref().to_vec();
        Origin::script(move |connection| {
            while connection.request()?.is_some() {
                connection.write(&answer)?;
            }
            Ok(())
        })
    }

    /// Answers 200 with this text.
    pub(crate) fn saying(text: &str) -> Origin {
        Origin::answering(ok(text))
    }

    /// Answers every request with JSON that tells what was received.
    pub(crate) fn echo() -> Origin {
        Origin::script(|connection| {
            while let Some(request) = connection.request()? {
                let body = describe(&request).to_string();
                let kind = "Content-Type: application/json\r\n";
                let length = body.len();
                let body = if request.method == "HEAD" { "" } else { &body };
                let head = format!("HTTP/1.1 200 OK\r\n{kind}Content-Length: {length}\r\n\r\n");
                connection.write(format!("{head}{body}"))?;
            }
            Ok(())
        })
    }

    /// Agrees to an upgrade and sends every byte back.
    pub(crate) fn parrot() -> Origin {
        Origin::script(|connection| {
            connection.request()?;
            connection.write(SWITCH)?;
            while let Ok(byte) = connection.wire.exactly(1) {
                connection.write(byte)?;
            }
            Ok(())
        })
    }

    /// Every request whose reading is complete, in order of completion.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().requests.clone()
    }

    /// The one request that came.
    #[track_caller]
    pub(crate) fn request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests: {requests:#?}");
        requests.remove(0)
    }

    /// How many requests came whole.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().requests.len()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().connections
    }

    /// Waits until so many connections have ended.
    #[track_caller]
    pub(crate) fn await_ended(&self, count: usize) {
        self.wait("ended connections", |state| state.ended >= count);
    }

    #[track_caller]
    pub(crate) fn await_connections(&self, count: usize) {
        self.wait("connections", |state| state.connections >= count);
    }

    #[track_caller]
    pub(crate) fn await_requests(&self, count: usize) {
        self.wait("requests", |state| state.requests.len() >= count);
    }

    #[track_caller]
    fn wait(&self, what: &str, reached: impl Fn(&State) -> bool) {
        let state = self.seen.lock();
        let (state, waited) =
            self.seen.changed.wait_timeout_while(state, BOUND, |state| !reached(state)).unwrap();
        assert!(
            !waited.timed_out(),
            "waited in vain for {what}: {} connections, {} ended, requests {:#?}",
            state.connections,
            state.ended,
            state.requests
        );
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let mut state = self.seen.lock();
        state.closed = true;
        for stream in state.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let faults = std::mem::take(&mut state.faults);
        drop(state);
        // Wakes the accepting thread, which then sees that it is over and frees the port.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if !thread::panicking() {
            assert!(faults.is_empty(), "the gateway sent what no origin can read: {faults:#?}");
        }
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Takes a new connection in, or says that the origin is gone.
    fn welcome(self: &Arc<Seen>, stream: TcpStream) -> Option<OriginConnection> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.connections += 1;
        let number = state.connections;
        state.streams.push(stream.try_clone().ok()?);
        drop(state);
        self.changed.notify_all();
        Some(OriginConnection { number, wire: Wire::new(stream).ok()?, seen: self.clone() })
    }
}

impl OriginConnection {
    /// The next request, whole; nothing when the gateway closed.
    pub(crate) fn request(&mut self) -> io::Result<Option<Request>> {
        // Between requests a pooled connection may rest for longer than the bound of a wait.
        self.wire.stream.set_read_timeout(None)?;
        let request = self.wire.request()?;
        if let Some(request) = &request {
            self.seen.change(|state| state.requests.push(request.clone()));
        }
        Ok(request)
    }

    /// The head of the next request, its body unread; it does not count as a request.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        self.wire.stream.set_read_timeout(None)?;
        self.wire.head()
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.write(bytes.as_ref())
    }

    /// Waits until the gateway closes, dropping what it sends.
    pub(crate) fn await_end(&mut self) {
        let _ = self.wire.until_end();
    }

    /// Makes the closing that follows a reset.
    pub(crate) fn reset(&mut self) {
        self.wire.reset();
        self.forget();
    }

    /// Drops the clone that `Origin` keeps, which would hold the socket open.
    fn forget(&self) {
        let address = self.wire.stream.peer_addr().ok();
        self.seen.lock().streams.retain(|stream| stream.peer_addr().ok() != address);
    }
}

fn run(mut connection: OriginConnection, script: &dyn Fn(&mut OriginConnection) -> io::Result<()>) {
    let outcome = script(&mut connection);
    connection.forget();
    let seen = connection.seen.clone();
    drop(connection);
    seen.change(|state| {
        state.ended += 1;
        let unreadable = outcome.err().filter(|fault| fault.kind() == io::ErrorKind::InvalidData);
        state.faults.extend(unreadable.map(|fault| fault.to_string()));
    });
}

/// The answer of an upstream that agrees to speak WebSocket.
pub(crate) const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                                 Upgrade: websocket\r\n\r\n";

/// A 200 answer with this text.
pub(crate) fn ok(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}

fn describe(request: &Request) -> serde_json::Value {
    json!({
        "method": request.method,
        "target": request.target,
        "fields": request.head.fields,
        "trailers": request.trailers,
        "length": request.body.len(),
        "body": String::from_utf8_lossy(&request.body[..request.body.len().min(1000)]),
    })
}

/// An address that refuses connections: it was bound and is not any more. Nothing else in the
/// suite uses this host, so nobody else is given the port meanwhile.
pub(crate) fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.77:0").unwrap();
    listener.local_addr().unwrap()
}

/// Holds an origin back until the scene lets it go on.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    state: Arc<(Mutex<usize>, Condvar)>,
}

impl Gate {
    /// Lets one through, now or when it comes.
    pub(crate) fn open(&self) {
        *self.state.0.lock().unwrap() += 1;
        self.state.1.notify_all();
    }

    /// Waits for an `open` of its own; an error after the bound of all waits.
    pub(crate) fn pass(&self) -> io::Result<()> {
        let opened = self.state.0.lock().unwrap();
        let (mut opened, waited) =
            self.state.1.wait_timeout_while(opened, BOUND, |opened| *opened == 0).unwrap();
        if waited.timed_out() {
            return Err(io::Error::other("the gate stayed shut"));
        }
        *opened -= 1;
        Ok(())
    }
}

/// An address whose queue of connections is full, so that a further connect gets no answer.
pub(crate) struct Deaf {
    pub(crate) address: SocketAddr,
    _listener: socket2::Socket,
    _queued: Vec<TcpStream>,
}

impl Deaf {
    pub(crate) fn new() -> Deaf {
        use socket2::{Domain, Socket, Type};
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queued.push(stream);
            assert!(queued.len() < 64, "the queue of {address} takes everything");
        }
        Deaf { address, _listener: listener, _queued: queued }
    }
}
