//! What can become of an attempt, as `retry_on`, `failures` and `on` name it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use ringway_engine::error::{Error, GatewayError, UpstreamError};
use ringway_engine::filter::{Outcome, SettingsError};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::wrong;

/// One thing that can become of an attempt.
///
/// A status is the upstream's own, and also the one with which the gateway would answer for it:
/// to a client, a connection that was refused is as much a 502 as one that the upstream sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// This status.
    Status(u16),
    /// Any status from 500 to 599.
    ServerError,
    /// No connection was made, so nothing was sent.
    ConnectFailure,
    /// The connection broke before the answer, or what came was none.
    Reset,
    /// Something took too long.
    Timeout,
    /// A filter did not let the attempt pass.
    Denied,
}

/// The words for what has no status.
const WORDS: [(&str, Cause); 5] = [
    ("5xx", Cause::ServerError),
    ("connect_failure", Cause::ConnectFailure),
    ("reset", Cause::Reset),
    ("timeout", Cause::Timeout),
    ("denied", Cause::Denied),
];

impl Cause {
    /// True when this is what became of the attempt.
    pub(crate) fn is(self, outcome: &Outcome<'_>) -> bool {
        match (self, outcome) {
            (Cause::Denied, _) => matches!(outcome, Outcome::Denied(_)),
            (Cause::Status(status), _) => status_of(outcome) == Some(status),
            (Cause::ServerError, _) => status_of(outcome).is_some_and(|s| s / 100 == 5),
            (_, Outcome::Failed(error)) => {
                let (connect, reset, timeout) = what_failed(error);
                match self {
                    Cause::ConnectFailure => connect,
                    Cause::Reset => reset,
                    Cause::Timeout => timeout,
                    Cause::Status(_) | Cause::ServerError | Cause::Denied => false,
                }
            }
            (_, Outcome::Answered(_) | Outcome::Denied(_)) => false,
        }
    }
}

/// True when the upstream has heard nothing of the request.
pub(crate) fn nothing_was_sent(outcome: &Outcome<'_>) -> bool {
    Cause::ConnectFailure.is(outcome)
}

/// The status that stands for an outcome. What the client or the gateway itself is to blame for
/// is no outcome of an upstream.
fn status_of(outcome: &Outcome<'_>) -> Option<u16> {
    match outcome {
        Outcome::Answered(status) | Outcome::Denied(status) => Some(*status),
        Outcome::Failed(error @ (Error::Upstream(_) | Error::Gateway(GatewayError::Timeout))) => {
            error.reply().status
        }
        Outcome::Failed(Error::Client(_) | Error::Gateway(_)) => None,
    }
}

/// Whether an error is a failure to connect, a broken connection, or a matter of time.
fn what_failed(error: &Error) -> (bool, bool, bool) {
    let error = match error {
        Error::Upstream(error) => error,
        Error::Gateway(GatewayError::Timeout) => return (false, false, true),
        Error::Client(_) | Error::Gateway(_) => return (false, false, false),
    };
    match error {
        UpstreamError::NoEndpoint | UpstreamError::Refused(..) => (true, false, false),
        UpstreamError::ConnectTimeout(_) => (true, false, true),
        UpstreamError::FirstByteTimeout(_)
        | UpstreamError::TryTimeout(_)
        | UpstreamError::ExchangeTimeout(_)
        | UpstreamError::Stalled(_) => (false, false, true),
        UpstreamError::Closed(_)
        | UpstreamError::Head(..)
        | UpstreamError::Interim(_)
        | UpstreamError::UnaskedUpgrade(_)
        | UpstreamError::Truncated(_)
        | UpstreamError::TooLarge(_)
        | UpstreamError::Body(..) => (false, true, false),
    }
}

/// Refuses a list that is empty, names something twice, or has what does not belong there.
pub(crate) fn check(
    field: &str,
    causes: &[Cause],
    allowed: impl Fn(Cause) -> bool,
) -> Result<(), SettingsError> {
    if causes.is_empty() {
        let help = "name statuses such as `503`, `5xx`, `connect_failure`, `reset` or `timeout`";
        return Err(wrong(field, "the list is empty", help));
    }
    for (at, cause) in causes.iter().enumerate() {
        let field = format!("{field}[{at}]");
        if causes[..at].contains(cause) {
            return Err(wrong(field, format!("`{cause}` is named twice"), "keep one of them"));
        }
        if !allowed(*cause) {
            let message = format!("`{cause}` is for `fallback` alone");
            let help = "take it out: what a filter refused says nothing about the upstream";
            return Err(wrong(field, message, help));
        }
    }
    Ok(())
}

/// Causes in one line.
pub(crate) fn list(causes: &[Cause]) -> String {
    causes.iter().map(Cause::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Cause::Status(status) = self {
            return write!(out, "{status}");
        }
        let word = WORDS.iter().find(|(_, cause)| cause == self).map(|(word, _)| *word);
        out.write_str(word.unwrap_or_default())
    }
}

impl FromStr for Cause {
    type Err = String;

    fn from_str(text: &str) -> Result<Cause, String> {
        if let Some((_, cause)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*cause);
        }
        match text.parse() {
            Ok(status @ 200..=599) => Ok(Cause::Status(status)),
            // The reader of the file takes the help from the second line.
            _ => Err(format!(
                "`{text}` is nothing that can become of an attempt\nwrite a status such as `503`, \
                 or one of `5xx`, `connect_failure`, `reset`, `timeout`"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Cause, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cause::Status(status) => serializer.serialize_u16(*status),
            word => serializer.collect_str(word),
        }
    }
}

impl JsonSchema for Cause {
    fn schema_name() -> Cow<'static, str> {
        "Cause".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let word = |word: &str, what: &str| json_schema!({ "const": word, "description": what });
        json_schema!({
            "description": "One thing that can become of an attempt. A status is the upstream's \
                own, and also the one with which the gateway would answer for it: a connection \
                that was refused or reset is a 502, one that was not made or answered in time a \
                504.",
            "anyOf": [
                { "type": "integer", "minimum": 200, "maximum": 599,
                    "description": "This status." },
                word("5xx", "Any status from 500 to 599."),
                word("connect_failure", "No connection was made, so nothing was sent."),
                word("reset", "The connection broke before the answer, or what came was none."),
                word("timeout", "Connecting, or the first byte of the answer, took too long."),
                word("denied", "A filter such as `circuit_breaker` did not let the attempt pass \
                    (for `fallback` alone)."),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::SocketAddr;

    use super::*;

    fn at() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 80))
    }

    #[track_caller]
    fn check_error(error: UpstreamError, causes: &[&str]) {
        let error = Error::from(error);
        let outcome = Outcome::Failed(&error);
        let all = ["502", "503", "504", "5xx", "connect_failure", "reset", "timeout", "denied"];
        let found: Vec<_> =
            all.into_iter().filter(|text| text.parse::<Cause>().unwrap().is(&outcome)).collect();
        assert_eq!(found, causes, "{error}");
    }

    #[test]
    fn an_error_is_also_the_status_that_a_client_would_see() {
        let refused = UpstreamError::Refused(at(), ErrorKind::ConnectionRefused.into());
        check_error(refused, &["502", "5xx", "connect_failure"]);
        check_error(UpstreamError::NoEndpoint, &["503", "5xx", "connect_failure"]);
        let late = UpstreamError::ConnectTimeout(at());
        check_error(late, &["504", "5xx", "connect_failure", "timeout"]);
        check_error(UpstreamError::Closed(at()), &["502", "5xx", "reset"]);
        check_error(UpstreamError::FirstByteTimeout(at()), &["504", "5xx", "timeout"]);
    }

    #[test]
    fn the_client_is_no_cause() {
        let error = Error::from(ringway_engine::error::ClientError::BodyTooLarge);
        let outcome = Outcome::Failed(&error);
        assert!(!Cause::Status(413).is(&outcome));
    }

    #[test]
    fn an_answer_is_its_status() {
        let outcome = Outcome::Answered(503);
        assert!(Cause::Status(503).is(&outcome) && Cause::ServerError.is(&outcome));
        assert!(!Cause::Status(502).is(&outcome) && !Cause::Reset.is(&outcome));
        assert!(!Cause::Denied.is(&outcome) && Cause::Denied.is(&Outcome::Denied(503)));
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for (word, cause) in WORDS {
            assert_eq!((cause.to_string().as_str(), word.parse()), (word, Ok(cause)));
        }
        assert!("600".parse::<Cause>().is_err() && "conect".parse::<Cause>().is_err());
    }
}
