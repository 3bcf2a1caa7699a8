//! What differs, as a person reads it.

use super::{Change, Diff, FieldChange, FilterChange, Kind, Loosened, Things};
use crate::paint::Paint;

/// Up to so many routes are named where the same holds for all of them.
const FEW: usize = 5;

/// The whole text, with its last line break.
pub(super) fn write(diff: &Diff, paint: Paint) -> String {
    if diff.is_empty() {
        return "nothing changes\n".to_owned();
    }
    let mut page = Page { text: String::new(), paint };
    for change in &diff.settings {
        page.head(&change.name);
        page.fields(&change.fields, "  ");
    }
    page.things("upstreams", &diff.upstreams);
    page.things("routes", &diff.routes);
    if !diff.global_filters.is_empty() {
        page.head("global filters");
        diff.global_filters.iter().for_each(|filter| page.filter(filter, "  "));
    }
    page.warnings(diff);
    page.text
}

struct Page {
    text: String,
    paint: Paint,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn head(&mut self, name: &str) {
        let name = self.paint.strong(name);
        self.line(&name);
    }

    fn things(&mut self, kind: &str, things: &Things) {
        if *things == Things::default() {
            return;
        }
        self.head(kind);
        for name in &things.added {
            let line = self.paint.good(format_args!("  + {name}"));
            self.line(&line);
        }
        for name in &things.removed {
            let line = self.paint.bad(format_args!("  - {name}"));
            self.line(&line);
        }
        for Change { name, renamed_from, fields, filters } in &things.changed {
            let renamed = renamed_from.as_ref().map(|from| format!(" (was {from})"));
            let name = format!("  ~ {name}{}", renamed.unwrap_or_default());
            let line = self.paint.warning(name);
            self.line(&line);
            self.fields(fields, "      ");
            filters.iter().for_each(|filter| self.filter(filter, "      "));
        }
    }

    fn fields(&mut self, fields: &[FieldChange], margin: &str) {
        for FieldChange { field, before, after } in fields {
            let colon = if field.is_empty() { "" } else { ": " };
            let shown = match (before, after) {
                (Some(before), Some(after)) => format!("{before} → {after}"),
                (None, Some(after)) => format!("{after} (new)"),
                (Some(before), None) => format!("{before} → (not set)"),
                (None, None) => String::new(),
            };
            self.line(&format!("{margin}{field}{colon}{shown}"));
        }
    }

    fn filter(&mut self, FilterChange { filter, change, fields }: &FilterChange, margin: &str) {
        let line = match change {
            Kind::Added => self.paint.good(format_args!("{margin}+ filter {filter}")),
            Kind::Removed => self.paint.bad(format_args!("{margin}- filter {filter}")),
            Kind::Changed => self.paint.warning(format_args!("{margin}~ filter {filter}")),
            Kind::Moved => self.paint.warning(format_args!("{margin}~ filter {filter} has moved")),
        };
        self.line(&line);
        self.fields(fields, &format!("{margin}    "));
    }

    /// What deserves a second look, the worst last: that is what stays on the screen.
    fn warnings(&mut self, diff: &Diff) {
        let mut warnings = Vec::new();
        if diff.routes_reordered {
            let line = "the order of routes changes, which decides between equally specific ones";
            warnings.push(self.paint.warning(line));
        }
        for setting in &diff.restart {
            let line =
                format!("{setting} cannot change while the gateway runs: it needs a restart");
            warnings.push(self.paint.warning(line));
        }
        for shadowed in &diff.shadowed {
            let (route, by) = (&shadowed.route, &shadowed.by);
            let line =
                format!("no request reaches the route {route} any more: {by} takes them all");
            warnings.push(self.paint.warning(line));
        }
        for lost in diff.lost.iter().filter(|lost| !lost.guard) {
            let line = format!("the route {} loses the filter {}", lost.route, lost.filter);
            warnings.push(self.paint.warning(line));
        }
        for loosened in diff.guards.iter().filter(|loosened| !loosened.weaker) {
            let Loosened { routes, filter, what, .. } = loosened;
            let line = format!("{filter} of {}: {what}", named(routes, "the route"));
            warnings.push(self.paint.warning(line));
        }
        for loosened in diff.guards.iter().filter(|loosened| loosened.weaker) {
            let (routes, what) = (named(&loosened.routes, "ROUTE"), &loosened.what);
            let filter = loosened.filter.to_uppercase();
            let line = format!("{filter} OF {routes} ASKS LESS: {what}");
            warnings.push(self.paint.bad(line));
        }
        for lost in diff.lost.iter().filter(|lost| lost.guard) {
            let filter = lost.filter.to_uppercase();
            warnings.push(self.paint.bad(format_args!("ROUTE {} LOSES {filter}", lost.route)));
        }
        if !warnings.is_empty() {
            self.line("");
            warnings.iter().for_each(|line| self.line(line));
        }
    }
}

/// The routes, of many the first few.
fn named(routes: &[String], one: &str) -> String {
    let many = if one == "ROUTE" { "ROUTES" } else { "the routes" };
    match routes {
        [route] => format!("{one} {route}"),
        few if few.len() <= FEW => format!("{many} {}", few.join(", ")),
        all => format!("{many} {} and {} more", all[..FEW].join(", "), all.len() - FEW),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::Lost;

    #[test]
    fn a_guard_that_is_lost_is_in_capitals_and_comes_last() {
        let lost = |route: &str, filter: &str, guard| Lost {
            route: route.to_owned(),
            filter: filter.to_owned(),
            guard,
        };
        let diff = Diff {
            lost: vec![lost("orders", "auth", true), lost("users", "fault", false)],
            ..Diff::default()
        };
        let text = write(&diff, Paint::PLAIN);
        let lines = "\nthe route users loses the filter fault\nROUTE orders LOSES AUTH\n";
        assert_eq!(text, lines);
    }
}
