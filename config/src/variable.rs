//! Which request variables there are, for the templates of routes and of filters.

use crate::reader::{nearest, one_of};
use crate::template::CLAIM;

/// The variables that every request has.
const BUILT_IN: [&str; 6] = ["client_ip", "host", "path", "query", "request_id", "route"];

/// What is wrong with a request variable, and what to write instead; `None` if it is known. `here`
/// is what the path of the route gives, or nothing where no route is known yet; `groups` are those
/// of the regular expression beside the template, if there is one.
pub fn unknown_variable(
    name: &str,
    here: Option<&[String]>,
    groups: Option<&[String]>,
) -> Option<(String, String)> {
    let of_route = here.unwrap_or_default();
    if groups.is_some_and(|groups| groups.iter().any(|group| group == name)) {
        return None;
    }
    if BUILT_IN.contains(&name) || of_route.iter().any(|known| known == name) {
        return None;
    }
    if name.starts_with(CLAIM) {
        let message = format!("`{name}` is not known yet when the route is found");
        let help = "claims are for filters behind an `auth`, such as `headers`";
        return Some((message, help.to_owned()));
    }
    if let Some(groups) = groups {
        return Some(unknown_group(name, groups, of_route));
    }
    let known: Vec<&str> = of_route.iter().map(String::as_str).chain(BUILT_IN).collect();
    let message = match here {
        Some(_) => format!("the route has no variable `{name}`"),
        None => format!("not every route has a variable `{name}`"),
    };
    let help = match (nearest(name, known.iter().copied()), here) {
        (Some(near), Some([])) => format!(
            "did you mean `${{{near}}}`? What a path holds takes a `pattern: /:{name}` or a `regex`"
        ),
        (Some(near), _) => format!("did you mean `${{{near}}}`?"),
        (None, Some([])) => format!(
            "take it from the path, with `pattern: /:{name}` or a `regex`; every route has {}",
            one_of(&BUILT_IN, "and")
        ),
        (None, Some(_)) => format!("the variables here are {}", one_of(&known, "and")),
        (None, None) => format!(
            "in `global_filters` there are {}; parameters of a path are for the filters of its \
             route",
            one_of(&BUILT_IN, "and")
        ),
    };
    Some((message, help))
}

/// What is wrong with the name of a group: more likely is meant one of those that there are than a
/// variable of the request.
fn unknown_group(name: &str, groups: &[String], of_route: &[String]) -> (String, String) {
    let message = format!("the expression has no group `{name}`, and no such variable is known");
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let others = of_route.iter().map(String::as_str).chain(BUILT_IN);
    let near = nearest(name, groups.iter().copied()).or_else(|| nearest(name, others));
    let near = near.map(|near| format!("; did you mean `${{{near}}}`?")).unwrap_or_default();
    let all = match groups.as_slice() {
        [] => "it has no groups: put `(?<name>…)` around what is to be taken".to_owned(),
        [one] => format!("its only group is `{one}`"),
        all => format!("its groups are {}", one_of(all, "and")),
    };
    (message, all + &near)
}

#[cfg(test)]
mod tests {
    use super::unknown_variable;

    #[test]
    fn what_is_known_depends_on_the_place() {
        let here = ["id".to_owned()];
        assert_eq!(unknown_variable("id", Some(&here), None), None);
        assert_eq!(unknown_variable("client_ip", None, None), None);
        let help = |name, here| unknown_variable(name, here, None).expect("unknown").1;
        assert_eq!(help("clientip", Some(&here)), "did you mean `${client_ip}`?");
        assert_eq!(help("idd", Some(&here)), "did you mean `${id}`?");
        assert!(help("id", None).contains("`global_filters`"));
        assert!(help("user", Some(&[])).contains("`pattern: /:user`"));
        assert!(help("claims.sub", Some(&here)).contains("`auth`"));
    }

    #[test]
    fn groups_are_meant_before_variables() {
        let groups = ["slug".to_owned(), "hist".to_owned()];
        let help = |name, groups| unknown_variable(name, None, Some(groups)).expect("unknown").1;
        assert_eq!(unknown_variable("slug", None, Some(&groups)), None);
        assert_eq!(unknown_variable("host", None, Some(&groups)), None);
        let all = "its groups are `slug` and `hist`";
        assert_eq!(help("hast", &groups[..]), format!("{all}; did you mean `${{hist}}`?"));
        assert_eq!(help("clientip", &groups), format!("{all}; did you mean `${{client_ip}}`?"));
        assert_eq!(help("1", &groups), all);
        assert_eq!(help("1", &groups[..1]), "its only group is `slug`");
        assert!(help("1", &[]).starts_with("it has no groups"));
    }
}
