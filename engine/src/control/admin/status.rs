//! `GET /health`, `/ready` and `/status`.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::Context;
use super::answer::{Answer, Refusal};
use crate::clock;
use crate::explain;
use crate::shared::Shared;
use crate::status::{self, EndpointStatus, ReloadStatus, Status, UpstreamStatus, WorkerStatus};
use crate::upstream::{EndpointView, Plan, Standing};
use crate::worker::Colleague;

/// A short answer for whoever watches over the process.
#[derive(Debug, Serialize)]
pub(super) struct Said {
    status: &'static str,
}

/// It runs and answers.
pub(super) async fn health() -> Json<Said> {
    Json(Said { status: "ok" })
}

/// It takes requests: its listeners are open, and nobody has asked it to stop.
pub(super) async fn ready(State(context): State<Shared<Context>>) -> Answer<Said> {
    match state(&context) {
        status::State::Ready => Ok(Json(Said { status: "ready" })),
        status::State::Draining => {
            let message = "it is stopping: what is open is finished, nothing new is accepted";
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message))
        }
    }
}

/// What every worker and every upstream does.
pub(super) async fn status(State(context): State<Shared<Context>>) -> Json<Status> {
    let asked = &context.asked;
    let snapshot = context.snapshot();
    let workers = asked.common.colleagues.iter().enumerate();
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: state(&context),
        driver: if asked.io_uring { "io_uring" } else { "epoll" }.to_owned(),
        reloads: reloads(&context),
        uptime_seconds: clock::now().saturating_duration_since(context.started).as_secs_f64(),
        listeners: asked.common.live.listening().to_vec(),
        routes: snapshot.routes.len(),
        workers: workers.map(|(id, colleague)| worker(id, colleague)).collect(),
        upstreams: upstreams(&context),
    })
}

fn state(context: &Context) -> status::State {
    match context.asked.common.draining.is_up() {
        true => status::State::Draining,
        false => status::State::Ready,
    }
}

fn reloads(context: &Context) -> ReloadStatus {
    let reloads = context.asked.common.live.reloads();
    ReloadStatus { good: reloads.good, failed: reloads.failed, failure: reloads.failure.clone() }
}

fn worker(id: usize, colleague: &Colleague) -> WorkerStatus {
    let shard = &colleague.shard;
    let load = &shard.load;
    let (requests, waits) = (shard.requests.get(), load.waits.get());
    let completions = load.completions();
    let per = |what: u64, of: u64| (of > 0).then(|| what as f64 / of as f64);
    WorkerStatus {
        id,
        connections: shard.connections.get(),
        accepted: shard.accepted.get(),
        handed_over: shard.handed_over.get(),
        requests,
        errors: shard.errors.get(),
        upstream_connects: shard.connects.get(),
        upstream_reuses: shard.reuses.get(),
        panics: shard.panics.get(),
        active: shard.active.get(),
        bytes_in: shard.bytes_in.get(),
        bytes_out: shard.bytes_out.get(),
        cpu_seconds: load.cpu.get() as f64 / 1e6,
        waits,
        requests_per_wait: per(requests, waits),
        completions,
        completions_per_wait: completions.and_then(|completions| per(completions, waits)),
        stalls: load.stalls.get(),
        longest_stall_ms: load.longest_stall.get() as f64 / 1e3,
    }
}

/// The upstreams of the snapshot, each with its endpoints of now.
fn upstreams(context: &Context) -> Vec<UpstreamStatus> {
    let mut endpoints: HashMap<String, Vec<EndpointStatus>> = HashMap::new();
    for view in context.asked.common.registry.list() {
        endpoints.entry(view.upstream.clone()).or_default().push(endpoint(view));
    }
    let snapshot = context.snapshot();
    let upstream = |plan: &Shared<Plan>| UpstreamStatus {
        name: plan.name.clone(),
        balance: explain::balance(&plan.settings.balance),
        endpoints: endpoints.remove(&plan.name).unwrap_or_default(),
    };
    snapshot.upstreams.iter().map(upstream).collect()
}

/// An endpoint as the API tells of it.
pub(super) fn endpoint(view: EndpointView) -> EndpointStatus {
    let counts = view.counts;
    let attempts = counts.connects + counts.reuses;
    EndpointStatus {
        address: view.address.to_string(),
        target: view.target,
        state: match view.state {
            Standing::Healthy => "healthy",
            Standing::SlowStart => "slow_start",
            Standing::Unhealthy => "unhealthy",
            Standing::Ejected => "ejected",
            Standing::Draining => "draining",
        }
        .to_owned(),
        used: view.used,
        why: view.why,
        ejected_for_ms: view.ejected_for_ms,
        weight: view.weight,
        set_weight: view.set_weight,
        requests: counts.requests,
        failures: counts.failures,
        in_flight: counts.in_flight,
        connects: counts.connects,
        reuses: counts.reuses,
        reuse_rate: (attempts > 0).then(|| counts.reuses as f64 / attempts as f64),
    }
}
