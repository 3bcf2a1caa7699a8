//! Asks the admin API of a running gateway.

use std::time::Duration;

use ringway_engine::status::{RecentErrors, Routes, Status};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::StatusCode;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest answer that is read: what 10,000 routes need several times over.
const LONGEST: u64 = 64 << 20;

/// Routes that are asked for: more than a terminal shows.
const ROUTES: usize = 500;

/// What the gateway told.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) status: Status,
    pub(super) routes: Routes,
    pub(super) errors: RecentErrors,
}

/// The admin API of one gateway.
#[derive(Debug)]
pub(super) struct Admin {
    url: String,
    token: Option<String>,
    agent: Agent,
}

impl Admin {
    /// The admin API at `url`.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub(super) fn new(url: &str, token: Option<String>) -> Result<Admin, String> {
        let url = url.trim_end_matches('/');
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        if !url.starts_with("http://") {
            return Err(format!("{url}: the admin API speaks http; write http://HOST:PORT"));
        }
        let agent = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            // What is asked here is near, and its token is not for anybody on the way.
            .proxy(None)
            .build();
        Ok(Admin { url, token, agent: agent.into() })
    }

    /// Where it is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What the gateway does now.
    ///
    /// # Errors
    /// Why it does not tell, and what to do.
    pub(super) fn ask(&self) -> Result<Told, String> {
        let status = self.get("/status")?;
        let routes = self.get(&format!("/routes?limit={ROUTES}"))?;
        let errors = self.get("/errors/recent")?;
        Ok(Told { status, routes, errors })
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let url = &self.url;
        let mut request = self.agent.get(format!("{url}{path}"));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut answer = request.call().map_err(|fault| {
            format!(
                "{url} does not answer ({fault}): is the gateway running, does its file have \
                 `admin:`, and is this its `listen`?"
            )
        })?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(LONGEST).read_to_string();
        let body = body.map_err(|fault| format!("{url} breaks off: {fault}"))?;
        if status != StatusCode::OK {
            return Err(self.refused(status, &body));
        }
        let strange = |fault| format!("{url} is not the admin API of a Ringway: {fault}");
        serde_json::from_str(&body).map_err(strange)
    }

    fn refused(&self, status: StatusCode, body: &str) -> String {
        #[derive(Deserialize)]
        struct Refusal {
            message: String,
        }
        let url = &self.url;
        match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => format!(
                "{url} asks for its token: put that of `admin.token` into the environment \
                 variable {}, or after --token",
                super::VARIABLE
            ),
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                format!("{url} refuses this token: it is not that of its `admin.token`")
            }
            _ => match serde_json::from_str::<Refusal>(body) {
                Ok(refusal) => format!("{url} answers {status}: {}", refusal.message),
                Err(_) => format!("{url} answers {status}: is it the admin API of a Ringway?"),
            },
        }
    }
}
