//! `POST /upstreams/{name}/endpoints/{addr}`: another weight for an endpoint, or its drain.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;

use super::Context;
use super::answer::{Answer, Refusal};
use super::explain::read;
use super::status::endpoint;
use crate::shared::Shared;
use crate::status::{EndpointChange, EndpointStatus};

/// Changes an endpoint, and answers with what it is now.
pub(super) async fn change(
    State(context): State<Shared<Context>>,
    place: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Answer<EndpointStatus> {
    let Path((upstream, address)) = place.map_err(|error| Refusal::bad(error.body_text()))?;
    let change: EndpointChange = read(request).await?;
    if change == EndpointChange::default() {
        return Err(Refusal::bad("write what to change: `weight`, `drain` or both"));
    }
    let registry = &context.asked.common.registry;
    let list = registry.list();
    if !list.iter().any(|known| known.upstream == upstream) {
        let message = format!("there is no upstream {upstream:?} with endpoints; see /status");
        return Err(Refusal::new(StatusCode::NOT_FOUND, message));
    }
    let known = address.parse::<SocketAddr>().ok().filter(|address| {
        list.iter().any(|known| known.upstream == upstream && known.address == *address)
    });
    let Some(address) = known else {
        let message = format!(
            "the upstream {upstream:?} has no endpoint {address:?}; write address and port as \
             /status has them"
        );
        return Err(Refusal::new(StatusCode::NOT_FOUND, message));
    };
    registry.set(&upstream, address, change.weight, change.drain).map_err(Refusal::bad)?;
    let now = registry.list().into_iter();
    let mut now = now.filter(|view| view.upstream == upstream && view.address == address);
    match now.next() {
        Some(view) => Ok(Json(endpoint(view))),
        // A reload has taken it away meanwhile.
        None => Err(Refusal::new(StatusCode::NOT_FOUND, "the endpoint has just gone")),
    }
}
