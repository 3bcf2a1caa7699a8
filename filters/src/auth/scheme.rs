//! What the ways to prove who one is have in common.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use ringway_engine::clock;
use ringway_engine::exchange::{Answer, Exchange, Identity};

use super::credential::Place;

/// One way to prove who one is, on one core.
pub(super) trait Scheme {
    /// Looks at the credential of a request.
    fn check(&self, exchange: &Exchange) -> Check;

    /// Does what is to be done for a request that this scheme has let pass: headers that tell the
    /// upstream who asks, the credential left out.
    fn accept(&self, exchange: &mut Exchange, identity: &Identity);

    /// Where its credential is.
    fn place(&self) -> &Place;

    /// What a client is told to send (RFC 9110 §11.6.1); `refusal` when it is this scheme's own.
    fn challenge(&self, realm: &str, refusal: Option<&Refusal>) -> String;
}

/// What a scheme makes of a request.
pub(super) enum Check {
    /// There is no credential of its kind.
    Absent,
    /// It is good.
    Passed(Rc<Identity>),
    /// It is not.
    Refused(Refusal),
    /// That takes a while.
    Waits(Pin<Box<dyn Future<Output = Check>>>),
}

/// Why a credential is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// 400, 401, 403 or 503.
    pub(super) status: u16,
    /// For the client: tells nothing secret.
    pub(super) reason: String,
    /// The error code of RFC 6750 §3.1.
    pub(super) code: &'static str,
}

impl Refusal {
    /// The credential is not good.
    pub(super) fn invalid(reason: impl Into<String>) -> Check {
        Check::Refused(Refusal { status: 401, reason: reason.into(), code: "invalid_token" })
    }

    /// There is none.
    pub(super) fn missing() -> Refusal {
        let reason = "the request has no credential that is accepted here".to_owned();
        Refusal { status: 401, reason, code: "" }
    }

    /// There are several, of which none can be preferred.
    pub(super) fn several() -> Check {
        let reason = "the request has more than one credential of a kind".to_owned();
        Check::Refused(Refusal { status: 400, reason, code: "invalid_request" })
    }

    /// It is good, but not for this.
    pub(super) fn forbidden(reason: &str) -> Check {
        let reason = reason.to_owned();
        Check::Refused(Refusal { status: 403, reason, code: "insufficient_scope" })
    }

    /// It cannot be verified now.
    pub(super) fn busy(reason: &str) -> Check {
        Check::Refused(Refusal { status: 503, reason: reason.to_owned(), code: "" })
    }

    /// The answer to the client, without challenges.
    pub(super) fn answer(&self) -> Answer {
        let answer = Answer::message(self.status, self.reason.clone());
        match self.status {
            503 => answer.with_header("Retry-After", "1"),
            _ => answer,
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    clock::wall().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
