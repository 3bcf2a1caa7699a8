//! Holds filters that keep requests out against what they were, by what they ask.

use ringway_config::{Cidr, Config, PathMatch};
use ringway_engine::guard::{Asks, Guard, Kind, Term, Way};
use ringway_engine::snapshot::Snapshot;
use ringway_filters::FilterSettings;

/// A route and what it asks of its requests.
pub(super) struct Guarded<'a> {
    pub(super) name: &'a str,
    path: &'a PathMatch,
    guards: Vec<(&'static str, Guard)>,
}

/// All routes of a file, in its order.
pub(super) fn routes<'a>(
    config: &'a Config<FilterSettings>,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = Guarded<'a>> {
    let routes = config.routes.iter().zip(snapshot.guards());
    routes.map(|(route, (_, guards))| Guarded {
        name: &route.name,
        path: &route.matching.path,
        guards,
    })
}

/// A filter, whether it lets more pass than before, and what about it is not as before.
type Found = (&'static str, bool, String);

/// What became of the filters that the route had and has; of a route that is new, which of them ask
/// nothing of it.
pub(super) fn compare(was: Option<&Guarded<'_>>, now: &Guarded<'_>) -> Vec<Found> {
    let Some(was) = was else {
        let open = now.guards.iter().filter_map(|(filter, guard)| {
            let by = open(guard, now.path)?;
            Some((*filter, false, format!("nothing is asked of this new route, by {by}")))
        });
        return open.collect();
    };
    let mut left: Vec<_> = was.guards.iter().collect();
    let mut pairs = Vec::new();
    let mut changed = Vec::new();
    for one in &now.guards {
        match left.iter().position(|other| *other == one) {
            Some(same) => pairs.push((left.remove(same), one)),
            None => changed.push(one),
        }
    }
    for one in changed {
        // What has come in addition asks more.
        if let Some(theirs) = left.iter().position(|other| other.0 == one.0) {
            pairs.push((left.remove(theirs), one));
        }
    }
    let mut found = Vec::new();
    for ((_, before), (filter, guard)) in pairs {
        let opened = open(guard, now.path).filter(|_| open(before, was.path).is_none());
        match opened {
            Some(by) => found.push((*filter, true, format!("nothing is asked any more, by {by}"))),
            None => {
                let what = of_guard(before, guard, now.path);
                found.extend(what.into_iter().map(|(weaker, what)| (*filter, weaker, what)));
            }
        }
    }
    for (filter, _) in left {
        // Where none is left at all, the route has lost it, and that is told.
        if now.guards.iter().any(|(other, _)| other == filter) {
            found.push((*filter, true, "there is one fewer than before".to_owned()));
        }
    }
    found
}

/// The setting by which nothing is asked of any request with such a path, and its value.
fn open(guard: &Guard, path: &PathMatch) -> Option<String> {
    let excepts = guard.terms.iter().filter(|term| term.asks == Asks::Except);
    excepts.into_iter().find_map(|term| {
        let whole = |value: &&String| reach(value, path) == Reach::Whole;
        let value = term.values.iter().find(whole)?;
        Some(format!("{} `{value}`", term.field))
    })
}

/// What is not as before: whether it lets more pass, and the words.
type Changes = Vec<(bool, String)>;

fn of_guard(before: &Guard, now: &Guard, path: &PathMatch) -> Changes {
    let mut changes = of_terms(&before.terms, &now.terms, path);
    for Way { name, terms } in &now.ways {
        match before.ways.iter().find(|way| way.name == *name) {
            Some(way) => changes.extend(of_terms(&way.terms, terms, path)),
            None => changes.push((true, format!("`{name}` is enough too"))),
        }
    }
    changes
}

fn of_terms(before: &[Term], now: &[Term], path: &PathMatch) -> Changes {
    let mut changes = Changes::new();
    let fields = before.iter().chain(now.iter().filter(|term| of(before, term).is_none()));
    for term in fields {
        let nothing = Term { values: Vec::new(), ..term.clone() };
        let before = of(before, term).unwrap_or(&nothing);
        let now = of(now, term).unwrap_or(&nothing);
        if before != now {
            changes.extend(of_term(before, now, path));
        }
    }
    changes
}

/// What is asked about the same setting.
fn of<'a>(terms: &'a [Term], other: &Term) -> Option<&'a Term> {
    terms.iter().find(|term| term.field == other.field)
}

fn of_term(before: &Term, now: &Term, path: &PathMatch) -> Option<(bool, String)> {
    let field = &now.field;
    let fresh = || now.values.iter().filter(|value| !covered(value, before));
    let gone = || before.values.iter().filter(|value| !covered(value, now));
    let weaker = |values: String, what: &str| {
        (!values.is_empty()).then(|| (true, format!("{field}: {values} {what}")))
    };
    match (before.asks, now.asks) {
        _ if matches!(before.asks, Asks::One | Asks::Each) && before.values.is_empty() => None,
        (Asks::One, Asks::One) if now.values.is_empty() => {
            let values = list(before.values.iter());
            Some((true, format!("{field}: any will do, no longer only {values}")))
        }
        (Asks::One, Asks::One) => weaker(list(fresh()), "will do too"),
        (Asks::Each, Asks::Each) => weaker(list(gone()), "is no longer asked for"),
        (Asks::One, Asks::Each) if now.values.iter().any(|value| covered(value, before)) => None,
        (Asks::Each, Asks::One) if before.values.len() == 1 && before.values == now.values => None,
        (Asks::Except, Asks::Except) => {
            let here = fresh().filter(|value| reach(value, path) != Reach::Nothing);
            weaker(list(here), "passes unasked")
        }
        (Asks::Trust, Asks::Trust) => {
            let (fresh, gone) = (join(fresh()), join(gone()));
            match (fresh.is_empty(), gone.is_empty()) {
                (true, true) => None,
                (true, false) => Some((false, format!("{field}: {gone} is no longer trusted"))),
                (false, true) => Some((true, format!("{field}: {fresh} is trusted too"))),
                (false, false) => {
                    Some((false, format!("{field}: {fresh} is trusted instead of {gone}")))
                }
            }
        }
        _ if now.values.is_empty() => weaker(list(gone()), "is no longer asked for"),
        _ => weaker(list(now.values.iter()), "will do now"),
    }
}

fn list<'a>(values: impl Iterator<Item = &'a String>) -> String {
    values.map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
}

fn join<'a>(values: impl Iterator<Item = &'a String>) -> String {
    values.map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// True when one of the values of the term holds all that this value does.
fn covered(value: &str, term: &Term) -> bool {
    term.values.iter().any(|wide| match term.kind {
        Kind::Word => wide == value,
        Kind::Path => is_below(value, wide),
        Kind::Range => match (wide.parse::<Cidr>(), value.parse::<Cidr>()) {
            (Ok(wide), Ok(narrow)) => wide.bits <= narrow.bits && wide.contains(narrow.addr),
            _ => wide == value,
        },
    })
}

/// How many of the requests of a route a prefix takes.
#[derive(Debug, PartialEq, Eq)]
enum Reach {
    Nothing,
    /// Some, or it cannot be said.
    Some,
    Whole,
}

fn reach(prefix: &str, path: &PathMatch) -> Reach {
    let (fixed, exact) = match path {
        PathMatch::Exact(path) => (path.as_str(), true),
        PathMatch::Prefix(prefix) => (prefix.as_str(), false),
        // All up to the segment with the first parameter is fixed.
        PathMatch::Pattern(pattern) => match pattern.find([':', '*']) {
            Some(at) => (pattern[..at].rsplit_once('/').map_or("/", |(fixed, _)| fixed), false),
            None => (pattern.as_str(), true),
        },
        PathMatch::Any | PathMatch::Regex(_) => ("/", false),
    };
    if is_below(fixed, prefix) {
        Reach::Whole
    } else if !exact && is_below(prefix, fixed) {
        Reach::Some
    } else {
        Reach::Nothing
    }
}

/// True when the path is the prefix or below it.
fn is_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: Term, now: Term, expected: Option<(bool, &str)>) {
        let said = of_term(&before, &now, &PathMatch::Prefix("/shop".to_owned()));
        let expected = expected.map(|(weaker, what)| (weaker, what.to_owned()));
        assert_eq!(said, expected, "{before:?} → {now:?}");
    }

    fn words(asks: Asks, values: &[&str]) -> Term {
        Term::words("f", asks, values.iter().copied())
    }

    #[test]
    fn what_asks_less_is_told_and_what_asks_more_is_not() {
        use Asks::{Each, Except, One, Trust};
        let none: &[&str] = &[];
        for (before, now, expected) in [
            ((One, &["a"][..]), (One, none), Some((true, "f: any will do, no longer only `a`"))),
            ((One, &["a"]), (One, &["b", "a"]), Some((true, "f: `b` will do too"))),
            ((One, &["a", "b"]), (One, &["a"]), None),
            ((One, none), (One, &["a"]), None),
            ((Each, &["a", "b"]), (Each, &["b"]), Some((true, "f: `a` is no longer asked for"))),
            ((Each, &["a"]), (Each, &["a", "b"]), None),
            ((One, &["a", "b"]), (Each, &["a"]), None),
            ((One, &["a", "b"]), (Each, &["c"]), Some((true, "f: `c` will do now"))),
            ((Each, &["a", "b"]), (One, &["a"]), Some((true, "f: `a` will do now"))),
            ((Each, &["a"]), (One, &["a"]), None),
            ((Each, &["a"]), (One, none), Some((true, "f: `a` is no longer asked for"))),
            ((Trust, &["k"]), (Trust, &["l"]), Some((false, "f: l is trusted instead of k"))),
            ((Trust, &["k"]), (Trust, &["k", "l"]), Some((true, "f: l is trusted too"))),
            ((Trust, &["k", "l"]), (Trust, &["k"]), Some((false, "f: l is no longer trusted"))),
            ((Except, &["/a"]), (Except, none), None),
        ] {
            check(words(before.0, before.1), words(now.0, now.1), expected);
        }
    }

    #[test]
    fn paths_and_ranges_hold_what_is_below_them() {
        let paths = |values: &[&str]| words(Asks::Except, values).of_kind(Kind::Path);
        check(paths(&["/shop"]), paths(&["/shop/css"]), None);
        check(paths(&["/shop/a"]), paths(&["/"]), Some((true, "f: `/` passes unasked")));
        check(paths(&[]), paths(&["/shop/a"]), Some((true, "f: `/shop/a` passes unasked")));
        check(paths(&[]), paths(&["/shopping"]), None);
        let ranges = |asks, values: &[&str]| words(asks, values).of_kind(Kind::Range);
        let allow = |values: &[&str]| ranges(Asks::One, values);
        check(allow(&["10.0.0.0/8"]), allow(&["10.1.0.0/16"]), None);
        let wider = Some((true, "f: `10.0.0.0/8` will do too"));
        check(allow(&["10.1.0.0/16"]), allow(&["10.0.0.0/8"]), wider);
        let deny = |values: &[&str]| ranges(Asks::Each, values);
        check(deny(&["10.1.0.0/16"]), deny(&["10.0.0.0/8"]), None);
        let less = Some((true, "f: `10.0.0.0/8` is no longer asked for"));
        check(deny(&["10.0.0.0/8"]), deny(&["10.1.0.0/16"]), less);
    }

    #[test]
    fn how_much_of_a_route_a_prefix_takes() {
        for (prefix, path, reached) in [
            ("/a", PathMatch::Exact("/a/b".to_owned()), Reach::Whole),
            ("/a/b", PathMatch::Exact("/a".to_owned()), Reach::Nothing),
            ("/a/b", PathMatch::Prefix("/a".to_owned()), Reach::Some),
            ("/a", PathMatch::Prefix("/ab".to_owned()), Reach::Nothing),
            ("/a", PathMatch::Pattern("/a/:id/x".to_owned()), Reach::Whole),
            ("/a/7", PathMatch::Pattern("/a/:id/x".to_owned()), Reach::Some),
            ("/a", PathMatch::Any, Reach::Some),
            ("/", PathMatch::Any, Reach::Whole),
            ("/a", PathMatch::Regex("/a.*".to_owned()), Reach::Some),
        ] {
            assert_eq!(reach(prefix, &path), reached, "{prefix} {path:?}");
        }
    }
}
