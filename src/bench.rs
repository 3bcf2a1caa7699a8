//! `ringway bench`: the same work through Ringway and the gateways that it is compared with.

mod client;
mod load;
mod measure;
mod neighbour;
mod origin;
mod peers;
mod process;
mod reload;
mod report;
mod rows;
mod stop;
mod target;
mod wire;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use crate::Exit;
use crate::paint::{Paint, Progress, err, out, out_json};
use measure::{DIRECT, Plan};
use origin::Origin;
use peers::Peer;
use report::{Gateway, Host, Report, RowReport};
use rows::{IDLE, Row};
use stop::Stop;
use target::Drive;

/// Arguments of `ringway bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Runs the same work through Ringway on io_uring, Ringway on epoll, and nginx, HAProxy, Envoy,
Traefik, Caddy and Varnish as far as they are installed, against one origin and with one load, all
on this machine; prints a table a row, and writes report.md, report.json, a chart a row and every
configuration that was used. Needs two cores at least: one for the load and the origin, the others
for the gateway. Traffic goes to loopback, and nothing is fetched from anywhere.

With --target only the load is there, at a gateway that runs already: to look at one's own, or to
hold the load against another tool's.

On a machine with other work to do the figures are worth little; ratios within a round are worth
most.

Exit codes: 0 done, 1 it could not be run, 2 the command line was not understood.")]
pub(crate) struct Arguments {
    /// Where the report goes
    #[arg(long, value_name = "FOLDER", default_value = "bench-report")]
    out: PathBuf,
    /// Only these rows, by name; see --list
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    rows: Vec<String>,
    /// Only these gateways, by name
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// A gateway that is not on the PATH, or another version: `nginx-1.30=/opt/nginx/sbin/nginx`
    #[arg(long = "peer", value_name = "NAME=PATH")]
    peers: Vec<String>,
    /// How long each gateway is measured in each round
    #[arg(long, default_value_t = 4.0, value_parser = seconds)]
    seconds: f64,
    /// How often each gateway has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Has every gateway write an access log, also in rows that do not ask for one
    #[arg(long)]
    access_log: bool,
    /// The core of the load and the origin; gateways have the others [default: the last one]
    #[arg(long, value_name = "CORE")]
    load_core: Option<usize>,
    /// A fraction of a second for each, once: shows that all runs, and fails where it does not.
    /// Of gateways that only happen to be installed, which neither --only nor --peer names, it
    /// warns
    #[arg(long, conflicts_with_all = ["seconds", "rounds"])]
    smoke: bool,
    /// Only the load, at a gateway that runs already on this machine: GET of this URL, as fast as
    /// answers come (closed loop)
    #[arg(long, value_name = "URL", conflicts_with_all = ["out", "rows", "only", "peers", "rounds",
        "access_log", "smoke", "list"])]
    target: Option<String>,
    /// With --target: how many connections
    #[arg(long, value_name = "NUMBER", default_value_t = 64, requires = "target",
        value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// With --target: how many requests a second over all connections, whether answers come or not
    /// (open loop); a latency counts from the time at which the request was due
    #[arg(long, value_name = "NUMBER", requires = "target",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Prints the report as JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Names the rows and ends
    #[arg(long)]
    list: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("write seconds from 0.1 to 3600".to_owned()),
    }
}

/// Runs the comparison.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    if arguments.list {
        for row in rows::all(idle(arguments.smoke, most_files())) {
            out(format_args!("{:<18} {}\n", row.name, row.what));
        }
        return Exit::Done;
    }
    let done = match &arguments.target {
        Some(url) => drive(arguments, url),
        None => compare(arguments),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(message) => {
            err(format_args!("{}: {message}\n", Paint::stderr().bad("error")));
            Exit::Failed
        }
    }
}

fn compare(arguments: &Arguments) -> Result<(), String> {
    let descriptors = most_files();
    let rows = chosen_rows(&arguments.rows, idle(arguments.smoke, descriptors))?;
    let (peers, missing) = chosen_peers(arguments)?;
    let (cores, load_core) = share_cores(arguments.load_core)?;
    fs::create_dir_all(&arguments.out)
        .map_err(|error| format!("--out {}: {error}", arguments.out.display()))?;
    let plan = Plan {
        seconds: if arguments.smoke { 0.2 } else { arguments.seconds },
        rounds: if arguments.smoke { 1 } else { usize::from(arguments.rounds) },
        cores: cores.clone(),
        access_log: arguments.access_log,
        stop: Stop::on_signals().map_err(|error| error.to_string())?,
        descriptors,
        folder: arguments.out.clone(),
        token: token()?,
    };
    for name in &missing {
        err(format_args!("{name} is not installed and is left out\n"));
    }
    let gateways =
        peers.iter().map(|peer| Gateway { name: peer.name.clone(), version: peer.version.clone() });
    let mut report = Report {
        host: host(cores, load_core),
        seconds: plan.seconds,
        rounds: plan.rounds,
        access_log: plan.access_log,
        gateways: gateways.collect(),
        missing,
        rows: Vec::new(),
    };
    pin(load_core)?;
    for row in &rows {
        let done = run_row(&plan, row, &peers)?;
        if !arguments.json {
            out(format_args!("{}\n", done.text()));
        }
        report.rows.push(done);
        // After each row: what has been measured is kept, whatever comes.
        report.write(&plan.folder).map_err(|error| error.to_string())?;
    }
    if arguments.json {
        out_json(&report);
    }
    if arguments.smoke {
        judge(arguments, &report)?;
    }
    err(format_args!("The report is in {}\n", plan.folder.join("report.md").display()));
    Ok(())
}

/// The load alone, at a gateway that somebody else has started.
fn drive(arguments: &Arguments, url: &str) -> Result<(), String> {
    let Arguments { connections, rate, seconds, .. } = *arguments;
    let drive = Drive::new(url, connections, rate, seconds)?;
    let (_, load_core) = share_cores(arguments.load_core)?;
    most_files();
    pin(load_core)?;
    let told = on_runtime(drive.run()).map_err(|error| error.to_string())?;
    if told.answers == 0 {
        let why = told.first_error.unwrap_or_else(|| "no answers".to_owned());
        return Err(format!("--target {url}: {why}"));
    }
    if arguments.json {
        out_json(&told);
    } else {
        out(told.text());
    }
    Ok(())
}

/// Puts this thread on the core of the load.
fn pin(core: usize) -> Result<(), String> {
    let done = core_affinity::set_for_current(core_affinity::CoreId { id: core });
    if done { Ok(()) } else { Err(format!("the load cannot be put on core {core}")) }
}

/// What a short run fails by: by Ringway, and by every gateway that was asked for. One that merely
/// happens to be installed here is warned of.
fn judge(arguments: &Arguments, report: &Report) -> Result<(), String> {
    let named = arguments.peers.iter().filter_map(|named| named.split_once('='));
    let mut asked: Vec<&str> = named.map(|(name, _)| name).collect();
    asked.extend(arguments.only.iter().map(String::as_str));
    asked.extend(["ringway", "ringway-epoll", DIRECT]);
    let (failures, warnings): (Vec<_>, Vec<_>) =
        report.failures().into_iter().partition(|(name, _)| asked.contains(name));
    for (_, warning) in warnings {
        err(format_args!("{}: {warning}\n", Paint::stderr().warning("warning")));
    }
    let failures: Vec<String> = failures.into_iter().map(|(_, failure)| failure).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// How many idle connections the idle row has.
fn idle(smoke: bool, descriptors: u64) -> usize {
    // Each has an end in the load and may have one at the origin, which are one process; a gateway
    // that has both a client and the origin for each needs as many.
    let most = (descriptors / 2).saturating_sub(1000) as usize;
    most.min(if smoke { 200 } else { IDLE })
}

/// The gateways that take part, and the names of those that are not installed.
fn chosen_peers(arguments: &Arguments) -> Result<(Vec<Peer>, Vec<&'static str>), String> {
    let (mut peers, missing) = Peer::find(&arguments.peers)?;
    if arguments.only.is_empty() {
        return Ok((peers, missing));
    }
    if let Some(name) = arguments.only.iter().find(|name| peers.iter().all(|p| p.name != **name)) {
        let names: Vec<_> = peers.iter().map(|peer| peer.name.as_str()).collect();
        return Err(format!(
            "--only {name}: there is no such gateway here, only {}",
            names.join(", ")
        ));
    }
    peers.retain(|peer| arguments.only.contains(&peer.name));
    Ok((peers, Vec::new()))
}

fn chosen_rows(names: &[String], idle: usize) -> Result<Vec<Row>, String> {
    let all = rows::all(idle);
    if names.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| {
        let row = all.iter().find(|row| row.name == *name).cloned();
        row.ok_or_else(|| format!("--rows {name}: no such row; `ringway bench --list` names them"))
    };
    names.iter().map(find).collect()
}

/// Cores for gateways, and the one for the load.
fn share_cores(asked: Option<usize>) -> Result<(Vec<usize>, usize), String> {
    let mut cores = ringway_engine::cores::allowed();
    let load = asked.or(cores.last().copied()).unwrap_or(0);
    if !cores.contains(&load) {
        return Err(format!("--load-core {load}: this process may not use that core"));
    }
    if cores.len() < 2 {
        return Err("two cores are needed: one for the load, one for the gateway".to_owned());
    }
    cores.retain(|&core| core != load);
    // Rows with two workers take the load's core as well where there is no third: what they show is
    // how even two workers are, not how fast.
    cores.push(load);
    Ok((cores, load))
}

/// Runs one row on a runtime of its own, so that nothing of it is left for the next.
fn run_row(plan: &Plan, row: &Row, peers: &[Peer]) -> Result<RowReport, String> {
    let progress = Progress::stderr();
    let work = async {
        let origin = Origin::start()?;
        let entries = measure::row(plan, row, peers, &origin, &progress).await?;
        origin.end().await?;
        Ok(entries)
    };
    match on_runtime(work).and_then(|entries| entries) {
        Ok(entries) => Ok(RowReport::new(row, entries)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err("interrupted".to_owned()),
        Err(error) => Err(format!("{}: {error}", row.name)),
    }
}

/// Does `work` on io_uring, or on epoll where that is all there is.
fn on_runtime<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let mut builder = io_uring::IoUring::builder();
    // A completion waits until this thread enters the kernel anyway. Without that, whoever causes
    // it interrupts this core, and the gateway would pay for how it is measured.
    builder.setup_coop_taskrun();
    let ring = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
        .uring_builder(builder)
        .with_entries(4096)
        .enable_timer()
        .build();
    match ring.ok().filter(|_| has_ring()) {
        Some(mut runtime) => Ok(runtime.block_on(work)),
        None => {
            let epoll = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new();
            Ok(epoll.enable_timer().build()?.block_on(work))
        }
    }
}

/// A token that the gateways of the gateway row accept for a day.
fn token() -> Result<String, String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let expires = now.map_err(|error| error.to_string())? + Duration::from_secs(86_400);
    let claims = json!({"sub": "bench", "exp": expires.as_secs()});
    let key = EncodingKey::from_secret(peers::SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).map_err(|error| error.to_string())
}

/// As many descriptors as the system gives, for the load and the gateways, which hold thousands of
/// sockets; how many that are.
fn most_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const WANTED: u64 = 65_536;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|most| most < WANTED) {
        // Only root may.
        let more = Rlimit { current: Some(WANTED), maximum: Some(WANTED) };
        let _ = setrlimit(Resource::Nofile, more);
        limit = getrlimit(Resource::Nofile);
    }
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    getrlimit(Resource::Nofile).current.unwrap_or(WANTED)
}

fn host(gateway_cores: Vec<usize>, load_core: usize) -> Host {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let system = rustix::system::uname();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Host {
        date: httpdate::fmt_http_date(SystemTime::now()),
        kernel: system.release().to_string_lossy().into_owned(),
        processor: model.map_or("an unknown processor", |(_, model)| model).to_owned(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        gateway_cores,
        load_core,
        load_driver: if has_ring() { "io_uring" } else { "epoll" },
        load_average: load.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0),
    }
}

/// Whether the load and the origin go by io_uring.
fn has_ring() -> bool {
    ringway_engine::cores::try_io_uring() == ringway_engine::cores::RingTrial::Works
}
