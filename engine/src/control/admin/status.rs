//! `GET /health`, `/ready` and `/status`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::Context;
use super::answer::{Answer, Refusal};
use crate::clock;
use crate::explain;
use crate::shared::Shared;
use crate::status::{self, ReloadStatus, Status, TargetStatus, UpstreamStatus, WorkerStatus};
use crate::upstream::Plan;
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
        upstreams: snapshot.upstreams.iter().map(|plan| upstream(plan)).collect(),
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
    WorkerStatus {
        id,
        connections: shard.connections.get(),
        accepted: shard.accepted.get(),
        handed_over: shard.handed_over.get(),
        requests: shard.requests.get(),
        errors: shard.errors.get(),
        upstream_connects: shard.connects.get(),
        upstream_reuses: shard.reuses.get(),
        panics: shard.panics.get(),
    }
}

fn upstream(plan: &Plan) -> UpstreamStatus {
    let targets = plan.settings.targets.iter();
    UpstreamStatus {
        name: plan.name.clone(),
        balance: explain::balance(&plan.settings.balance),
        targets: targets
            .map(|target| TargetStatus { address: target.addr.to_string(), weight: target.weight })
            .collect(),
    }
}
