//! Other spellings of a header's name, which programs behind a gateway cannot tell from it.

use ringway_engine::exchange::Request;

/// Removes what a client sent under a name that a program behind the gateway may take for this one
/// (HTTP_SAFETY rule 17).
pub(crate) fn remove_aliases(request: &mut Request, name: &str) {
    let raw = request.raw();
    let alias = |written: &[u8]| is_alias(written, name.as_bytes());
    // An honest client sends none, so that it is only an attack that allocates.
    let found: Vec<_> = request
        .head
        .fields
        .iter()
        .map(|field| field.name.of(raw))
        .filter(|written| alias(written))
        .filter_map(|written| std::str::from_utf8(written).ok().map(str::to_owned))
        .collect();
    for written in found {
        request.edits.remove(&written).expect("invariant: a name that was parsed is a token");
    }
}

/// Another spelling of the name, and not in its case only.
fn is_alias(written: &[u8], name: &[u8]) -> bool {
    !written.eq_ignore_ascii_case(name) && folds_alike(written, name)
}

/// True when programs behind a gateway cannot tell the two names apart.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    folds_alike(one.as_bytes(), other.as_bytes())
}

/// CGI (RFC 3875 §4.1.18) makes `_` of `-`, and some programs do so with `.`; none keeps the case.
fn folds_alike(one: &[u8], other: &[u8]) -> bool {
    let plain = |byte: &u8| if b"_.".contains(byte) { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.iter().map(plain).eq(other.iter().map(plain))
}
