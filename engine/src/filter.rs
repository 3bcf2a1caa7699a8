//! What a filter is: policy over the data of an exchange, with hooks in the order a request
//! meets them.
//!
//! A request passes its chain forward, from the first filter to the last; a response passes it
//! backward. A filter sees the [`Exchange`], never a socket and never the runtime.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use crate::call::{Call, Called};
use crate::clock;
use crate::error::{Error, GatewayError, UpstreamError};
use crate::exchange::{Answer, Exchange};
use crate::guard::Guard;
use crate::log::{Journal, Journals, Output};
use crate::record::Record;
use crate::shared::Shared;

/// One filter of one route on one core. Its state is the core's own: no locks, no atomics.
///
/// Every hook has an empty default, so a filter names only what it does.
pub trait Filter {
    /// The request is routed and nothing has been sent on: answer it, let it pass, or wait.
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let _ = exchange;
        Step::NEXT
    }

    /// An attempt at `exchange.upstream` is about to be made; called again for every retry.
    fn on_attempt(&self, exchange: &mut Exchange) -> Verdict {
        let _ = exchange;
        Verdict::Continue
    }

    /// The attempt came to `outcome`: take it, or have something done instead. What sends the
    /// request again is done only where it can be repeated.
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
    /// The filter waits. Only a filter that waits allocates. When the exchange runs out of time
    /// meanwhile ([`Exchange::deadline`]) the future is dropped, so that must lose nothing.
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
    /// It was not asked: a filter's [`Filter::on_attempt`] answered with this status.
    Denied(u16),
}

/// What to do about the outcome of an attempt. A retry that is possible goes before an answer or
/// another upstream, and these before the outcome as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This is the answer.
    Accept,
    /// Another attempt after this pause.
    RetryAfter(Duration),
    /// This answer instead.
    Answer(Box<Answer>),
    /// Another attempt, at the upstream of this name.
    Upstream(Rc<str>),
}

/// What a chain makes of an outcome: the wishes of its filters.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    /// Make another attempt after this pause.
    retry: Option<Duration>,
    /// An answer or another upstream.
    instead: Option<Next>,
}

impl Decision {
    /// What is done, given whether the request can be sent again.
    pub(crate) fn next(self, repeatable: bool) -> Next {
        match (self.retry, self.instead) {
            (Some(pause), _) if repeatable => Next::RetryAfter(pause),
            (_, Some(Next::Upstream(_))) if !repeatable => Next::Accept,
            (_, Some(instead)) => instead,
            (_, None) => Next::Accept,
        }
    }
}

/// What a core offers its filters beside the exchange.
pub trait Core {
    /// Its number, from 0.
    fn id(&self) -> usize;

    /// How many cores serve, this one included.
    fn count(&self) -> usize;

    /// Runs `work` beside the exchanges of this core.
    fn spawn(&self, work: Pin<Box<dyn Future<Output = ()>>>);

    /// Has `job` done on a thread where it may block or compute for long. `None` when too many
    /// jobs wait already; [`compute`] gives the result its type.
    fn compute(&self, job: Job) -> Waiting<Option<Box<dyn Any + Send>>>;

    /// Asks an upstream of the file from this core, over the connections that its exchanges use.
    /// A request whose pooled connection has died is sent once more on a fresh one, if its method
    /// is idempotent.
    ///
    /// # Errors
    /// What came instead of an answer.
    fn call(&self, call: Call) -> Waiting<Result<Called, Error>> {
        // What is no core of a gateway has no upstreams.
        drop(call);
        Box::pin(std::future::ready(Err(UpstreamError::NoEndpoint.into())))
    }

    /// The way of log records from this core to `output`.
    fn journal(&self, output: &Output) -> Rc<Journal> {
        // What is no core of a gateway has outputs of its own.
        Journals::new(Shared::default(), self.id()).open(output)
    }
}

/// Something to wait for.
pub type Waiting<T> = Pin<Box<dyn Future<Output = T>>>;

/// Work for a thread that may block.
pub type Job = Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>;

/// Has `job` done on a thread where it may block or compute for long; `None` when too many jobs
/// wait already.
pub async fn compute<T: Send + 'static>(
    core: &dyn Core,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let done = core.compute(Box::new(move || Box::new(job()))).await?;
    done.downcast().ok().map(|done| *done)
}

/// A filter as the file describes it: checked, immutable but for what its cores share, readable
/// from every core. Each worker makes its own instance when it adopts a snapshot, and that cannot
/// fail.
///
/// What must be exact over all cores, or outlive a reload, is in the blueprint (as something
/// `Shared…`): a filter whose settings stay keeps its blueprint and its instances.
pub trait Blueprint: Send + Sync {
    /// The filter's name in the file.
    fn name(&self) -> &'static str;

    /// Its settings in one line, secrets masked, for `ringway explain`.
    fn summary(&self) -> String;

    /// Makes one core's instance.
    fn instance(&self, core: &Rc<dyn Core>) -> Rc<dyn Filter>;

    /// Upstreams that it names, each with the field that does. The snapshot checks that they are
    /// there.
    fn upstreams(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }

    /// The upstream that it has asked in place of the route's, with the field that names it.
    fn instead(&self) -> Option<(&'static str, &str)> {
        None
    }

    /// Routes that it names, each with the field that does. One that is not there is warned of.
    fn routes(&self) -> Vec<(String, &str)> {
        Vec::new()
    }

    /// Request variables that its templates use, each with the field that does; claims
    /// (`claims.NAME`) need not be among them. The snapshot checks that the route has them.
    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The groups of the regular expression that belongs to the template at this field, by name or
    /// number; `None` where there is no expression.
    fn groups(&self, field: &str) -> Option<Vec<String>> {
        let _ = field;
        None
    }

    /// True when it tells who asks ([`Exchange::identity`]).
    fn identifies(&self) -> bool {
        false
    }

    /// True when it answers CORS preflights, which carry no credentials: what asks for credentials
    /// has to stand behind it.
    fn answers_preflights(&self) -> bool {
        false
    }

    /// What it asks of a request before it may pass, if it keeps requests out by who sends them.
    fn guard(&self) -> Option<Guard> {
        None
    }

    /// The field by which it goes by who asks, if one does. A filter that tells has to stand
    /// before it; the snapshot checks that.
    fn needs_identity(&self) -> Option<&'static str> {
        None
    }

    /// False when it was built from more than its settings, such as a file, and that has changed
    /// since: a reload then builds it anew. Called off the workers, where it may block.
    fn is_current(&self) -> bool {
        true
    }

    /// What can be served but is surely not meant, or would not do now what it is for, such as a
    /// log in a folder that is not there; the fields are those below the filter's own. Called off
    /// the workers, where it may block.
    fn warnings(&self) -> Vec<SettingsError> {
        Vec::new()
    }

    /// What is to be done now and then off the workers, where it may block, such as fetching keys.
    /// Called with the first snapshot that has this blueprint.
    fn errand(&self) -> Option<Errand> {
        None
    }

    /// Appends what it counts, summed over all cores. Called from the control thread.
    fn measures(&self, into: &mut Vec<Measure>) {
        let _ = into;
    }

    /// True when two of its name in one chain would count everything twice; the snapshot refuses
    /// that.
    fn counts_alone(&self) -> bool {
        false
    }

    /// Appends what it measures. Of two with the same name and labels the first is shown.
    fn histograms(&self, into: &mut Vec<Histogram>) {
        let _ = into;
    }
}

/// Something done now and then: does it, and tells how long to wait before the next time.
pub type Errand = Box<dyn FnMut() -> Duration + Send>;

/// A number that a filter counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Its name by the conventions of Prometheus, without the program's: `retries_total`.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// True for what only grows.
    pub counter: bool,
    /// Labels beside those that tell the route.
    pub labels: Vec<(&'static str, String)>,
    /// How many.
    pub value: f64,
}

/// How often a number that a filter counts was how large.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Its name by the conventions of Prometheus, without the program's: `…_seconds`.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Labels beside those that tell the route.
    pub labels: Vec<(&'static str, String)>,
    /// Upper bounds, inclusive and rising.
    pub bounds: Vec<f64>,
    /// How many up to each bound and above the one before; one more for what is above all.
    pub counts: Vec<u64>,
    /// The sum of all numbers.
    pub sum: f64,
}

/// The settings of every filter there is: what `Config` is generic in. The registry in the
/// filters' crate implements it.
pub trait Settings {
    /// Checks the settings and makes the blueprint.
    ///
    /// # Errors
    /// What is wrong, at which field below the filter's own, and what to write instead.
    fn build(&self) -> Result<Shared<dyn Blueprint>, SettingsError>;
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
pub struct Chain(pub(crate) Vec<Link>);

/// A filter in a chain, and its name.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) name: &'static str,
    pub(crate) filter: Rc<dyn Filter>,
}

impl Chain {
    /// Passes the request forward. Returns how many filters it has passed, each of which shall
    /// see the response, and the answer if one of them gave it.
    /// A filter that waits longer than the exchange may take is an error.
    pub(crate) async fn on_request(
        &self,
        exchange: &mut Exchange,
    ) -> (usize, Result<Option<Box<Answer>>, Error>) {
        for (passed, Link { name, filter }) in self.0.iter().enumerate() {
            let deadline = exchange.deadline;
            let verdict = match (filter.on_request(exchange), deadline) {
                (Step::Now(verdict), _) => verdict,
                (Step::Later(wait), None) => wait.await,
                (Step::Later(wait), Some(deadline)) => {
                    let left = deadline.saturating_duration_since(clock::now());
                    match clock::within(left, wait).await {
                        Some(verdict) => verdict,
                        None => return (passed + 1, Err(GatewayError::Timeout.into())),
                    }
                }
            };
            if let Verdict::Answer(answer) = verdict {
                exchange.answered_by = Some(*name);
                return (passed + 1, Ok(Some(answer)));
            }
        }
        (self.0.len(), Ok(None))
    }

    /// Asks each filter about the attempt to come.
    pub(crate) fn on_attempt(&self, exchange: &mut Exchange) -> Option<Box<Answer>> {
        exchange.answered_by = None;
        self.0.iter().find_map(|Link { name, filter }| match filter.on_attempt(exchange) {
            Verdict::Continue => None,
            Verdict::Answer(answer) => {
                exchange.answered_by = Some(*name);
                Some(answer)
            }
        })
    }

    /// Tells each filter what came of the attempt, backward. The longest pause asked for wins, and
    /// of what to do instead the first.
    pub(crate) fn on_outcome(&self, exchange: &mut Exchange, outcome: &Outcome<'_>) -> Decision {
        let mut decision = Decision::default();
        for Link { filter, .. } in self.0.iter().rev() {
            match filter.on_outcome(exchange, outcome) {
                Next::Accept => {}
                Next::RetryAfter(pause) => {
                    decision.retry = Some(decision.retry.map_or(pause, |other| other.max(pause)));
                }
                instead => {
                    decision.instead.get_or_insert(instead);
                }
            }
        }
        decision
    }

    /// Passes the response backward through the filters that the request had passed.
    pub(crate) fn on_response(&self, exchange: &mut Exchange, passed: usize) {
        self.0[..passed].iter().rev().for_each(|link| link.filter.on_response(exchange));
    }

    /// Tells every filter that the exchange is over.
    pub(crate) fn on_end(&self, record: &Record<'_>) {
        self.0.iter().rev().for_each(|link| link.filter.on_end(record));
    }
}
