//! What a filter is: policy over the data of an exchange, with hooks in the order a request
//! meets them.
//!
//! A request passes its chain forward, from the first filter to the last; a response passes it
//! backward. A filter sees the [`Exchange`], never a socket and never the runtime.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use crate::error::Error;
use crate::exchange::{Answer, Exchange};
use crate::record::Record;

/// One filter of one route on one core. Its state is the core's own: no locks, no atomics.
///
/// Every hook has an empty default, so a filter names only what it does.
pub trait Filter {
    /// The request is routed and nothing has been sent on: answer it, let it pass, or wait.
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let _ = exchange;
        Step::NEXT
    }

    /// An attempt at an upstream is about to be made; called again for every retry.
    fn on_attempt(&self, exchange: &mut Exchange) -> Verdict {
        let _ = exchange;
        Verdict::Continue
    }

    /// The attempt came to `outcome`: take it, or have another attempt made. The engine makes
    /// one only where the request can be repeated.
    fn on_outcome(&self, exchange: &mut Exchange, outcome: &Outcome<'_>) -> Next {
        let _ = (exchange, outcome);
        Next::Accept
    }

    /// A response is about to go to the client, from an upstream or from the gateway itself.
    fn on_response(&self, exchange: &mut Exchange) {
        let _ = exchange;
    }

    /// The exchange is over, whatever came of it.
    fn on_end(&self, record: &Record<'_>) {
        let _ = record;
    }
}

/// What [`Filter::on_request`] comes to: a verdict now, or later.
pub enum Step<'a> {
    /// Decided at once; costs nothing.
    Now(Verdict),
    /// The filter waits. Only a filter that waits allocates.
    Later(Pin<Box<dyn Future<Output = Verdict> + 'a>>),
}

impl Step<'_> {
    /// Let the request pass.
    pub const NEXT: Self = Step::Now(Verdict::Continue);

    /// Answer the request here.
    pub fn answer(answer: Answer) -> Self {
        Step::Now(Verdict::Answer(Box::new(answer)))
    }
}

/// Go on, or answer here.
#[derive(Debug)]
pub enum Verdict {
    /// The next filter, and after the last the upstream.
    Continue,
    /// The exchange ends with this answer; filters before this one see it on its way out.
    Answer(Box<Answer>),
}

/// What an attempt at an upstream came to.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The upstream answered with this status.
    Answered(u16),
    /// It did not answer.
    Failed(&'a Error),
}

/// Take the outcome of an attempt, or make another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This is the answer.
    Accept,
    /// Another attempt after this pause.
    RetryAfter(Duration),
}

/// A filter as the file describes it: checked, immutable, readable from every core. Each worker
/// makes its own instance when it adopts a snapshot, and that cannot fail.
pub trait Blueprint: Send + Sync {
    /// The filter's name in the file.
    fn name(&self) -> &'static str;

    /// Its settings in one line, secrets masked, for `ringway explain`.
    fn summary(&self) -> String;

    /// Makes one core's instance.
    fn instance(&self) -> Rc<dyn Filter>;
}

/// The settings of every filter there is: what `Config` is generic in. The registry in the
/// filters' crate implements it.
pub trait Settings {
    /// Checks the settings and makes the blueprint.
    ///
    /// # Errors
    /// What is wrong, at which field below the filter's own, and what to write instead.
    fn build(&self) -> Result<Box<dyn Blueprint>, SettingsError>;
}

/// Settings that can be read but not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// The field below the filter's place in the list, with the filter's name in front, such as
    /// `headers.request.set`; empty for the filter itself.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// The filters of a route on one core, in the order of the file, global ones first.
#[derive(Clone, Default)]
pub struct Chain(pub(crate) Vec<Rc<dyn Filter>>);

impl Chain {
    /// Passes the request forward. Returns how many filters it has passed, each of which shall
    /// see the response, and the answer if one of them gave it.
    pub(crate) async fn on_request(&self, exchange: &mut Exchange) -> (usize, Option<Box<Answer>>) {
        for (passed, filter) in self.0.iter().enumerate() {
            let verdict = match filter.on_request(exchange) {
                Step::Now(verdict) => verdict,
                Step::Later(wait) => wait.await,
            };
            if let Verdict::Answer(answer) = verdict {
                return (passed + 1, Some(answer));
            }
        }
        (self.0.len(), None)
    }

    /// Asks each filter about the attempt to come.
    pub(crate) fn on_attempt(&self, exchange: &mut Exchange) -> Option<Box<Answer>> {
        self.0.iter().find_map(|filter| match filter.on_attempt(exchange) {
            Verdict::Continue => None,
            Verdict::Answer(answer) => Some(answer),
        })
    }

    /// Tells each filter what came of the attempt, backward. The longest pause asked for wins.
    pub(crate) fn on_outcome(&self, exchange: &mut Exchange, outcome: &Outcome<'_>) -> Next {
        self.0.iter().rev().fold(Next::Accept, |next, filter| {
            match (next, filter.on_outcome(exchange, outcome)) {
                (next, Next::Accept) => next,
                (Next::RetryAfter(a), Next::RetryAfter(b)) => Next::RetryAfter(a.max(b)),
                (Next::Accept, again) => again,
            }
        })
    }

    /// Passes the response backward through the filters that the request had passed.
    pub(crate) fn on_response(&self, exchange: &mut Exchange, passed: usize) {
        self.0[..passed].iter().rev().for_each(|filter| filter.on_response(exchange));
    }

    /// Tells every filter that the exchange is over.
    pub(crate) fn on_end(&self, record: &Record<'_>) {
        self.0.iter().rev().for_each(|filter| filter.on_end(record));
    }
}
