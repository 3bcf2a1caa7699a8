//! The page at `/`: four files that are part of the binary, and that ask this listener only. They
//! hold nothing secret, so they are shown before the token is known; what they ask for is not.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The page itself.
pub(super) async fn index() -> Response {
    file("text/html; charset=utf-8", include_str!("page/index.html"))
}

/// What it looks like.
pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("page/page.css"))
}

/// What it does.
pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

/// Its sign.
pub(super) async fn sign() -> Response {
    file("image/svg+xml", include_str!("page/page.svg"))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    // Another version of Ringway has other files under the same names.
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}
