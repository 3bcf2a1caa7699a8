//! Comma-separated lists in field values (RFC 9110 §5.6.1).

/// The items of a list without the white space around them; empty ones are left out, as
/// RFC 9110 §5.6.1.2 asks a recipient to do.
pub fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|item| !item.is_empty())
}

/// The bytes without spaces and tabs at either end.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
