//! Where a credential is in a request, and how it is taken out of what the upstream sees.

use std::borrow::Cow;

use ringway_engine::exchange::Request;
use ringway_engine::filter::SettingsError;
use ringway_engine::http1::write::is_token;
use ringway_engine::message::FieldName;
use ringway_engine::route::query;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::wrong;

/// Where a credential is taken from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// The header of this name.
    Header(String),
    /// The cookie of this name.
    Cookie(String),
    /// The query parameter of this name. It stands in the logs of whoever sees the URL.
    Query(String),
}

impl From {
    /// Refuses a name that no request can have.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        match self {
            From::Header(name) => check_header("from.header", name),
            From::Cookie(name) if !is_token(name.as_bytes()) => {
                let help = "a name has letters, digits and any of !#$%&'*+-.^_`|~";
                Err(wrong("from.cookie", format!("`{name}` is no name of a cookie"), help))
            }
            From::Query(name)
                if name.is_empty()
                    || !name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) =>
            {
                let help = "write letters, digits and any of -._~";
                Err(wrong("from.query", format!("`{name}` is no name of a parameter"), help))
            }
            From::Cookie(_) | From::Query(_) => Ok(()),
        }
    }
}

fn check_header(field: &str, name: &str) -> Result<(), SettingsError> {
    let meant = FieldName::from_bytes(name.as_bytes());
    if is_token(name.as_bytes()) && matches!(meant, FieldName::Other | FieldName::Authorization) {
        return Ok(());
    }
    let help = "write a header that has no other meaning, such as `X-Token`";
    Err(wrong(field, format!("`{name}` cannot bear a credential"), help))
}

/// Where a scheme looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `Authorization` with this scheme (RFC 9110 §11.4).
    Authorization(&'static str),
    /// A header of its own; a scheme in front is left out.
    Header(String, &'static str),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
}

/// What is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'r> {
    /// No credential of this kind.
    Nothing,
    /// One.
    One(Cow<'r, [u8]>),
    /// More than one, of which none can be preferred (HTTP_SAFETY rule 19).
    Several,
}

impl Place {
    pub(super) fn new(from: Option<&From>, scheme: &'static str, default: Place) -> Place {
        match from {
            None => default,
            Some(From::Header(name)) if name.eq_ignore_ascii_case("authorization") => {
                Place::Authorization(scheme)
            }
            Some(From::Header(name)) => Place::Header(name.clone(), scheme),
            Some(From::Cookie(name)) => Place::Cookie(name.clone()),
            Some(From::Query(name)) => Place::Query(name.clone()),
        }
    }

    /// Looks for the credential in the request as it arrived.
    pub(super) fn find<'r>(&self, request: &'r Request) -> Found<'r> {
        match self {
            Place::Authorization(scheme) => {
                let all = request.head.all(request.raw(), b"authorization");
                one(all.filter_map(|value| after_scheme(value, scheme)).map(Cow::Borrowed))
            }
            Place::Header(name, scheme) => {
                let all = request.head.all(request.raw(), name.as_bytes());
                one(all
                    .map(|value| after_scheme(value, scheme).unwrap_or(value))
                    .map(Cow::Borrowed))
            }
            Place::Cookie(name) => {
                one(request.cookies().filter_map(|pair| value_of(pair, name)).map(Cow::Borrowed))
            }
            Place::Query(name) => {
                let pairs = request.arrived_query().split(|&byte| byte == b'&');
                let with_value = pairs.filter(|pair| pair.contains(&b'='));
                let named = with_value.filter_map(|pair| query::value_of(pair, name.as_bytes()));
                one(named.map(unescaped))
            }
        }
    }

    /// Takes the credential out of what the upstream sees.
    pub(super) fn remove(&self, request: &mut Request) {
        match self {
            Place::Authorization(_) => remove(request, "Authorization"),
            Place::Header(name, _) => {
                self.remove_aliases(request);
                remove(request, name);
            }
            Place::Query(name) => request.remove_query(name.as_bytes()),
            Place::Cookie(name) => request.retain_cookies(|pair| value_of(pair, name).is_none()),
        }
    }

    /// Takes out what a program behind the gateway may take for the credential although nobody has
    /// looked at it: other spellings of its header.
    pub(super) fn remove_aliases(&self, request: &mut Request) {
        if let Place::Header(name, _) = self {
            crate::alias::remove_aliases(request, name);
        }
    }
}

fn remove(request: &mut Request, name: &str) {
    request.edits.remove(name).expect("invariant: the name was checked while building");
}

fn one<'r>(mut found: impl Iterator<Item = Cow<'r, [u8]>>) -> Found<'r> {
    match (found.next(), found.next()) {
        (None, _) => Found::Nothing,
        (Some(one), None) => Found::One(one),
        (Some(_), Some(_)) => Found::Several,
    }
}

/// What follows the scheme and at least one space (RFC 9110 §11.4); nothing under another scheme.
fn after_scheme<'r>(value: &'r [u8], scheme: &str) -> Option<&'r [u8]> {
    let (name, rest) = value.split_at_checked(scheme.len())?;
    let rest = rest.strip_prefix(b" ")?;
    name.eq_ignore_ascii_case(scheme.as_bytes()).then(|| rest.trim_ascii())
}

/// The value of a cookie, if it has this name. Programs leave out what is blank around `=`, and
/// what they take for the credential must be what was looked at.
fn value_of<'r>(pair: &'r [u8], name: &str) -> Option<&'r [u8]> {
    let equals = pair.iter().position(|&byte| byte == b'=')?;
    let meant = pair[..equals].trim_ascii_end() == name.as_bytes();
    meant.then(|| pair[equals + 1..].trim_ascii_start())
}

/// Undoes the escapes of a query (RFC 3986 §2.1). What is no escape stays as it is, and then is no
/// credential either.
fn unescaped(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'%') {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let plain = |text: &&str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = digits.filter(plain).and_then(|text| u8::from_str_radix(text, 16).ok());
        match byte.filter(|_| first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = &after[2..];
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use ringway_engine::clock;
    use ringway_engine::exchange::Exchange;

    use super::*;

    fn exchange(target: &str, lines: &str) -> Exchange {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        Exchange::with_request(head.as_bytes(), clock::now()).unwrap()
    }

    /// What is found: the credential, `-` for none, `+` for several.
    fn found(place: &Place, target: &str, lines: &str) -> String {
        let exchange = exchange(target, lines);
        match place.find(&exchange.request) {
            Found::Nothing => "-".to_owned(),
            Found::Several => "+".to_owned(),
            Found::One(one) => String::from_utf8(one.into_owned()).unwrap(),
        }
    }

    #[test]
    fn a_header_has_one_credential_after_its_scheme() {
        let place = Place::Authorization("Bearer");
        for (line, expected) in [
            ("Authorization: Bearer abc", "abc"),
            ("authorization: bearer   abc", "abc"),
            ("Authorization: Basic abc", "-"),
            ("Authorization: Bearer", "-"),
            ("Authorization: Bearerabc", "-"),
            ("X-Authorization: Bearer abc", "-"),
        ] {
            assert_eq!(found(&place, "/", &format!("{line}\r\n")), expected, "{line}");
        }
        let place = Place::Header("X-Token".to_owned(), "Bearer");
        assert_eq!(found(&place, "/", "x-token: abc\r\n"), "abc");
        assert_eq!(found(&place, "/", "X-TOKEN: Bearer abc\r\n"), "abc");
        assert_eq!(found(&place, "/", "X-Token: abc\r\nx-token: abc\r\n"), "+");
    }

    #[test]
    fn a_query_parameter_is_unescaped_and_taken_out() {
        let place = Place::Query("key".to_owned());
        for (target, expected) in [
            ("/?key=abc", "abc"),
            ("/?a=b&key=a%2Fc%3d", "a/c="),
            ("/?key=a%zz%1", "a%zz%1"),
            ("/?monkey=abc", "-"),
            ("/?key", "-"),
            ("/?key=a&key=b", "+"),
            ("/?%6bey=a", "a"),
            ("/?key=a&%6Bey=b", "+"),
            ("/?key=a&key%5B%5D=b&Key=c", "a"),
            ("/", "-"),
        ] {
            assert_eq!(found(&place, target, ""), expected, "{target}");
        }
        let mut exchange = exchange("/a?x=1&key=abc&y=2&ke%79=def&key", "");
        place.remove(&mut exchange.request);
        let request = &exchange.request;
        assert_eq!((request.target(), &*request.query), (&b"/a?x=1&y=2"[..], &b"x=1&y=2"[..]));
        assert_eq!(request.arrived_query(), b"x=1&key=abc&y=2&ke%79=def&key");
    }

    #[test]
    fn a_cookie_is_taken_out_of_all_fields() {
        let place = Place::Cookie("session".to_owned());
        let lines = "Cookie: a=1; session=abc; b=2\r\nCookie: c=3\r\n";
        assert_eq!(found(&place, "/", lines), "abc");
        assert_eq!(found(&place, "/", "Cookie: xsession=abc\r\n"), "-");
        assert_eq!(found(&place, "/", "Cookie: session=a; session=b\r\n"), "+");
        assert_eq!(found(&place, "/", "Cookie: session = a\r\n"), "a");
        assert_eq!(found(&place, "/", "Cookie: session\t=a; session=b\r\n"), "+");
        assert_eq!(found(&place, "/", "Cookie: ses=a; session\r\n"), "-");
        let mut with_others = exchange("/", lines);
        place.remove(&mut with_others.request);
        assert_eq!(with_others.request.header("cookie"), Some(&b"a=1; b=2; c=3"[..]));
        let mut alone = exchange("/", "Cookie: session=abc\r\n");
        place.remove(&mut alone.request);
        assert_eq!(alone.request.header("cookie"), None);
    }

    #[test]
    fn names_that_mean_something_else_are_refused() {
        for name in ["Host", "content-length", "Cookie", "X-Forwarded-For", "", "a b"] {
            assert!(From::Header(name.to_owned()).check().is_err(), "{name}");
        }
        for name in ["X-Token", "Authorization"] {
            assert!(From::Header(name.to_owned()).check().is_ok(), "{name}");
        }
        assert!(From::Query("a=b".to_owned()).check().is_err());
        assert!(From::Cookie("a b".to_owned()).check().is_err());
    }
}
