//! Names and values that end up in a message on the wire.

use crate::findings::Findings;

/// The longest name of a route or an upstream: it is a label of metrics and a column of logs.
const MAX_NAME: usize = 100;

/// Whether a text is a token (RFC 9110 §5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(letter)
}

pub(super) fn check_name(name: &str, path: &str, what: &str, findings: &mut Findings<'_>) {
    let bad = |letter: char| letter.is_control() || letter == '$';
    if name.trim().is_empty() || name.len() > MAX_NAME || name.contains(bad) {
        findings.error(
            path,
            format!("`{}` cannot be the name of {what}", name.escape_debug()),
            format!("write 1 to {MAX_NAME} bytes without `$`, line breaks and control characters"),
        );
    }
}

/// The name of a header field.
pub(super) fn check_field_name(name: &str, path: &str, findings: &mut Findings<'_>) -> bool {
    let good = is_token(name);
    if !good {
        findings.error(
            path,
            format!("`{}` is not the name of a header field", name.escape_debug()),
            "write letters, digits and `-`, such as `X-Env`",
        );
    }
    good
}

/// The value of a header field: a control character in it could begin another field (HTTP_SAFETY
/// rule 18).
pub(super) fn check_field_value(value: &str, path: &str, findings: &mut Findings<'_>) {
    if value.contains(|letter: char| letter.is_control() && letter != '\t') {
        findings.error(
            path,
            "a header value with a line break or another control character",
            "write it in one line; in double quotes, `\\n` and `\\r` are line breaks",
        );
    } else if value.trim() != value {
        findings.error(
            path,
            "a header value that begins or ends with white space",
            "remove the white space: it does not survive the way",
        );
    }
}

/// The name of a cookie.
pub(super) fn check_cookie_name(name: &str, path: &str, findings: &mut Findings<'_>) {
    if !is_token(name) {
        findings.error(
            path,
            format!("`{}` is not the name of a cookie", name.escape_debug()),
            "write letters, digits, `-` and `_`, such as `session`",
        );
    }
}

/// A regular expression, compiled as the router does it: over bytes, in linear time.
pub(super) fn compile(
    text: &str,
    path: &str,
    findings: &mut Findings<'_>,
) -> Option<regex::bytes::Regex> {
    match regex::bytes::RegexBuilder::new(text).unicode(false).build() {
        Ok(regex) => Some(regex),
        Err(regex::Error::CompiledTooBig(_)) => {
            findings.error(
                path,
                format!("`{text}` takes too much memory once it is compiled"),
                "repeat fewer times: `{1000}` of something long is as long as it is written out",
            );
            None
        }
        Err(error) => {
            // The last line of a syntax error is its reason; the others draw the place.
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default();
            let reason = reason.trim_start_matches("error: ").to_owned();
            findings.error(
                path,
                format!("`{text}` is not a regular expression: {reason}"),
                "put `\\` before a character that is meant plainly; there is no look-around and no \
                 back-reference",
            );
            None
        }
    }
}
