//! Other spellings of a header's name, which programs behind a gateway cannot tell from it.

use ringway_engine::exchange::Request;
use ringway_engine::message::reads_as;

/// Removes what a client sent under a name that a program behind the gateway may take for this one
/// (HTTP_SAFETY rule 17).
pub(crate) fn remove_aliases(request: &mut Request, name: &str) {
    let raw = request.raw();
    let name = name.as_bytes();
    let alias = |written: &[u8]| !written.eq_ignore_ascii_case(name) && reads_as(written, name);
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

/// True when programs behind a gateway cannot tell the two names apart.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    reads_as(one.as_bytes(), other.as_bytes())
}
