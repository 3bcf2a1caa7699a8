//! Rounds: every gateway does the same for a moment, one after the other, again and again.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;

use super::load::{Idle, Load, Outcome, Pattern};
use super::neighbour::Neighbour;
use super::origin::Origin;
use super::peers::{Peer, Setup, free_port};
use super::process::{Process, Usage};
use super::reload::Reloads;
use super::rows::{Row, Work};
use super::stop::Stop;
use crate::paint::Progress;

/// How long a load runs before it is counted.
pub(super) const WARM_UP: Duration = Duration::from_millis(300);

/// How long all idle connections may take to be answered.
const IDLE_ANSWERS: Duration = Duration::from_secs(60);

/// How a comparison is run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seconds: f64,
    pub(super) rounds: usize,
    /// Cores for gateways; a row takes as many as it has workers, from the front.
    pub(super) cores: Vec<usize>,
    /// All write an access log, in rows that do not say so.
    pub(super) access_log: bool,
    pub(super) stop: Stop,
    /// Descriptors that a process may have.
    pub(super) descriptors: u64,
    /// Where configurations, logs and the report go.
    pub(super) folder: PathBuf,
    pub(super) token: String,
}

impl Plan {
    /// An error once the end has been asked for.
    fn go_on(&self) -> io::Result<()> {
        if self.stop.is_asked() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

/// What one gateway did in one round.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Figures {
    pub(super) requests_per_second: f64,
    /// User and system time of all processes, a request; none where processes were replaced.
    pub(super) cpu_us: Option<f64>,
    pub(super) p50_us: u64,
    pub(super) p90_us: u64,
    pub(super) p99_us: u64,
    pub(super) p999_us: u64,
    pub(super) peak_rss_bytes: u64,
    pub(super) upstream_connections: u64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    /// Share of its cores that the gateway used, or of what a neighbour leaves it of them; none
    /// where processes were replaced.
    pub(super) busy: Option<f64>,
    /// Of the busiest `workers` threads, the least busy beside the busiest.
    pub(super) evenness: Option<f64>,
    /// Resident bytes of the gateway beyond those at its start while all are idle, for each.
    pub(super) bytes_per_connection: Option<f64>,
}

impl Figures {
    /// The median of each figure by itself, and the sum of what is counted; none of no rounds.
    pub(super) fn median(rounds: &[Figures]) -> Option<Figures> {
        if rounds.is_empty() {
            return None;
        }
        let real = |of: fn(&Figures) -> f64| median(rounds.iter().map(of));
        let some = |of: fn(&Figures) -> Option<f64>| {
            let values: Vec<f64> = rounds.iter().filter_map(of).collect();
            (!values.is_empty()).then(|| median(values))
        };
        Some(Figures {
            requests_per_second: real(|f| f.requests_per_second),
            cpu_us: some(|f| f.cpu_us),
            p50_us: real(|f| f.p50_us as f64) as u64,
            p90_us: real(|f| f.p90_us as f64) as u64,
            p99_us: real(|f| f.p99_us as f64) as u64,
            p999_us: real(|f| f.p999_us as f64) as u64,
            peak_rss_bytes: real(|f| f.peak_rss_bytes as f64) as u64,
            // Both are one too many whenever they came.
            upstream_connections: rounds.iter().map(|f| f.upstream_connections).sum(),
            errors: rounds.iter().map(|f| f.errors).sum(),
            first_error: rounds.iter().find_map(|f| f.first_error.clone()),
            busy: some(|f| f.busy),
            evenness: some(|f| f.evenness),
            bytes_per_connection: some(|f| f.bytes_per_connection),
        })
    }
}

/// One gateway in one row.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Entry {
    pub(super) name: String,
    /// What its configuration lacks of the duty.
    pub(super) lacks: String,
    /// Why it has no figures, or none any more.
    pub(super) failed: Option<String>,
    /// Why it does not take part.
    pub(super) cannot: Option<String>,
    /// The configuration, by its place in the report's folder.
    pub(super) configuration: Option<PathBuf>,
    pub(super) rounds: Vec<Figures>,
}

/// The name of the entry for the load without any gateway.
pub(super) const DIRECT: &str = "direct";

/// A gateway that takes part in a row, or the direct path.
struct Contender<'a> {
    /// Its place among the entries.
    entry: usize,
    address: SocketAddr,
    peer: Option<&'a Peer>,
    gateway: Option<Running>,
}

/// A gateway at work.
struct Running {
    process: Process,
    reloads: Option<Reloads>,
    /// What it had used when it began to listen.
    start: Usage,
}

/// Runs one row; what each gateway did, the direct path first.
pub(super) async fn row(
    plan: &Plan,
    row: &Row,
    peers: &[Peer],
    origin: &Origin,
    progress: &Progress,
) -> io::Result<Vec<Entry>> {
    let mut entries = vec![Entry::new(DIRECT)];
    let direct = Contender { entry: 0, address: origin.address, peer: None, gateway: None };
    let mut contenders = vec![direct];
    for peer in peers {
        progress.show(format_args!("{}: starting {}", row.name, peer.name));
        let mut entry = Entry::new(&peer.name);
        match enter(plan, row, peer, origin, &mut entry)? {
            Ok((address, running)) => contenders.push(Contender {
                entry: entries.len(),
                address,
                peer: Some(peer),
                gateway: Some(running),
            }),
            Err(why) => entry.cannot = Some(why),
        }
        entries.push(entry);
        plan.go_on()?;
    }
    let half = if row.neighbour { &plan.cores[..row.workers] } else { &[] };
    let _neighbour = Neighbour::on(half)?;
    for round in 1..=plan.rounds {
        for contender in &mut contenders {
            let entry = &mut entries[contender.entry];
            if entry.failed.is_some() {
                continue;
            }
            let (row_name, rounds, name) = (&row.name, plan.rounds, &entry.name);
            progress.show(format_args!("{row_name}: round {round} of {rounds}, {name}"));
            // Who fails a round is out: rounds stay pairs.
            match turn(plan, row, contender, origin).await {
                Ok(figures) if figures.requests_per_second == 0.0 => {
                    let why = figures.first_error.as_deref().unwrap_or("no answers");
                    entry.failed = Some(format!("in round {round}: {why}"));
                }
                Ok(figures) => entry.rounds.push(figures),
                Err(error) => entry.failed = Some(format!("in round {round}: {error}")),
            }
            plan.go_on()?;
            if matches!(row.work, Work::Idle(_)) {
                let again = round < plan.rounds;
                end_and_start(plan, row, contender, origin, entry, again).await?;
            }
        }
    }
    Ok(entries)
}

/// Ends a gateway after its turn, and starts it `again`. What it keeps of a burst, memory and
/// connections to the origin, would be part of what it is found to hold in its next turn.
async fn end_and_start(
    plan: &Plan,
    row: &Row,
    contender: &mut Contender<'_>,
    origin: &Origin,
    entry: &mut Entry,
    again: bool,
) -> io::Result<()> {
    contender.gateway = None;
    origin.is_left().await?;
    let Some(peer) = contender.peer.filter(|_| again && entry.failed.is_none()) else {
        return Ok(());
    };
    match enter(plan, row, peer, origin, entry)? {
        Ok((address, running)) => {
            contender.address = address;
            contender.gateway = Some(running);
        }
        Err(why) => entry.failed = Some(why),
    }
    Ok(())
}

impl Entry {
    /// Requests a second beside those of `other` in the same round; the median of the rounds.
    pub(super) fn ratio_to(&self, other: &Entry) -> Option<f64> {
        let pairs = self.rounds.iter().zip(&other.rounds);
        let ratios =
            pairs.map(|(ours, theirs)| ours.requests_per_second / theirs.requests_per_second);
        let ratios: Vec<f64> = ratios.filter(|ratio| ratio.is_finite()).collect();
        (!ratios.is_empty()).then(|| median(ratios))
    }

    pub(super) fn new(name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            lacks: String::new(),
            failed: None,
            cannot: None,
            configuration: None,
            rounds: Vec::new(),
        }
    }
}

/// Starts a gateway for a row; the inner error is why it cannot take part.
fn enter(
    plan: &Plan,
    row: &Row,
    peer: &Peer,
    origin: &Origin,
    entry: &mut Entry,
) -> io::Result<Result<(SocketAddr, Running), String>> {
    if let Some(why) = peer.cannot(row.duty, row.workers) {
        return Ok(Err(why.to_owned()));
    }
    if plan.cores.len() < row.workers {
        let cores = plan.cores.len();
        return Ok(Err(format!("needs {} cores for the gateway, has {cores}", row.workers)));
    }
    let place = Path::new("configurations").join(&row.name).join(&peer.name);
    let folder = plan.folder.join(&place);
    std::fs::create_dir_all(&folder)?;
    let setup = Setup {
        duty: row.duty,
        access_log: plan.access_log,
        reloads: matches!(row.work, Work::Reload(_)),
        descriptors: plan.descriptors,
        listen: free_port()?,
        origin: origin.address,
        cores: plan.cores[..row.workers].to_vec(),
        folder: std::path::absolute(&folder)?,
    };
    let prepared = peer.prepare(&setup)?;
    if setup.reloads && prepared.reload.is_none() {
        return Ok(Err("it has no file to read again".to_owned()));
    }
    entry.lacks = prepared.lacks.to_owned();
    entry.configuration = prepared.file.file_name().map(|name| place.join(name));
    let log = folder.join("output.log");
    match Process::start(prepared.command, &setup.cores, setup.listen, &log, &plan.stop) {
        Ok(process) => {
            let (log, done) = (folder.join("reload.log"), Cell::new(0));
            let cores = setup.cores;
            let reloads = prepared.reload.map(|by| Reloads { by, cores, log, done });
            let start = process.usage();
            Ok(Ok((setup.listen, Running { process, reloads, start })))
        }
        Err(why) => {
            entry.failed = Some(why.clone());
            Ok(Err(why))
        }
    }
}

async fn turn(
    plan: &Plan,
    row: &Row,
    contender: &Contender<'_>,
    origin: &Origin,
) -> io::Result<Figures> {
    let gateway = contender.gateway.as_ref();
    let usage = || gateway.map(|gateway| gateway.process.usage()).unwrap_or_default();
    let request = Rc::from(row.ask.bytes(&plan.token));
    let (to, answer) = (contender.address, Some(row.ask.answer()));
    let load = |pattern, connections| Load { to, pattern, connections, request, answer };
    let time = Duration::from_secs_f64(plan.seconds);
    let accepted = origin.accepted();
    let mut bytes_per_connection = None;
    let (outcome, before, after) = match row.work {
        Work::Load(pattern, connections) => running(load(pattern, connections), time, &usage).await,
        Work::Reload(connections) => {
            let over = Cell::new(false);
            let load = running(load(Pattern::KeepAlive, connections), time, &usage);
            let ran = async {
                let ran = load.await;
                over.set(true);
                ran
            };
            let reloads = async {
                match gateway.and_then(|gateway| Some((gateway, gateway.reloads.as_ref()?))) {
                    Some((gateway, reloads)) => reloads.every_second(&gateway.process, &over).await,
                    None => Ok(()),
                }
            };
            let (ran, reloaded) = monoio::join!(ran, reloads);
            reloaded?;
            ran
        }
        Work::Idle(connections) => {
            let load = load(Pattern::KeepAlive, connections);
            let idle = answered(Idle::open(&load)).await??;
            let before = usage();
            let held = gateway.map(|gateway| before.rss.saturating_sub(gateway.start.rss));
            bytes_per_connection = held.map(|held| held as f64 / connections as f64);
            let outcome = answered(idle.burst(&load)).await?;
            (outcome, before, usage())
        }
    };
    let used = after.since(&before);
    let seconds = outcome.elapsed.as_secs_f64();
    let cores = row.workers as f64 * if row.neighbour { 0.5 } else { 1.0 };
    let at = |quantile: f64| outcome.latency.value_at_quantile(quantile);
    Ok(Figures {
        requests_per_second: outcome.answers as f64 / seconds,
        cpu_us: used.map(|used| used.as_secs_f64() * 1e6 / outcome.answers.max(1) as f64),
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        peak_rss_bytes: gateway.map_or(0, |gateway| gateway.process.peak()),
        upstream_connections: origin.accepted() - accepted,
        errors: outcome.errors,
        first_error: outcome.first_error,
        busy: used.map(|used| used.as_secs_f64() / seconds / cores),
        evenness: gateway.filter(|_| row.workers > 1).map(|_| after.evenness(&before, row.workers)),
        bytes_per_connection,
    })
}

/// Runs a load, and tells what the gateway had used when counting began and when it ended.
async fn running(load: Load, time: Duration, usage: &dyn Fn() -> Usage) -> (Outcome, Usage, Usage) {
    let running = load.start();
    running.wait(WARM_UP).await;
    let before = usage();
    let outcome = running.measure(time).await;
    let after = usage();
    running.stop().await;
    (outcome, before, after)
}

/// Waits for answers on all idle connections, but not for ever.
async fn answered<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let answered = monoio::time::timeout(IDLE_ANSWERS, work).await;
    answered.map_err(|_| {
        let seconds = IDLE_ANSWERS.as_secs();
        io::Error::other(format!("not every idle connection was answered within {seconds} s"))
    })
}

/// The middle of some numbers; 0 of none.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([]), 0.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0]), 2.5);
    }
}
