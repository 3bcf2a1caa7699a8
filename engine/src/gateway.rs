//! Start to stop: listeners bound, workers on their cores, signals, drain.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use ringway_config::{Count, Driver};

use crate::admission::Places;
use crate::compute::Pool;
use crate::control::admin::{self, Admin};
use crate::control::reload::{Listening, Loader};
use crate::control::{self, Control, Event};
use crate::cores::{self, RingTrial};
use crate::limits::{LOG_PATIENCE, MAILBOX};
use crate::listen;
use crate::live::Live;
use crate::log::Logs;
use crate::metrics::Shard;
use crate::recent::Errors;
use crate::run::{self, Start};
use crate::shared::{Mailbox, Shared, SharedBudget, SharedFlag, SharedLatest};
use crate::snapshot::{Snapshot, bound};
use crate::upstream::{Addresses, Registry};
use crate::worker::{Colleague, Common};

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}{}", listen::help(.error))]
    Listen {
        /// The address of `server.listen`.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The admin API cannot be listened on.
    #[error("the admin API cannot listen on {address}: {error}{}", admin_help(.error))]
    Admin {
        /// The address of `admin.listen`.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The driver that the file asks for is not to be had.
    #[error(
        "workers.driver is io_uring, but {0}; `ringway doctor` tells what forbids it, and \
         `driver: auto` falls back to epoll"
    )]
    Driver(RingTrial),
    /// `workers.cores` names a core that this process may not use.
    #[error(
        "workers.cores names core {core}, but this process may use only {}; `ringway doctor` shows \
         them", listed(.allowed)
    )]
    Core {
        /// The core that was named.
        core: usize,
        /// Those there are.
        allowed: Vec<usize>,
    },
    /// A worker did not come up, or was lost.
    #[error("worker {id} {how}")]
    Worker {
        /// Which one.
        id: usize,
        /// What became of it.
        how: String,
    },
    /// A thread, a socket pair or the like cannot be had.
    #[error("cannot start: {0}")]
    Resources(#[from] io::Error),
}

fn listed(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

fn admin_help(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            " (another program has this port: stop it, or change `admin.listen`)"
        }
        _ => listen::help(error),
    }
}

/// A gateway at work.
pub struct Running {
    /// Where it listens, ports chosen.
    pub addresses: Vec<SocketAddr>,
    control: Control,
    workers: Vec<JoinHandle<io::Result<()>>>,
    logs: Shared<Logs>,
    admin: Option<Admin>,
}

/// Starts a gateway, serves until SIGTERM or SIGINT, drains, and returns. On SIGHUP, and when
/// `loader` has a file that changes, what the loader loads is served instead.
///
/// # Errors
/// When it cannot start, or a worker could not serve.
pub fn run(snapshot: Snapshot, loader: Box<dyn Loader>) -> Result<(), StartError> {
    // Before anybody is told that it listens: who waits for that may ask for the end at once.
    let signals = control::signals::catch(true)?;
    let running = start_with(snapshot, Some(loader))?;
    control::signals::listen(signals, running.control.events())?;
    running.wait()
}

/// Starts a gateway that serves by `snapshot` to its end, and returns once it listens.
///
/// # Errors
/// When it cannot.
pub fn start(snapshot: Snapshot) -> Result<Running, StartError> {
    start_with(snapshot, None)
}

fn start_with(snapshot: Snapshot, loader: Option<Box<dyn Loader>>) -> Result<Running, StartError> {
    let settings = snapshot.workers.clone();
    let io_uring = choose_driver(settings.driver)?;
    let cores = choose_cores(&settings)?;
    let count = cores.len();
    let mut by_worker: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
    let mut listening = Vec::new();
    for &asked in &snapshot.server.listen {
        let bound = listen::bind(asked, count, false)
            .map_err(|error| StartError::Listen { address: asked, error })?;
        listening.push(Listening { asked, address: bound[0].address });
        bound.into_iter().zip(&mut by_worker).for_each(|(socket, own)| own.push(socket));
    }
    let addresses: Vec<_> = listening.iter().map(|listening| listening.address).collect();
    let admin = snapshot
        .admin
        .clone()
        .map(admin::Listener::bind)
        .transpose()
        .map_err(|(address, error)| StartError::Admin { address, error })?;
    let mut inboxes = Vec::new();
    let mut colleagues = Vec::new();
    for _ in 0..count {
        let (mailbox, inbox, ear) = Mailbox::new(MAILBOX)?;
        inboxes.push((inbox, ear));
        let promised = SharedBudget::new(u64::MAX);
        colleagues.push(Colleague { mailbox, shard: Shared::new(Shard::default()), promised });
    }
    let server = &snapshot.server;
    let logs = Shared::new(Logs::default());
    let places = Places::new(server.max_connections, bound(server.max_connections_per_client));
    let resolved = control::resolve::all(&snapshot, &Addresses::new());
    let common = Shared::new(Common {
        live: Shared::new(Live::new(Shared::new(snapshot), addresses.clone())),
        addresses: SharedLatest::new(Shared::new(resolved)),
        places: Shared::new(places),
        colleagues,
        pool: Pool::start()?,
        logs: logs.clone(),
        errors: Errors::default(),
        io_uring,
        draining: SharedFlag::default(),
        registry: Shared::new(Registry::new(count)),
    });
    common.registry.adopt(&common.live.snapshot().upstreams, &common.addresses.get());
    let mut workers = Vec::new();
    let parts = cores.into_iter().zip(by_worker).zip(inboxes).enumerate();
    for (id, ((core, listeners), (inbox, ear))) in parts {
        let core = core.filter(|_| settings.pin);
        let start = Start { id, io_uring, core, common: common.clone(), listeners, inbox, ear };
        let thread = std::thread::Builder::new().name(format!("ringway-{id}"));
        let work = move || {
            run::run(start).inspect_err(|error| {
                tracing::error!(worker = id, %error, "a worker cannot run; the others serve on");
            })
        };
        workers.push(thread.spawn(work)?);
    }
    let control = Control::start(common.clone(), listening, loader)?;
    let events = control.events();
    let admin = admin
        .map(|listener| listener.start(admin::Asked { common, events, io_uring }))
        .transpose()?;
    for address in &addresses {
        let driver = if io_uring { "io_uring" } else { "epoll" };
        tracing::info!(%address, driver, workers = count, "listening");
    }
    Ok(Running { addresses, control, workers, logs, admin })
}

impl Running {
    /// Stops gracefully on SIGTERM and SIGINT; the second signal ends the process at once.
    ///
    /// # Errors
    /// When signals cannot be handled.
    pub fn stop_on_signals(&self) -> io::Result<()> {
        control::signals::listen(control::signals::catch(false)?, self.control.events())
    }

    /// Begins to stop: no more connections, what is open is finished within `drain_timeout`.
    pub fn stop(&self) {
        let _ = self.control.events().send(Event::Stop);
    }

    /// Waits until every worker has stopped.
    ///
    /// # Errors
    /// When one of them could not run, or was lost; the others have served on without it.
    pub fn wait(self) -> Result<(), StartError> {
        let mut outcome = Ok(());
        for (id, worker) in self.workers.into_iter().enumerate() {
            let how = match worker.join() {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => format!("could not run: {error}"),
                Err(_) => "was lost to a panic".to_owned(),
            };
            outcome = outcome.and(Err(StartError::Worker { id, how }));
        }
        // What the workers had to say of their last exchanges is in the queue by now.
        self.logs.finish(LOG_PATIENCE);
        if let Some(admin) = self.admin {
            admin.stop();
        }
        let _ = self.control.events().send(Event::Stopped);
        self.control.wait();
        outcome
    }
}

fn choose_driver(asked: Driver) -> Result<bool, StartError> {
    if asked == Driver::Epoll {
        return Ok(false);
    }
    match (cores::try_io_uring(), asked) {
        (RingTrial::Works, _) => Ok(true),
        (failed, Driver::IoUring) => Err(StartError::Driver(failed)),
        (failed, _) => {
            tracing::warn!(
                driver = "epoll",
                "SLOWER THAN IT COULD BE: falling back to epoll, because {failed}; `ringway \
                 doctor` tells what to change"
            );
            Ok(false)
        }
    }
}

/// A core for each worker; `None` where there are more workers than cores to pin them to.
fn choose_cores(settings: &ringway_config::Workers) -> Result<Vec<Option<usize>>, StartError> {
    let allowed = cores::allowed();
    let usable = match &settings.cores {
        None => allowed,
        Some(asked) => {
            if let Some(&core) = asked.0.iter().find(|core| !allowed.contains(core)) {
                return Err(StartError::Core { core, allowed });
            }
            asked.0.clone()
        }
    };
    let count = match settings.count {
        Count::Exactly(n) => n,
        Count::Auto if settings.cores.is_some() => usable.len(),
        Count::Auto => cores::auto_count(),
    };
    if settings.pin && count > usable.len() {
        let (unpinned, cores) = (count - usable.len(), usable.len());
        tracing::warn!(unpinned, cores, "more workers than cores: those beyond are not pinned");
    }
    Ok((0..count).map(|at| usable.get(at).copied()).collect())
}
