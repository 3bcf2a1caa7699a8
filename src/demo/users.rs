//! The user service: a list of people, one by number, and more by `POST`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::RwLock;

use super::sample::{created, error, service};

/// A demo that runs for a week shall not grow without bound.
const MOST_USERS: usize = 1000;

#[derive(Clone, Debug, Serialize)]
struct User {
    id: usize,
    name: String,
}

#[derive(Deserialize)]
struct NewUser {
    name: String,
}

type Users = Arc<RwLock<Vec<User>>>;

/// The service, with a few users in it.
pub(super) fn app() -> Router {
    let first = ["Ada", "Grace", "Edsger"].into_iter().enumerate();
    let users: Users = Arc::new(RwLock::new(
        first.map(|(index, name)| User { id: index + 1, name: name.to_owned() }).collect(),
    ));
    let own = Router::new()
        .route("/api/v1/users", get(list).post(create))
        .route("/api/v1/users/{id}", get(one))
        .with_state(users);
    service("user-service", own)
}

async fn list(State(users): State<Users>) -> Response {
    let users = users.read().await;
    Json(json!({"users": *users})).into_response()
}

async fn one(State(users): State<Users>, Path(id): Path<usize>) -> Response {
    match users.read().await.iter().find(|user| user.id == id) {
        Some(user) => Json(user).into_response(),
        None => error(StatusCode::NOT_FOUND, format!("no user {id}")),
    }
}

async fn create(State(users): State<Users>, Json(new): Json<NewUser>) -> Response {
    let mut users = users.write().await;
    if users.len() == MOST_USERS {
        return error(StatusCode::INSUFFICIENT_STORAGE, "this sample holds no more users");
    }
    let user = User { id: users.len() + 1, name: new.name };
    users.push(user.clone());
    created(format!("/api/v1/users/{}", user.id), Json(json!(user)))
}
