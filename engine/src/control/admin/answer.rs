//! What the admin API answers with: JSON, and for every error the shape that the gateway's own
//! errors have.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::clock;

/// Why a request to the admin API is not answered as asked.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// What is wrong and what to do, for a person.
    pub(super) message: String,
    /// The value of a header field that goes with the status.
    pub(super) field: Option<(header::HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Refusal { status, message: message.into(), field: None }
    }

    /// What was sent is not understood.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }

    /// The same refusal with a header field.
    pub(super) fn with(mut self, name: header::HeaderName, value: &'static str) -> Self {
        self.field = Some((name, HeaderValue::from_static(value)));
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            code: u16,
            message: String,
            data: (),
            request_id: String,
        }
        let body = Body {
            code: self.status.as_u16(),
            message: self.message,
            data: (),
            request_id: format!("{:016x}", clock::seed()),
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some((name, value)) = self.field {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// What a handler comes to.
pub(super) type Answer<T> = Result<Json<T>, Refusal>;
