//! `POST /explain`: the same answer as `ringway explain`, by the snapshot that serves now.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::Context;
use super::answer::{Answer, Refusal};
use crate::explain::{Explanation, Query};
use crate::shared::Shared;
use crate::status::{Field, Question};
use crate::url::{Target, is_token};

/// Bytes of a body, which is a request head in JSON at most.
const BODY: usize = 64 * 1024;

/// Says what would become of a request.
pub(super) async fn explain(
    State(context): State<Shared<Context>>,
    request: Request,
) -> Answer<Explanation> {
    let question: Question = read(request).await?;
    let target = Target::parse(&question.url).map_err(Refusal::bad)?;
    if !is_token(&question.method) {
        let method = &question.method;
        return Err(Refusal::bad(format!("{method:?} is not a method, such as GET or POST")));
    }
    for Field { name, value } in &question.headers {
        if !is_token(name) {
            return Err(Refusal::bad(format!("{name:?} is not the name of a header")));
        }
        if value.contains(|letter: char| letter.is_control() && letter != '\t') {
            return Err(Refusal::bad(format!("the value of {name} has a control character in it")));
        }
    }
    let text = format!("{}{}", target.host, target.path_and_query);
    if text.contains(|letter: char| letter.is_control() || letter == ' ') {
        return Err(Refusal::bad("a URL has no blanks and no control characters"));
    }
    Ok(Json(context.snapshot().explain(&Query {
        method: question.method,
        host: target.host,
        target: target.path_and_query,
        headers: question.headers.into_iter().map(|field| (field.name, field.value)).collect(),
        client: question.client,
    })))
}

/// Reads a body of JSON.
pub(super) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let bytes = to_bytes(request.into_body(), BODY).await.map_err(|_| {
        let message = format!("the body is cut short, or longer than {BODY} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    })?;
    // Where every field has a default, no body is one without fields.
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(bytes).map_err(|error| Refusal::bad(format!("the body: {error}")))
}
