//! A configuration made ready to serve: checked, compiled, immutable, read by every core.
//!
//! Everything that can fail fails in [`Snapshot::build`]. What a worker makes of a snapshot when
//! it adopts it cannot.

mod before;
mod check;
mod doubts;
mod rules;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ringway_config as config;
use ringway_config::{Config, Upgrade};

use crate::exchange::{Answer, AnswerBody};
use crate::filter::{Blueprint, Settings};
use crate::guard::Guard;
use crate::route::Table;
use crate::shared::Shared;
use crate::template::Template;
use crate::upstream::Plan;

use before::{Before, Kept};
pub(crate) use rules::{Rules, bound};

/// A configuration made ready to serve.
pub struct Snapshot {
    pub(crate) table: Table,
    pub(crate) routes: Vec<Route>,
    pub(crate) global_filters: Vec<Shared<dyn Blueprint>>,
    pub(crate) upstreams: Vec<Shared<Plan>>,
    /// Places in `upstreams` by the names that a template may come to.
    pub(crate) by_name: HashMap<String, usize>,
    /// The names of all routes.
    pub(crate) route_names: HashSet<String>,
    /// The names of all upstreams, those that are a route's own among them.
    pub(crate) names: HashSet<String>,
    /// Every filter, by its address.
    pub(crate) blueprints: HashSet<usize>,
    pub(crate) rules: Rules,
    pub(crate) server: config::Server,
    pub(crate) workers: config::Workers,
    pub(crate) admin: Option<config::Admin>,
    /// The file that it was built of, for whoever asks what is configured.
    pub(crate) written: config::Written,
}

/// A route, compiled. What it matches is in the table.
pub(crate) struct Route {
    pub(crate) name: String,
    /// What it matches as the file has it, for whoever asks; what serves is in the table.
    pub(crate) matching: config::Matching,
    pub(crate) action: Action,
    pub(crate) filters: Vec<Shared<dyn Blueprint>>,
    /// Leave the prefix out of the path.
    pub(crate) strip: bool,
    /// The path to send instead.
    pub(crate) path: Option<Template>,
    pub(crate) host: HostRule,
    /// Overrides of the upstream's deadlines.
    pub(crate) connect: Option<Duration>,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) read: Duration,
    pub(crate) write: Duration,
    pub(crate) tunnel: Duration,
    pub(crate) max_body: u64,
    pub(crate) min_body_rate: u64,
    pub(crate) websocket: bool,
    /// The route names TRACE among its methods.
    pub(crate) trace: bool,
}

/// What a route does with a request.
pub(crate) enum Action {
    /// Sends it on.
    Forward(Destination),
    /// Answers it.
    Respond(Answer),
    /// Sends the client elsewhere.
    Redirect { to: Template, status: u16 },
}

/// Where a route sends a request.
pub(crate) enum Destination {
    /// To this upstream, by its place.
    Upstream(usize),
    /// To the upstream that the template names.
    Named(Template),
    /// To one of several.
    Split(Vec<Arm>),
}

/// One arm of a split.
pub(crate) struct Arm {
    pub(crate) upstream: usize,
    pub(crate) weight: u32,
    pub(crate) header: Option<(String, String)>,
    pub(crate) cookie: Option<(String, String)>,
}

/// What `Host` the upstream shall see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostRule {
    Keep,
    Upstream,
    Name(String),
}

/// Something that can be read but not used, by its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    /// The field, such as `routes[3].regex`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Snapshot {
    /// Compiles a configuration.
    ///
    /// # Errors
    /// Everything that cannot be used, all at once.
    pub fn build<F: Settings + PartialEq>(config: &Config<F>) -> Result<Snapshot, Vec<BuildError>> {
        Snapshot::build_after(config, None)
    }

    /// Compiles a configuration that follows another, given with the snapshot that was built from
    /// it. Filters and upstreams whose settings stay are taken over as they are, with their state:
    /// an upstream by its name, a filter by the name of its route.
    ///
    /// # Errors
    /// Everything that cannot be used, all at once.
    pub fn build_after<F: Settings + PartialEq>(
        config: &Config<F>,
        before: Option<(&Config<F>, &Snapshot)>,
    ) -> Result<Snapshot, Vec<BuildError>> {
        let mut builder = Builder { before: before.map(Before::new), ..Builder::default() };
        builder.upstreams(config);
        let kept = builder.before.as_ref().map(Before::global_filters);
        let global_filters = builder.filters(kept, "global_filters", &config.global_filters);
        let matching: Vec<_> = config.routes.iter().map(|r| &r.matching).collect();
        let table = Table::build(matching, &config.server.path);
        builder.check_filters("global_filters", &global_filters, false);
        builder.check_counts("global_filters", &global_filters, false);
        let counts = global_filters.iter().any(|filter| filter.counts_alone());
        builder.check_variables("global_filters", &global_filters, None);
        let identified = global_filters.iter().any(|filter| filter.identifies());
        let mut routes = Vec::with_capacity(config.routes.len());
        for at in 0..config.routes.len() {
            if let Some(route) = builder.route(config, at) {
                let place = format!("routes[{at}].filters");
                builder.check_filters(&place, &route.filters, identified);
                builder.check_counts(&place, &route.filters, counts);
                if let Ok(table) = &table {
                    builder.check_variables(&place, &route.filters, Some((table, at)));
                }
                routes.push(route);
            }
        }
        let table = table.map_err(|errors| {
            errors.into_iter().map(|e| BuildError {
                path: format!("routes[{}].{}", e.route, e.field),
                message: e.message,
                help: e.help,
            })
        });
        let Builder { errors, upstreams, by_name, .. } = builder;
        match table {
            Ok(table) if errors.is_empty() => {
                let own = routes.iter().flat_map(|route: &Route| &route.filters);
                let blueprints = global_filters.iter().chain(own).map(Shared::address).collect();
                Ok(Snapshot {
                    table,
                    route_names: routes.iter().map(|route| route.name.clone()).collect(),
                    routes,
                    global_filters,
                    names: upstreams.iter().map(|plan| plan.name.clone()).collect(),
                    blueprints,
                    upstreams,
                    by_name,
                    rules: Rules::new(&config.server),
                    server: config.server.clone(),
                    workers: config.workers.clone(),
                    admin: config.admin.clone(),
                    written: config::Written::default(),
                })
            }
            Ok(_) => Err(errors),
            Err(wrong) => Err(errors.into_iter().chain(wrong).collect()),
        }
    }

    /// The same snapshot, knowing the file that it was built of.
    pub fn with_written(self, written: config::Written) -> Snapshot {
        Snapshot { written, ..self }
    }

    /// What can be served but is surely not meant: no routes, routes that no request can reach,
    /// upstreams that none can, and what filters say of themselves and of their order.
    pub fn warnings(&self) -> Vec<BuildError> {
        let warn = |shadowed: crate::route::Shadowed| BuildError {
            path: format!("routes[{}]", shadowed.route),
            message: format!(
                "no request can reach the route `{}`: `{}` takes them all first",
                self.routes[shadowed.route].name, self.routes[shadowed.by].name
            ),
            help: Some("remove it, narrow the other, or give it a `priority`".to_owned()),
        };
        let unreachable = self.table.unreachable().into_iter().map(warn);
        let others = doubts::upstreams(self).into_iter().chain(doubts::filters(self));
        doubts::routes(self).into_iter().chain(unreachable).chain(others).collect()
    }

    /// Routes that no request can reach, each with one that takes them all first.
    pub fn shadowed(&self) -> impl Iterator<Item = (&str, &str)> {
        let name = |at: usize| self.routes[at].name.as_str();
        let all = self.table.unreachable().into_iter();
        all.map(move |shadowed| (name(shadowed.route), name(shadowed.by)))
    }

    /// How many routes, upstreams and listeners there are.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.routes.len(), self.upstreams.len(), self.server.listen.len())
    }

    /// Every filter, each with the name of its route; global ones have none.
    pub(crate) fn filters(&self) -> impl Iterator<Item = (Option<&str>, &Shared<dyn Blueprint>)> {
        let global = self.global_filters.iter().map(|filter| (None, filter));
        global.chain(self.routes.iter().flat_map(|route| {
            route.filters.iter().map(|filter| (Some(route.name.as_str()), filter))
        }))
    }

    /// What each route asks of its requests, in the order of the file: the names of the filters
    /// that keep requests out, global ones first, and what they ask.
    pub fn guards(&self) -> impl Iterator<Item = (&str, Vec<(&'static str, Guard)>)> {
        let of = |filter: &Shared<dyn Blueprint>| Some((filter.name(), filter.guard()?));
        let global: Vec<_> = self.global_filters.iter().filter_map(of).collect();
        self.routes.iter().map(move |route| {
            let own = route.filters.iter().filter_map(of);
            (route.name.as_str(), global.iter().cloned().chain(own).collect())
        })
    }

    /// Every target of every upstream, for the resolver.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (&config::Address, Duration)> {
        self.upstreams.iter().flat_map(|plan| {
            let every = plan.settings.resolve_every.0;
            plan.settings.targets.iter().map(move |target| (&target.addr, every))
        })
    }
}

struct Builder<'a, F> {
    before: Option<Before<'a, F>>,
    errors: Vec<BuildError>,
    upstreams: Vec<Shared<Plan>>,
    by_name: HashMap<String, usize>,
}

impl<F> Default for Builder<'_, F> {
    fn default() -> Self {
        Builder { before: None, errors: Vec::new(), upstreams: Vec::new(), by_name: HashMap::new() }
    }
}

impl<F: Settings + PartialEq> Builder<'_, F> {
    fn error(&mut self, path: String, message: impl Into<String>, help: Option<&str>) {
        let help = help.map(str::to_owned);
        self.errors.push(BuildError { path, message: message.into(), help });
    }

    fn upstreams(&mut self, config: &Config<F>) {
        for (name, settings) in &config.upstreams {
            let at = self.upstream(name, settings);
            self.by_name.insert(name.clone(), at);
        }
    }

    /// The upstream as it was before, or a new one; its place.
    fn upstream(&mut self, name: &str, settings: &config::Upstream) -> usize {
        let at = self.upstreams.len();
        let kept = self.before.as_ref().and_then(|before| before.plan(at, name, settings));
        self.upstreams.push(kept.unwrap_or_else(|| {
            Shared::new(Plan { name: name.to_owned(), settings: settings.clone() })
        }));
        at
    }

    /// The filters of a route, or the global ones, each as one of `kept` was or a new one.
    fn filters(
        &mut self,
        mut kept: Option<Kept<'_, F>>,
        path: &str,
        all: &[F],
    ) -> Vec<Shared<dyn Blueprint>> {
        let mut built = Vec::with_capacity(all.len());
        for (at, settings) in all.iter().enumerate() {
            if let Some(blueprint) = kept.as_mut().and_then(|kept| kept.take(at, settings)) {
                built.push(blueprint);
                continue;
            }
            match settings.build() {
                Ok(blueprint) => built.push(blueprint),
                Err(e) => {
                    let dot = if e.field.is_empty() { "" } else { "." };
                    let path = format!("{path}[{at}]{dot}{}", e.field);
                    self.errors.push(BuildError { path, message: e.message, help: e.help });
                }
            }
        }
        built
    }

    fn route(&mut self, config: &Config<F>, at: usize) -> Option<Route> {
        let route = &config.routes[at];
        let place = format!("routes[{at}]");
        let kept = self.before.as_ref().map(|before| before.filters(at, &route.name));
        let filters = self.filters(kept, &format!("{place}.filters"), &route.filters);
        let path = match &route.rewrite.path {
            Some(text) => Some(self.template(format!("{place}.rewrite.path"), text)?),
            None => None,
        };
        let action = self.action(route, &place)?;
        let limits = &config.server.limits;
        let or = |own: Option<config::Period>, server: config::Period| own.unwrap_or(server).0;
        Some(Route {
            name: route.name.clone(),
            matching: route.matching.clone(),
            action,
            filters,
            strip: route.strip_prefix,
            path,
            host: match &route.rewrite.host {
                config::HostHeader::Keep => HostRule::Keep,
                config::HostHeader::Upstream => HostRule::Upstream,
                config::HostHeader::Name(name) => HostRule::Name(name.clone()),
            },
            connect: route.timeouts.connect.map(|t| t.0),
            first_byte: route.timeouts.first_byte.map(|t| t.0),
            idle: route.timeouts.idle.map(|t| t.0),
            read: or(route.timeouts.read, config.server.read_timeout),
            write: or(route.timeouts.write, config.server.write_timeout),
            tunnel: route.timeouts.tunnel.0,
            max_body: bound(route.max_body.unwrap_or(limits.max_body)),
            min_body_rate: route.min_body_rate.unwrap_or(limits.min_body_rate).0,
            trace: route.matching.methods.iter().any(|method| method == "TRACE"),
            websocket: route.upgrades.contains(&Upgrade::Websocket),
        })
    }

    fn action(&mut self, route: &config::Route<F>, place: &str) -> Option<Action> {
        Some(match &route.action {
            config::Action::Forward(forward) => {
                Action::Forward(self.destination(route, forward, place)?)
            }
            config::Action::Respond(respond) => Action::Respond(Answer {
                status: respond.status,
                headers: respond.headers.clone().into_iter().collect(),
                body: AnswerBody::Bytes(respond.body.clone().into_bytes()),
            }),
            config::Action::Redirect(redirect) => Action::Redirect {
                to: self.template(format!("{place}.redirect.to"), &redirect.to)?,
                status: redirect.status,
            },
        })
    }

    fn destination(
        &mut self,
        route: &config::Route<F>,
        forward: &config::Forward,
        place: &str,
    ) -> Option<Destination> {
        Some(match forward {
            config::Forward::Upstream(name) if name.contains("${") => {
                Destination::Named(self.template(format!("{place}.upstream"), name)?)
            }
            config::Forward::Upstream(name) => {
                Destination::Upstream(self.named(name, || format!("{place}.upstream"))?)
            }
            config::Forward::Targets(settings) => {
                Destination::Upstream(self.upstream(&route.name, settings))
            }
            config::Forward::Split(arms) => {
                let mut split = Vec::new();
                for (at, arm) in arms.iter().enumerate() {
                    let place = || format!("{place}.split[{at}].upstream");
                    split.push(Arm {
                        upstream: self.named(&arm.upstream, place)?,
                        weight: arm.weight,
                        header: arm.header.clone(),
                        cookie: arm.cookie.clone(),
                    });
                }
                Destination::Split(split)
            }
        })
    }

    fn named(&mut self, name: &str, place: impl Fn() -> String) -> Option<usize> {
        let at = self.by_name.get(name).copied();
        if at.is_none() {
            let mut names: Vec<_> = self.by_name.keys().cloned().collect();
            names.sort_unstable();
            let help = config::unknown_upstream(name, &names);
            self.error(place(), format!("there is no upstream `{name}`"), Some(&help));
        }
        at
    }

    fn template(&mut self, place: String, text: &str) -> Option<Template> {
        Template::parse(text).map_err(|e| self.error(place, e.to_string(), None)).ok()
    }
}
