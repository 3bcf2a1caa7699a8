//! What is counted, for Prometheus, and the last exchanges that failed.

use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::Context;
use crate::control::scrape;
use crate::recent::RecentError;
use crate::shared::Shared;
use crate::status::{ErrorStatus, RecentErrors};

/// Version 0.0.4 of the text format is the one that every Prometheus reads.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is counted. It is summed on this thread; no worker does anything for it.
pub(super) async fn metrics(State(context): State<Shared<Context>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, TEXT)], scrape::encode(&context.asked.common))
}

/// The last exchanges that failed.
pub(super) async fn recent(State(context): State<Shared<Context>>) -> Json<RecentErrors> {
    let errors = context.asked.common.errors.recent().into_iter().map(error).collect();
    Json(RecentErrors { errors })
}

fn error(recent: RecentError) -> ErrorStatus {
    let since = recent.time.duration_since(SystemTime::UNIX_EPOCH);
    ErrorStatus {
        time: since.map_or(0.0, |since| (since.as_secs_f64() * 1e3).round() / 1e3),
        worker: recent.worker,
        method: recent.method,
        path: recent.path,
        route: recent.route,
        upstream: recent.upstream,
        endpoint: recent.endpoint.map(|endpoint| endpoint.to_string()),
        client: recent.client.to_string(),
        status: recent.status,
        code: recent.code.to_owned(),
        phase: recent.phase.to_owned(),
        message: recent.message,
        request_id: recent.request_id,
    }
}
