//! The URL of a request to be explained, taken apart and left as it is written.

/// The parts of a URL that reach a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// True for `https`.
    pub tls: bool,
    /// With the port if one is written; empty if the URL is a path.
    pub host: String,
    /// Exactly as written: what the gateway makes of it is what one wants to know.
    pub path_and_query: String,
}

impl Target {
    /// Takes a URL apart without changing anything in it. A fragment stays where it is: a browser
    /// would leave it out, so whoever writes one here wants to see what the gateway says.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(url: &str) -> Result<Target, String> {
        let (tls, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            // `/login?next=http://…` is a path.
            _ if url.starts_with('/') || url == "*" => {
                let path_and_query = url.to_owned();
                return Ok(Target { tls: false, host: String::new(), path_and_query });
            }
            _ => {
                return Err(format!(
                    "{url:?} is not a URL; write http://HOST/PATH, or a path that starts with /"
                ));
            }
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, rest) = rest.split_at(end);
        if host.is_empty() {
            return Err(format!("{url:?} names no host"));
        }
        let slash = if rest.starts_with('/') { "" } else { "/" };
        Ok(Target { tls, host: host.to_owned(), path_and_query: format!("{slash}{rest}") })
    }
}

/// A token of RFC 9110 §5.6.2, which methods and field names are.
pub fn is_token(text: &str) -> bool {
    let other = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || other(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, host: &str, path_and_query: &str) {
        let (host, path_and_query) = (host.to_owned(), path_and_query.to_owned());
        let tls = url.starts_with("https");
        assert_eq!(Target::parse(url), Ok(Target { tls, host, path_and_query }));
    }

    #[test]
    fn a_url_is_taken_apart_and_left_as_written() {
        check("http://localhost:8080/a/../b?x=%20", "localhost:8080", "/a/../b?x=%20");
        check("HTTP://[::1]:80", "[::1]:80", "/");
        check("https://shop.example.com?q", "shop.example.com", "/?q");
        check("/login?next=http://x/", "", "/login?next=http://x/");
        check("*", "", "*");
    }

    #[test]
    fn what_is_no_url_is_refused_with_a_remedy() {
        for wrong in ["localhost/x", "ftp://host/", "http:///x", ""] {
            let error = Target::parse(wrong).expect_err(wrong);
            assert!(error.contains("URL") || error.contains("host"), "{error}");
        }
    }
}
