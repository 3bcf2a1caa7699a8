//! The load: clients on this thread's runtime that ask, read each answer whole, and ask again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use monoio::time;

use super::client::{Client, unexpected};
use super::wire;

/// How a client goes about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pattern {
    /// As fast as answers come, each connection one request at a time (closed loop).
    KeepAlive,
    /// The same with a new connection for each request.
    Fresh,
    /// So many requests a second over all connections, whether answers come or not (open loop):
    /// the latency counts from the time at which the request was to be sent.
    Rate(f64),
    /// As fast as echoes come, after an upgrade.
    WebSocket,
}

/// What is asked, and how.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) to: SocketAddr,
    pub(super) pattern: Pattern,
    pub(super) connections: usize,
    /// The whole request.
    pub(super) request: Rc<[u8]>,
    /// Bytes that the body of an answer must have, where that is known: who answers something else,
    /// or itself, was not asked to do what the others do.
    pub(super) answer: Option<u64>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) elapsed: Duration,
    pub(super) answers: u64,
    pub(super) errors: u64,
    /// What the first of them was.
    pub(super) first_error: Option<String>,
    /// Microseconds from the request (or the time it was due) to the last byte of the answer.
    pub(super) latency: Histogram<u64>,
}

/// What clients of one load share.
struct Shared {
    load: Load,
    latency: RefCell<Histogram<u64>>,
    answers: Cell<u64>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
    /// Only between the end of the warm-up and that of the measurement.
    counts: Cell<bool>,
    over: Cell<bool>,
    /// Of a rate: requests whose time has come, and connections that wait for one.
    due: RefCell<VecDeque<Instant>>,
    free: RefCell<VecDeque<Waker>>,
    /// Who is to be woken when.
    alarm: RefCell<Option<(Instant, Waker)>>,
    /// Of [`dispatch`] and [`echo`], who is waiting for the other.
    turns: [RefCell<Option<Waker>>; 2],
}

/// Clients at work, until they are told to stop.
pub(super) struct Running {
    shared: Rc<Shared>,
    tasks: Vec<monoio::task::JoinHandle<()>>,
}

/// The longest latency that is told apart, in microseconds: a minute.
const LONGEST: u64 = 60_000_000;

/// How long the first answer is waited for beyond the time of a turn.
const PATIENCE: Duration = Duration::from_secs(10);

impl Load {
    /// Starts all clients.
    pub(super) fn start(self) -> Running {
        let shared = Shared::new(self, false);
        let clients = 0..shared.load.connections;
        let mut tasks: Vec<_> = clients.map(|_| monoio::spawn(client(shared.clone()))).collect();
        if let Pattern::Rate(rate) = shared.load.pattern {
            tasks.push(monoio::spawn(dispatch(shared.clone(), rate)));
            tasks.push(monoio::spawn(echo(shared.clone())));
        }
        Running { shared, tasks }
    }
}

impl Running {
    /// Counts for so long, and longer where nothing has come by then.
    pub(super) async fn measure(&self, time: Duration) -> Outcome {
        let shared = &self.shared;
        shared.latency.borrow_mut().reset();
        shared.answers.set(0);
        shared.errors.set(0);
        shared.counts.set(true);
        let start = Instant::now();
        self.wait(time).await;
        // On a machine with other work a short turn may be over before anything is.
        while shared.answers.get() + shared.errors.get() == 0 && start.elapsed() < time + PATIENCE {
            self.wait(Duration::from_millis(10)).await;
        }
        shared.counts.set(false);
        shared.outcome(start)
    }

    /// Waits while the clients are at it.
    pub(super) async fn wait(&self, time: Duration) {
        let shared = &self.shared;
        if !matches!(shared.load.pattern, Pattern::Rate(_)) {
            return time::sleep(time).await;
        }
        let end = Instant::now() + time;
        poll_fn(|context| {
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            shared.alarm.replace(Some((end, context.waker().clone())));
            Poll::Pending
        })
        .await;
    }

    /// Waits until every client has ended.
    pub(super) async fn stop(self) {
        self.shared.over.set(true);
        for task in self.tasks {
            // A client that hangs on a gateway that hangs is dropped with the runtime.
            let _ = time::timeout(Duration::from_secs(2), task).await;
        }
    }
}

async fn client(shared: Rc<Shared>) {
    while !shared.over.get() {
        let lived = match shared.load.pattern {
            Pattern::KeepAlive => keep_alive(&shared).await,
            Pattern::Fresh => fresh(&shared).await,
            Pattern::Rate(_) => rated(&shared).await,
            Pattern::WebSocket => web_socket(&shared).await,
        };
        if let Err(error) = lived {
            shared.failed(&error);
            // A gateway that refuses everything shall not be asked a million times a second.
            time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Shared {
    fn new(load: Load, counts: bool) -> Rc<Shared> {
        // Three significant digits are far finer than the noise.
        let latency = Histogram::new_with_bounds(1, LONGEST, 3).expect("invariant: valid bounds");
        Rc::new(Shared {
            load,
            latency: RefCell::new(latency),
            answers: Cell::new(0),
            errors: Cell::new(0),
            first_error: RefCell::default(),
            counts: Cell::new(counts),
            over: Cell::new(false),
            due: RefCell::default(),
            free: RefCell::default(),
            alarm: RefCell::default(),
            turns: Default::default(),
        })
    }

    /// Lets all others run, then the other of the two whose turns these are, and then goes on.
    async fn give_way(&self, me: usize) {
        let mut passed = false;
        poll_fn(|context| {
            if std::mem::replace(&mut passed, true) {
                return Poll::Ready(());
            }
            self.turns[me].replace(Some(context.waker().clone()));
            self.turns[1 - me].take().inspect(Waker::wake_by_ref);
            Poll::Pending
        })
        .await;
    }

    /// The next request that is due; none when it is over.
    async fn turn(&self) -> Option<Instant> {
        poll_fn(|context| {
            if self.over.get() {
                return Poll::Ready(None);
            }
            match self.due.borrow_mut().pop_front() {
                Some(due) => Poll::Ready(Some(due)),
                None => {
                    self.free.borrow_mut().push_back(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// What has been counted since `start`.
    fn outcome(&self, start: Instant) -> Outcome {
        Outcome {
            elapsed: start.elapsed(),
            answers: self.answers.get(),
            errors: self.errors.get(),
            first_error: self.first_error.borrow().clone(),
            latency: self.latency.borrow().clone(),
        }
    }

    fn answered(&self, since: Instant) {
        if self.counts.get() {
            self.answers.set(self.answers.get() + 1);
            let micros = since.elapsed().as_micros() as u64;
            self.latency.borrow_mut().saturating_record(micros);
        }
    }

    fn failed(&self, error: &io::Error) {
        if self.counts.get() {
            self.errors.set(self.errors.get() + 1);
            self.first_error.borrow_mut().get_or_insert_with(|| error.to_string());
        }
    }
}

async fn keep_alive(shared: &Shared) -> io::Result<()> {
    let mut client = Client::connect(shared.load.to).await?;
    let mut request = shared.load.request.to_vec();
    while !shared.over.get() {
        let start = Instant::now();
        request = client.ask(request, shared.load.answer).await?;
        shared.answered(start);
        client.renew(shared.load.to).await?;
    }
    Ok(())
}

/// The request says that it is the last one on its connection, which the gateway then closes. To
/// wait for that leaves the port that the kernel keeps for a while on the gateway's side.
async fn fresh(shared: &Shared) -> io::Result<()> {
    let mut request = shared.load.request.to_vec();
    while !shared.over.get() {
        let start = Instant::now();
        let mut client = Client::connect(shared.load.to).await?;
        request = client.ask(request, shared.load.answer).await?;
        shared.answered(start);
        client.buffer.clear();
        match client.read().await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error),
            Ok(()) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(())
}

/// One of the connections that take the requests which are due.
async fn rated(shared: &Shared) -> io::Result<()> {
    let mut client = Client::connect(shared.load.to).await?;
    let mut request = shared.load.request.to_vec();
    while let Some(due) = shared.turn().await {
        request = client.ask(request, shared.load.answer).await?;
        shared.answered(due);
        client.renew(shared.load.to).await?;
    }
    Ok(())
}

/// Makes so many requests due a second, each at its time: what no connection is free for waits. It
/// keeps the time for the whole load, because the runtime's timers go by milliseconds and rest
/// while there is always something to do.
async fn dispatch(shared: Rc<Shared>, rate: f64) {
    let every = Duration::from_secs_f64(1.0 / rate);
    let mut next = Instant::now();
    while !shared.over.get() {
        let now = Instant::now();
        while next <= now {
            shared.due.borrow_mut().push_back(next);
            shared.free.borrow_mut().pop_front().inspect(Waker::wake_by_ref);
            next += every;
        }
        if shared.alarm.borrow().as_ref().is_some_and(|(end, _)| *end <= now) {
            shared.alarm.take().inspect(|(_, waker)| waker.wake_by_ref());
        }
        shared.give_way(0).await;
    }
    shared.free.borrow_mut().drain(..).for_each(Waker::wake);
    shared.turns[1].take().inspect(Waker::wake_by_ref);
}

/// Gives way back to [`dispatch`] again and again: a task that woke itself would be the next to
/// run, before all that were waiting.
async fn echo(shared: Rc<Shared>) {
    while !shared.over.get() {
        shared.give_way(1).await;
    }
    shared.turns[0].take().inspect(Waker::wake_by_ref);
}

async fn web_socket(shared: &Shared) -> io::Result<()> {
    const FRAME: usize = 128;
    let mut client = Client::connect(shared.load.to).await?;
    client.send(shared.load.request.to_vec()).await?;
    client.buffer.clear();
    while wire::head(&client.buffer).is_none() {
        client.read().await?;
    }
    if wire::status(&client.buffer) != 101 {
        return Err(unexpected(&client.buffer));
    }
    let mut frame = vec![b'w'; FRAME];
    while !shared.over.get() {
        let start = Instant::now();
        frame = client.send(frame).await?;
        client.buffer.clear();
        while client.buffer.len() < FRAME {
            client.read().await?;
        }
        shared.answered(start);
    }
    Ok(())
}

/// Connections that stay open and ask nothing until they are told to.
pub(super) struct Idle(Vec<Client>);

impl Idle {
    /// Opens so many, each of which has asked once.
    ///
    /// # Errors
    /// When one cannot be opened or is not answered.
    pub(super) async fn open(load: &Load) -> io::Result<Idle> {
        let mut clients = Vec::new();
        for _ in 0..load.connections {
            let mut client = Client::connect(load.to).await?;
            client.ask(load.request.to_vec(), load.answer).await?;
            client.buffer = Vec::new();
            clients.push(client);
        }
        Ok(Idle(clients))
    }

    /// All ask at once; how long each waited.
    pub(super) async fn burst(self, load: &Load) -> Outcome {
        let shared = Shared::new(load.clone(), true);
        let start = Instant::now();
        let one = |mut client: Client| {
            let shared = shared.clone();
            monoio::spawn(async move {
                match client.ask(shared.load.request.to_vec(), shared.load.answer).await {
                    Ok(_) => shared.answered(start),
                    Err(error) => shared.failed(&error),
                }
            })
        };
        let asked: Vec<_> = self.0.into_iter().map(one).collect();
        for client in asked {
            client.await;
        }
        shared.outcome(start)
    }
}
