//! The user service: a list of people, one by number, more by `POST`, and tokens for those who log
//! in.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::RwLock;

use super::sample::{created, error, service};
use super::tokens::Signer;

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

#[derive(Deserialize)]
struct Login {
    user: String,
    password: String,
}

/// Everybody's password: it is printed with the commands to try.
const PASSWORD: &str = "demo";

type Users = Arc<RwLock<Vec<User>>>;

/// The service, with a few users in it.
pub(super) fn app(signer: Signer) -> Router {
    let first = ["Ada", "Grace", "Edsger"].into_iter().enumerate();
    let users: Users = Arc::new(RwLock::new(
        first.map(|(index, name)| User { id: index + 1, name: name.to_owned() }).collect(),
    ));
    let own = Router::new()
        .route("/users", get(list).post(create))
        .route("/users/{id}", get(one))
        .with_state(users.clone())
        .route("/login", post(login))
        .with_state((users, signer));
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
    created(format!("users/{}", user.id), Json(json!(user)))
}

/// A token for whoever is known; the same words for a wrong name and a wrong password.
async fn login(
    State((users, signer)): State<(Users, Signer)>,
    Json(Login { user, password }): Json<Login>,
) -> Response {
    let users = users.read().await;
    let known = users.iter().find(|known| known.name.eq_ignore_ascii_case(&user));
    let Some(known) = known.filter(|_| password == PASSWORD) else {
        return error(StatusCode::UNAUTHORIZED, "no such user, or not that password");
    };
    match signer.token(&known.name.to_ascii_lowercase()) {
        Ok(token) => Json(json!({"token": token, "token_type": "Bearer"})).into_response(),
        Err(message) => error(StatusCode::INTERNAL_SERVER_ERROR, message),
    }
}
