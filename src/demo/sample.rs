//! What both sample services answer besides their own lists: health, an echo of what arrived, a
//! slow and a failing path, events and a WebSocket. Enough to see what a gateway does to a request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::Query;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::map_response;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router, body};
use futures_util::Stream;
use serde::Deserialize;
use serde_json::{Value, json};

/// The longest that `/slow` waits, so that nobody parks a connection for good.
const SLOWEST: Duration = Duration::from_secs(60);

/// A service called `name`: `own` and what every sample service answers.
pub(super) fn service(name: &'static str, own: Router) -> Router {
    let marked = move |mut response: Response| async move {
        response.headers_mut().insert("x-served-by", HeaderValue::from_static(name));
        response
    };
    Router::new()
        .route("/", get(move || index(name)))
        .route(
            "/health",
            get(move || async move { Json(json!({"status": "ok", "service": name})) }),
        )
        .route("/echo", any(move |m, u, h, b| echo(name, m, u, h, b)))
        .route("/echo/{*rest}", any(move |m, u, h, b| echo(name, m, u, h, b)))
        .route("/slow", get(slow))
        .route("/fail", any(fail))
        .route("/events", get(events))
        .route("/ws", any(web_socket))
        .merge(own)
        .fallback(not_found)
        .layer(map_response(marked))
}

/// An answer in case of error, of the same shape everywhere.
pub(super) fn error(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({"error": message.into()}))).into_response()
}

async fn index(name: &'static str) -> Json<Value> {
    let paths = ["/health", "/echo", "/slow?ms=", "/fail?status=", "/events", "/ws"];
    Json(json!({"service": name, "paths": paths}))
}

async fn not_found(uri: Uri) -> Response {
    error(StatusCode::NOT_FOUND, format!("nothing at {}", uri.path()))
}

/// Tells what arrived, after all that stood between the client and here.
async fn echo(
    name: &'static str,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: body::Bytes,
) -> Json<Value> {
    let mut received: BTreeMap<&str, Value> = BTreeMap::new();
    for key in headers.keys() {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut values: Vec<_> = headers.get_all(key).iter().map(text).collect();
        // A header that was sent several times keeps its lines apart: that is what one looks for.
        let shown = if values.len() == 1 { json!(values.remove(0)) } else { json!(values) };
        received.insert(key.as_str(), shown);
    }
    Json(json!({
        "service": name,
        "method": method.as_str(),
        "path": uri.path(),
        "query": uri.query().unwrap_or_default(),
        "headers": received,
        "body": String::from_utf8_lossy(&body),
        "body_bytes": body.len(),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Slow {
    /// Milliseconds.
    #[serde(default = "one_second")]
    ms: u64,
}

fn one_second() -> u64 {
    1000
}

async fn slow(Query(Slow { ms }): Query<Slow>) -> Json<Value> {
    let wait = Duration::from_millis(ms).min(SLOWEST);
    tokio::time::sleep(wait).await;
    Json(json!({"waited_ms": wait.as_millis() as u64}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fail {
    #[serde(default = "unavailable")]
    status: u16,
}

fn unavailable() -> u16 {
    503
}

async fn fail(Query(Fail { status }): Query<Fail>) -> Response {
    match StatusCode::from_u16(status) {
        Ok(code) if code.is_client_error() || code.is_server_error() => {
            error(code, format!("failing with {status}, as asked"))
        }
        _ => error(StatusCode::BAD_REQUEST, "status must be from 400 to 599"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Events {
    /// Milliseconds from one event to the next.
    #[serde(default = "one_second")]
    every_ms: u64,
    /// The stream ends after so many events; without it, when the client leaves.
    count: Option<u64>,
}

async fn events(
    Query(Events { every_ms, count }): Query<Events>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // A period of zero is refused by the timer.
    let ticks = tokio::time::interval(Duration::from_millis(every_ms.max(1)));
    let last = count.unwrap_or(u64::MAX);
    let stream = futures_util::stream::unfold((ticks, 0), move |(mut ticks, sent)| async move {
        if sent == last {
            return None;
        }
        ticks.tick().await;
        let number = sent + 1;
        let event = Event::default().id(number.to_string()).event("tick");
        Some((Ok(event.data(json!({"number": number}).to_string())), (ticks, number)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

async fn web_socket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(echo_messages)
}

/// Sends every message back until either side closes; pings are answered by the library.
async fn echo_messages(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let sent = match message {
            text @ Message::Text(_) => socket.send(text).await,
            bytes @ Message::Binary(_) => socket.send(bytes).await,
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Close(_) => break,
        };
        if sent.is_err() {
            break;
        }
    }
}

/// The answer to a `POST` that made something: 201 with the place where it can be read, relative to
/// that of the request, since only the gateway knows what stood before it.
pub(super) fn created(location: String, made: Json<Value>) -> Response {
    (StatusCode::CREATED, [(header::LOCATION, location)], made).into_response()
}
