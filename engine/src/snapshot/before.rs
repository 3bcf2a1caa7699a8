//! What a new snapshot takes over from the one before it: the filters and upstreams whose settings
//! stay, so that their state does.

use std::cell::OnceCell;
use std::collections::HashMap;

use ringway_config as config;
use ringway_config::Config;

use super::Snapshot;
use crate::filter::Blueprint;
use crate::shared::Shared;
use crate::upstream::Plan;

/// The snapshot before, and the configuration that it was built from.
pub(super) struct Before<'a, F> {
    config: &'a Config<F>,
    snapshot: &'a Snapshot,
    /// The places of routes and plans by their names, for what is not at the place where it was.
    routes: OnceCell<HashMap<&'a str, usize>>,
    plans: OnceCell<HashMap<&'a str, usize>>,
}

/// What a list of filters was built from, and what was made of it.
type Lists<'a, F> = (&'a Vec<F>, &'a Vec<Shared<dyn Blueprint>>);

impl<'a, F: PartialEq> Before<'a, F> {
    pub(super) fn new((config, snapshot): (&'a Config<F>, &'a Snapshot)) -> Self {
        Before { config, snapshot, routes: OnceCell::new(), plans: OnceCell::new() }
    }

    /// The upstream of this name, if its settings are these. Mostly it is at the same place again.
    pub(super) fn plan(
        &self,
        at: usize,
        name: &str,
        settings: &config::Upstream,
    ) -> Option<Shared<Plan>> {
        let plans = &self.snapshot.upstreams;
        let same = |plan: &&Shared<Plan>| plan.name == name;
        let plan = plans.get(at).filter(same).or_else(|| {
            let names = || plans.iter().enumerate().map(|(at, plan)| (plan.name.as_str(), at));
            let places = self.plans.get_or_init(|| names().collect());
            places.get(name).map(|&at| &plans[at])
        })?;
        (plan.settings == *settings).then(|| plan.clone())
    }

    /// The filters of the route of this name, which has this place now.
    pub(super) fn filters(&self, at: usize, name: &str) -> Kept<'a, F> {
        let routes = &self.snapshot.routes;
        let place = match routes.get(at) {
            Some(route) if route.name == name => Some(at),
            _ => {
                let names = || routes.iter().enumerate().map(|(at, r)| (r.name.as_str(), at));
                self.routes.get_or_init(|| names().collect()).get(name).copied()
            }
        };
        let lists = place.and_then(|at| {
            let settings = self.config.routes.get(at).filter(|route| route.name == name)?;
            Some((&settings.filters, &routes[at].filters))
        });
        Before::kept(lists)
    }

    /// The global filters.
    pub(super) fn global_filters(&self) -> Kept<'a, F> {
        Before::kept(Some((&self.config.global_filters, &self.snapshot.global_filters)))
    }

    fn kept(lists: Option<Lists<'a, F>>) -> Kept<'a, F> {
        let pairs = lists.into_iter().flat_map(|(settings, built)| settings.iter().zip(built));
        Kept(pairs.map(Some).collect())
    }
}

/// The filters of one list, each until it is taken over.
pub(super) struct Kept<'a, F>(Vec<Option<(&'a F, &'a Shared<dyn Blueprint>)>>);

impl<F: PartialEq> Kept<'_, F> {
    /// The filter that has these settings: the one at this place, or else the first. One that was
    /// built from what is not as it was is of no use any more.
    pub(super) fn take(&mut self, at: usize, settings: &F) -> Option<Shared<dyn Blueprint>> {
        let same = |kept: &Option<(&F, _)>| kept.is_some_and(|(theirs, _)| theirs == settings);
        let place = match self.0.get(at) {
            Some(kept) if same(kept) => at,
            _ => self.0.iter().position(same)?,
        };
        let (_, blueprint) = self.0[place].take()?;
        blueprint.is_current().then(|| blueprint.clone())
    }
}
