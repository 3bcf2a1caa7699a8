//! `POST /reload`: has the file read again, and tells what came of it.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use crossbeam_channel::bounded;
use serde::Deserialize;

use super::Context;
use super::answer::{Answer, Refusal};
use super::explain::read;
use crate::control::Event;
use crate::shared::Shared;
use crate::status::Reloaded;

/// How long the answer is waited for; the reload goes on without anybody who waits.
const PATIENCE: Duration = Duration::from_secs(25);

/// What is sent along: no body, or `{}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Reloads, and answers once every worker has adopted the new snapshot, or with all that is wrong
/// with the file, which then has changed nothing.
pub(super) async fn reload(
    State(context): State<Shared<Context>>,
    request: Request,
) -> Answer<Reloaded> {
    read::<Nothing>(request).await?;
    let events = context.asked.events.clone();
    // The channels to the control thread may block, so they are waited for on a thread that may.
    let reloaded = tokio::task::spawn_blocking(move || {
        let (reply, answer) = bounded(1);
        let event = Event::Reload { why: "admin", reply: Some(reply) };
        events.send_timeout(event, PATIENCE).ok()?;
        answer.recv_timeout(PATIENCE).ok()
    });
    match reloaded.await {
        Ok(Some(Ok(report))) => Ok(Json(Reloaded {
            routes: report.routes,
            upstreams: report.upstreams,
            listeners: report.listeners,
            build_ms: millis(report.build),
            adopted_ms: millis(report.adopted),
        })),
        Ok(Some(Err(wrong))) => Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, wrong)),
        Ok(None) | Err(_) => {
            let message = "no answer yet; `reloads` in /status tells what came of it";
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message))
        }
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
