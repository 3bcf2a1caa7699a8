//! `GET /openapi.json`: the description of this API, a kept file. A test below holds its paths
//! against the router's, and scripts/check-api every answer against its schemas.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The document, as OpenAPI 3.1.
const DOCUMENT: &str = include_str!("openapi.json");

/// The document.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::control::admin::{PUBLIC, endpoints};

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).expect("JSON")
    }

    /// Method and path of everything that the document describes, and what it says of it.
    fn described(document: &Value) -> Vec<(String, &Value)> {
        let paths = document["paths"].as_object().expect("paths");
        let all = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods");
            methods
                .iter()
                .map(move |(method, what)| (format!("{} {path}", method.to_uppercase()), what))
        });
        all.collect()
    }

    #[test]
    fn the_document_has_every_endpoint_and_no_other() {
        let document = document();
        let described: BTreeSet<String> =
            described(&document).into_iter().map(|(name, _)| name).collect();
        let served: BTreeSet<String> =
            endpoints().iter().map(|(method, path, _)| format!("{method} {path}")).collect();
        assert_eq!(described, served);
    }

    #[test]
    fn the_document_says_what_needs_no_token() {
        let document = document();
        let open: BTreeSet<String> = described(&document)
            .into_iter()
            .filter(|(_, what)| what["security"].as_array().is_some_and(Vec::is_empty))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(open, PUBLIC.iter().map(|path| format!("GET {path}")).collect());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        for part in DOCUMENT.split("\"$ref\": \"#").skip(1) {
            let place = part.split('"').next().expect("a place");
            assert!(document.pointer(place).is_some(), "{place}");
        }
    }
}
