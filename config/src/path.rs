//! The syntax of paths and patterns.

/// What is wrong, and what to write instead.
pub(crate) type Wrong = (String, String);

/// Checks a path that a normalised path is compared with: one that no normalised path can be equal
/// to would never match.
pub(crate) fn check(text: &str) -> Result<(), Wrong> {
    let wrong = |why: &str, help: String| Err((format!("`{text}` {why}"), help));
    if !text.starts_with('/') {
        return wrong("does not begin with `/`", format!("write `/{text}`"));
    }
    if let Some(at) = text.find(['?', '#']) {
        return wrong(
            "is more than a path",
            format!("write `{}`, and conditions on the query in `query:`", &text[..at]),
        );
    }
    if text.contains(|letter: char| letter.is_control() || letter == ' ' || letter == '\\') {
        return wrong(
            "holds a space, a backslash or a control character, which no path does",
            "write it as it stands in a URL: a space is `%20`".to_owned(),
        );
    }
    if text.split('/').any(|segment| segment == "." || segment == "..") {
        return wrong(
            "holds `.` or `..`, which are resolved before routes are found",
            "write the path without them".to_owned(),
        );
    }
    Ok(())
}

/// The parameters of a pattern, in their order.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub(crate) fn parameters(pattern: &str) -> Result<Vec<&str>, Wrong> {
    check(pattern)?;
    let mut names = Vec::new();
    let mut segments = pattern.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let (rest, name) = match (segment.strip_prefix(':'), segment.strip_prefix('*')) {
            (Some(name), _) => (false, name),
            (_, Some(name)) => (true, name),
            (None, None) => match segment.contains('*') {
                true => {
                    return Err((
                        format!("`*` stands within `{segment}`"),
                        "a parameter is a whole segment: `/*rest`".to_owned(),
                    ));
                }
                false => continue,
            },
        };
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !name.bytes().all(word) || name.bytes().next().is_none_or(|byte| byte.is_ascii_digit()) {
            return Err((
                format!("`{segment}` is not a parameter"),
                "name it in lower case, beginning with a letter: `:user_id` or `*rest`".to_owned(),
            ));
        }
        if rest && segments.peek().is_some() {
            return Err((
                format!("`{segment}` takes the rest of the path, so nothing can follow it"),
                format!("move it to the end, or write `:{name}` for one segment"),
            ));
        }
        if names.contains(&name) {
            return Err((
                format!("the parameter `{name}` comes twice"),
                "give each parameter its own name".to_owned(),
            ));
        }
        names.push(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::{check, parameters};

    #[test]
    fn parameters_are_whole_segments() {
        let check = |pattern, names: &[&str]| {
            assert_eq!(parameters(pattern), Ok(names.to_vec()), "{pattern}");
        };
        check("/", &[]);
        check("/a/b", &[]);
        check("/:service/*rest", &["service", "rest"]);
        check("/a/:b/c/:d_2", &["b", "d_2"]);
        for pattern in ["", "a", "/:", "/*", "/:A", "/:2", "/*a/b", "/:a/:a", "/a*", "/:a/x*b"] {
            assert!(parameters(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_path_that_never_fits_is_refused() {
        for path in ["/", "/a", "/a/", "/a%20b", "/...", "/a:b"] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
        for path in ["", "a", "/a?b", "/a#b", "/a b", "/a\\b", "/a\n", "/./a", "/a/.."] {
            assert!(check(path).is_err(), "{path}");
        }
    }
}
