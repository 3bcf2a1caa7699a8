//! The parameters of a query, by their names as forms write them.

/// The raw value of this pair, if its name is the one that is meant, however it is escaped; empty
/// where there is no `=`. Programs behind the gateway take `%6bey=1` for `key=1`, so the gateway
/// does too (HTTP_SAFETY rule 19).
pub fn value_of<'q>(pair: &'q [u8], name: &[u8]) -> Option<&'q [u8]> {
    let equals = memchr::memchr(b'=', pair).unwrap_or(pair.len());
    let meant = !pair.is_empty() && Decoded(&pair[..equals]).eq(name.iter().copied());
    meant.then(|| pair.get(equals + 1..).unwrap_or_default())
}

/// A query name or value, decoded as forms are: `+` is a space (WHATWG URL §5.1). What is no escape
/// stands for itself.
#[derive(Clone)]
pub(super) struct Decoded<'q>(pub(super) &'q [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (&first, mut rest) = self.0.split_first()?;
        let byte = match first {
            b'+' => b' ',
            b'%' => match rest.get(..2).and_then(super::path::hex) {
                Some(byte) => {
                    rest = &rest[2..];
                    byte
                }
                None => b'%',
            },
            _ => first,
        };
        self.0 = rest;
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::value_of;

    #[test]
    fn a_name_is_known_however_it_is_escaped() {
        for (pair, expected) in [
            ("key=a", Some("a")),
            ("%6bey=a%2Fb", Some("a%2Fb")),
            ("%6B%65%79=a=b", Some("a=b")),
            ("key", Some("")),
            ("key=", Some("")),
            ("", None),
            ("=a", None),
            ("monkey=a", None),
            ("key%=a", None),
            ("key+=a", None),
            ("Key=a", None),
            ("%256bey=a", None),
        ] {
            let value = value_of(pair.as_bytes(), b"key");
            assert_eq!(value, expected.map(str::as_bytes), "{pair}");
        }
    }
}
