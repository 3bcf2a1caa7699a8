//! What is counted, for Prometheus, and the last exchanges that failed.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::Context;
use crate::control::scrape;
use crate::recent::RecentError;
use crate::shared::Shared;

/// Version 0.0.4 of the text format is the one that every Prometheus reads.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(State(context): State<Shared<Context>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, TEXT)], scrape::encode(&context.asked.common))
}

pub(super) async fn recent(State(context): State<Shared<Context>>) -> Json<Vec<RecentError>> {
    Json(context.asked.common.errors.recent())
}
