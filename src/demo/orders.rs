//! The order service: what the users of the other service have bought.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::RwLock;

use super::sample::{created, error, service};

/// A demo that runs for a week shall not grow without bound.
const MOST_ORDERS: usize = 1000;

#[derive(Clone, Debug, Serialize)]
struct Order {
    id: usize,
    user: usize,
    item: String,
}

#[derive(Deserialize)]
struct NewOrder {
    user: usize,
    item: String,
}

#[derive(Deserialize)]
struct Filter {
    /// Only the orders of this user.
    user: Option<usize>,
}

type Orders = Arc<RwLock<Vec<Order>>>;

/// The service, with a few orders in it.
pub(super) fn app() -> Router {
    let first = [(1, "lamp"), (1, "desk"), (3, "kettle")].into_iter().enumerate();
    let orders: Orders = Arc::new(RwLock::new(
        first
            .map(|(index, (user, item))| Order { id: index + 1, user, item: item.to_owned() })
            .collect(),
    ));
    let own = Router::new()
        .route("/orders", get(list).post(create))
        .route("/orders/{id}", get(one))
        .with_state(orders);
    service("order-service", own)
}

async fn list(State(orders): State<Orders>, Query(filter): Query<Filter>) -> Response {
    let orders = orders.read().await;
    let wanted = |order: &&Order| filter.user.is_none_or(|user| user == order.user);
    Json(json!({"orders": orders.iter().filter(wanted).collect::<Vec<_>>()})).into_response()
}

async fn one(State(orders): State<Orders>, Path(id): Path<usize>) -> Response {
    match orders.read().await.iter().find(|order| order.id == id) {
        Some(order) => Json(order).into_response(),
        None => error(StatusCode::NOT_FOUND, format!("no order {id}")),
    }
}

async fn create(State(orders): State<Orders>, Json(new): Json<NewOrder>) -> Response {
    let mut orders = orders.write().await;
    if orders.len() == MOST_ORDERS {
        return error(StatusCode::INSUFFICIENT_STORAGE, "this sample holds no more orders");
    }
    let order = Order { id: orders.len() + 1, user: new.user, item: new.item };
    orders.push(order.clone());
    created(format!("orders/{}", order.id), Json(json!(order)))
}
