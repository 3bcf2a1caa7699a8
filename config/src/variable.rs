//! Which request variables there are, for the templates of routes and of filters.

use crate::reader::{nearest, one_of};
use crate::template::CLAIM;

/// The variables that every request has.
const BUILT_IN: [&str; 6] = ["client_ip", "host", "path", "query", "request_id", "route"];

/// What is wrong with a request variable, and what to write instead; `None` if it is known. `here`
/// is what the path of the route gives, or nothing where no route is known yet.
pub fn unknown_variable(name: &str, here: Option<&[String]>) -> Option<(String, String)> {
    let of_route = here.unwrap_or_default();
    if BUILT_IN.contains(&name) || of_route.iter().any(|known| known == name) {
        return None;
    }
    if name.starts_with(CLAIM) {
        let message = format!("`{name}` is not known yet when the route is found");
        let help = "claims are for filters behind an `auth`, such as `headers`";
        return Some((message, help.to_owned()));
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

#[cfg(test)]
mod tests {
    use super::unknown_variable;

    #[test]
    fn what_is_known_depends_on_the_place() {
        let here = ["id".to_owned()];
        assert_eq!(unknown_variable("id", Some(&here)), None);
        assert_eq!(unknown_variable("client_ip", None), None);
        let help = |name, here| unknown_variable(name, here).expect("unknown").1;
        assert_eq!(help("clientip", Some(&here)), "did you mean `${client_ip}`?");
        assert_eq!(help("idd", Some(&here)), "did you mean `${id}`?");
        assert!(help("id", None).contains("`global_filters`"));
        assert!(help("user", Some(&[])).contains("`pattern: /:user`"));
        assert!(help("claims.sub", Some(&here)).contains("`auth`"));
    }
}
