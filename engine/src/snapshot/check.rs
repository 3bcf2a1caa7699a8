//! Filters held against each other and against what there is.

use ringway_config as config;

use super::Builder;
use crate::filter::{Blueprint, Settings};
use crate::route::Table;
use crate::shared::Shared;
use crate::template::CLAIM;

impl<F: Settings + PartialEq> Builder<'_, F> {
    /// Holds what filters name and need against what there is and what stands before them.
    pub(super) fn check_filters(
        &mut self,
        place: &str,
        filters: &[Shared<dyn Blueprint>],
        mut identified: bool,
    ) {
        for (at, filter) in filters.iter().enumerate() {
            let place = format!("{place}[{at}].{}", filter.name());
            for (field, name) in filter.upstreams() {
                self.named(name, || format!("{place}.{field}"));
            }
            if let Some(field) = filter.needs_identity().filter(|_| !identified) {
                let help = "put an `auth` filter before it, here or in `global_filters`";
                let message = "nothing before this filter tells who asks";
                self.error(format!("{place}.{field}"), message, Some(help));
            }
            identified |= filter.identifies();
        }
    }

    /// Refuses a second filter that counts what one before it has counted.
    pub(super) fn check_counts(
        &mut self,
        place: &str,
        filters: &[Shared<dyn Blueprint>],
        mut counted: bool,
    ) {
        for (at, filter) in filters.iter().enumerate().filter(|(_, filter)| filter.counts_alone()) {
            if counted {
                let message = "a filter before this one counts the same requests";
                let help = "keep one: in `global_filters` for all routes, or at single routes";
                self.error(format!("{place}[{at}].{}", filter.name()), message, Some(help));
            }
            counted = true;
        }
    }

    /// Holds the variables of filters' templates against those that there are.
    pub(super) fn check_variables(
        &mut self,
        place: &str,
        filters: &[Shared<dyn Blueprint>],
        here: Option<(&Table, usize)>,
    ) {
        for (at, filter) in filters.iter().enumerate() {
            for (field, name) in filter.variables() {
                if name.starts_with(CLAIM) {
                    continue;
                }
                let here: Option<Vec<String>> =
                    here.map(|(table, route)| table.parameters(route).map(str::to_owned).collect());
                let groups = filter.groups(&field);
                let (here, groups) = (here.as_deref(), groups.as_deref());
                if let Some((message, help)) = config::unknown_variable(&name, here, groups) {
                    let place = format!("{place}[{at}].{}.{field}", filter.name());
                    self.error(place, message, Some(&help));
                }
            }
        }
    }
}
