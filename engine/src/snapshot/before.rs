//! What a new snapshot takes over from the one before it: the filters and upstreams whose settings
//! stay, so that their state does.

use std::collections::HashMap;

use ringway_config as config;
use ringway_config::Config;

use super::{Route, Snapshot};
use crate::filter::Blueprint;
use crate::shared::Shared;
use crate::upstream::Plan;

/// The snapshot before, and the configuration that it was built from.
pub(super) struct Before<'a, F> {
    config: &'a Config<F>,
    snapshot: &'a Snapshot,
    routes: HashMap<&'a str, usize>,
    plans: HashMap<&'a str, &'a Shared<Plan>>,
}

impl<'a, F: PartialEq> Before<'a, F> {
    pub(super) fn new((config, snapshot): (&'a Config<F>, &'a Snapshot)) -> Self {
        let routes = snapshot.routes.iter().enumerate();
        Before {
            config,
            snapshot,
            routes: routes.map(|(at, route)| (route.name.as_str(), at)).collect(),
            plans: snapshot.upstreams.iter().map(|plan| (plan.name.as_str(), plan)).collect(),
        }
    }

    /// The upstream of this name, if its settings are these.
    pub(super) fn plan(&self, name: &str, settings: &config::Upstream) -> Option<Shared<Plan>> {
        let plan = self.plans.get(name)?;
        (plan.settings == *settings).then(|| (*plan).clone())
    }

    /// The filters of the route of this name, or the global ones.
    pub(super) fn filters(&self, route: Option<&str>) -> Kept<'a, F> {
        let lists = match route {
            None => Some((&self.config.global_filters, &self.snapshot.global_filters)),
            Some(name) => self.routes.get(name).and_then(|&at| {
                let built: &Route = &self.snapshot.routes[at];
                let settings = self.config.routes.get(at).filter(|route| route.name == name)?;
                Some((&settings.filters, &built.filters))
            }),
        };
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
